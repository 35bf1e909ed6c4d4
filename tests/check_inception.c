/* check_inception.c - files with in.imgN_chw (uint8 [3,H,W]) and out.imgN.{64,192,768,2048,logits_unbiased,logits} of FID's Inception
 * with the weights of the formula in the reference folder's README. Names and shapes come from inception-shapes.json in
 * $FACEMILL_REFERENCE or tests/reference; the weights go through a file, so that reading them is checked too. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/mem.h"
#include "common/metrics/inception.h"
#include "tests/check_graph.h"
#include "tests/inception_formula.h"

static bool recognises(const struct safetensors *s) {
    return safetensors_find(s, "in.img0_chw") && safetensors_find(s, "out.img0.2048");
}

/* again: of a network that takes another way; features only, those that are its last (0: the usual ones). */
static void check_picture(const struct safetensors *s, struct report *r, struct inception *net, int index, const struct st_tensor *chw,
                          const char *again, int last, double tolerance) {
    static const char *const kind[] = {"64", "192", "768", "2048", "logits_unbiased", "logits"};
    static const int size[] = {64, 192, 768, 2048, 1008, 1008};
    int H = (int)chw->dim[1], W = (int)chw->dim[2];
    const uint8_t *from = chw->data;
    struct image im;
    image_alloc(&im, W, H, 3);
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < H * W; i++)
            im.data[i * 3 + c] = from[c * H * W + i];
    float *got[6];
    for (int k = 0; k < 6; k++)
        got[k] = xmalloc((size_t)size[k] * sizeof **got);
    inception_run(net, &im, 1, (struct inception_out){got[0], got[1], got[2], got[3], got[4], got[5]});
    for (int k = 0; k < 6; k++) {
        char name[96];
        snprintf(name, sizeof name, "out.img%d.%s", index, kind[k]);
        const struct st_tensor *t = again && size[k] != (last ? last : 2048) ? NULL : safetensors_find(s, name);
        if (again)
            snprintf(name, sizeof name, "out.img%d.%s, %s", index, kind[k], again);
        if (t && t->count == size[k]) {
            float *want = xmalloc((size_t)t->count * sizeof *want);
            st_to_f32(t, want);
            report_tensor(r, name, got[k], want, t->count, tolerance);
            free(want);
        } else if (t)
            report_verdict(r, name, false, "%lld numbers, %d expected", (long long)t->count, size[k]);
        free(got[k]);
    }
    image_free(&im);
}

static void run(const struct safetensors *s, struct report *r) {
    char path[64];
    snprintf(path, sizeof path, "/tmp/facemill-inception-%ld.safetensors", (long)getpid());
    struct inception *net = NULL, *other = NULL, *half = NULL, *part[3] = {NULL};
    const int parts[3] = {64, 192, 768};
    struct error e;
    enum status st = inception_formula_write(path, &e);
    if (st == ST_OK)
        st = inception_open(&net, path, check_device(), &(struct inception_options){.batch = 1}, &e);
    if (st == ST_OK)
        st = inception_open(&other, path, check_device(), &(struct inception_options){.batch = 1, .device_resize = true}, &e);
    if (st == ST_OK)
        st = inception_open(&half, path, check_device(), &(struct inception_options){.batch = 1, .half = true}, &e);
    for (int k = 0; k < 3 && st == ST_OK; k++)
        st = inception_open(&part[k], path, check_device(), &(struct inception_options){.batch = 1, .features = parts[k]}, &e);
    unlink(path);
    if (st != ST_OK)
        report_verdict(r, "inception", false, "%s", e.text);
    for (int i = 0; st == ST_OK; i++) {
        char name[64];
        snprintf(name, sizeof name, "in.img%d_chw", i);
        const struct st_tensor *t = safetensors_find(s, name);
        if (!t || t->ndim != 3 || t->dim[0] != 3 || t->dtype != DT_U8)
            break;
        check_picture(s, r, net, i, t, NULL, 0, 1e-4);
        check_picture(s, r, other, i, t, "resized by matrices", 0, 1e-4);
        if (i == 0)
            check_picture(s, r, half, i, t, "in float16", 0, 2e-3);
        for (int k = 0; k < 3 && i == 0; k++)
            check_picture(s, r, part[k], i, t, "of a network that ends there", parts[k], 1e-4);
    }
    inception_close(net);
    inception_close(other);
    inception_close(half);
    for (int k = 0; k < 3; k++)
        inception_close(part[k]);
}

const struct check check_inception = {"Inception", recognises, run};
