/* check_inception.c - files with in.imgN_chw (uint8 [3,H,W]) and out.imgN.{64,192,768,2048,logits_unbiased,logits} of FID's Inception
 * with the weights of the formula in the reference folder's README. Names and shapes come from inception-shapes.json in
 * $FACEMILL_REFERENCE or tests/reference; the weights go through a file, so that reading them is checked too. */
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/mem.h"
#include "common/metrics/inception.h"
#include "tests/check_graph.h"

static bool recognises(const struct safetensors *s) {
    return safetensors_find(s, "in.img0_chw") && safetensors_find(s, "out.img0.2048");
}

static bool ends(const char *s, const char *tail) {
    size_t n = strlen(s), m = strlen(tail);
    return n >= m && !strcmp(s + n - m, tail);
}

static uint64_t splitmix(uint64_t *state) {
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static void formula(const char *name, float *out, int64_t n, int64_t fan_in) {
    uint64_t state = 0xcbf29ce484222325u;
    for (const char *c = name; *c; c++)
        state = (state ^ (uint8_t)*c) * 0x100000001b3u;
    for (int64_t i = 0; i < n; i++) {
        double u = (double)(splitmix(&state) >> 40) / 16777216.0, v = 2 * u - 1;
        if (ends(name, ".conv.weight"))
            v *= sqrt(6.0 / (double)fan_in);
        else if (!strcmp(name, "fc.weight"))
            v *= sqrt(3.0 / 2048.0);
        else if (!strcmp(name, "fc.bias"))
            v *= 0.1;
        else if (ends(name, ".bn.weight") || ends(name, ".bn.running_var"))
            v = 0.75 + 0.5 * u;
        else
            v *= 0.2;
        out[i] = (float)v;
    }
}

/* Writes the whole state dictionary to path. */
static enum status write_weights(const char *path, struct error *e) {
    const char *folder = getenv("FACEMILL_REFERENCE");
    char *list = xasprintf("%s/inception-shapes.json", folder ? folder : "tests/reference");
    struct bytes text = {0};
    enum status st = file_read(list, 1 << 20, &text, e);
    cJSON *shapes = st == ST_OK ? cJSON_ParseWithLength((const char *)text.data, text.size) : NULL, *shape;
    int n = shapes ? cJSON_GetArraySize(shapes) : 0, i = 0;
    struct st_entry *entry = xcalloc(n + 1, sizeof *entry);
    cJSON_ArrayForEach(shape, shapes) {
        int64_t count = 1;
        const cJSON *dim;
        cJSON_ArrayForEach(dim, shape) {
            entry[i].dim[entry[i].ndim++] = (int64_t)dim->valuedouble;
            count *= (int64_t)dim->valuedouble;
        }
        if (ends(shape->string, "num_batches_tracked"))
            continue; /* never read; entry[i] has no dimensions and is used again */
        float *data = xmalloc((size_t)count * sizeof *data);
        formula(shape->string, data, count, count / entry[i].dim[0]);
        entry[i].name = shape->string;
        entry[i].dtype = DT_F32;
        entry[i++].data = data;
    }
    if (st == ST_OK)
        st = i ? safetensors_write(path, entry, i, NULL, 0, e) : st_bad(e, "%s: no list of shapes", list);
    for (int k = 0; k < i; k++)
        free((void *)entry[k].data);
    free(entry);
    cJSON_Delete(shapes);
    bytes_free(&text);
    free(list);
    return st;
}

/* again: features only, of a network that takes another way. */
static void check_picture(const struct safetensors *s, struct report *r, struct inception *net, int index, const struct st_tensor *chw,
                          const char *again) {
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
        const struct st_tensor *t = again && k != 3 ? NULL : safetensors_find(s, name);
        if (again)
            snprintf(name, sizeof name, "out.img%d.%s, %s", index, kind[k], again);
        if (t && t->count == size[k]) {
            float *want = xmalloc((size_t)t->count * sizeof *want);
            st_to_f32(t, want);
            report_tensor(r, name, got[k], want, t->count, 1e-4);
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
    struct inception *net = NULL, *other = NULL;
    struct error e;
    enum status st = write_weights(path, &e);
    if (st == ST_OK)
        st = inception_open(&net, path, check_device(), &(struct inception_options){.batch = 1}, &e);
    if (st == ST_OK)
        st = inception_open(&other, path, check_device(), &(struct inception_options){.batch = 1, .device_resize = true}, &e);
    unlink(path);
    if (st != ST_OK)
        report_verdict(r, "inception", false, "%s", e.text);
    for (int i = 0; st == ST_OK; i++) {
        char name[64];
        snprintf(name, sizeof name, "in.img%d_chw", i);
        const struct st_tensor *t = safetensors_find(s, name);
        if (!t || t->ndim != 3 || t->dim[0] != 3 || t->dtype != DT_U8)
            break;
        check_picture(s, r, net, i, t, NULL);
        check_picture(s, r, other, i, t, "resized by matrices");
    }
    inception_close(net);
    inception_close(other);
}

const struct check check_inception = {"Inception", recognises, run};
