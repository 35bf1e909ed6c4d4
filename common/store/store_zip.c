/* store_zip.c - see store_tools.h: a store as the zip archive that stylegan2-ada-pytorch and stylegan3 train on.
 *
 * Pictures are 00000/img00000000.png and on, a thousand a folder, and dataset.json comes last, as their dataset_tool writes them. Encoding
 * is what takes time (PNG of 1024x1024: about 0.1 s), so a batch of pictures is encoded by several threads and then written in order.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/store/store_tools.h"
#include "common/store/zip_write.h"

#define BATCH 64
#define BATCH_BYTES ((int64_t)256 << 20) /* of decoded pictures */

struct encoded {
    struct bytes png;
    int label; /* -1: none */
    enum status st;
    struct error e;
};

static void encode(struct store *s, int size, int64_t i, struct encoded *out) {
    const struct store_meta *m = store_get_meta(s);
    const void *data;
    size_t bytes;
    struct image im;
    if (store_label(s, i, &out->label, &out->e) != ST_OK)
        out->label = -1;
    out->st = store_decode(s, size, i, &im, &out->e);
    if (out->st != ST_OK)
        return;
    if (m->codec == IMAGE_PNG && !m->foreign) { /* what decodes keeps its bytes */
        if ((out->st = store_picture(s, size, i, &data, &bytes, &out->e)) == ST_OK)
            bytes_append(&out->png, data, bytes);
    } else
        out->st = image_encode(&im, IMAGE_PNG, 0, &out->png, &out->e);
    image_free(&im);
}

static void add_label(struct bytes *json, const char *name, int label) {
    char text[64];
    int n = snprintf(text, sizeof text, "%s\n[\"%s\", %d]", json->size ? "," : "", name, label);
    bytes_append(json, text, (size_t)n);
}

static enum status write_labels(struct zip_writer *z, const struct bytes *entries, bool all, struct error *e) {
    struct bytes json = {0};
    if (all && entries->size) {
        bytes_append(&json, "{\"labels\": [", 12);
        bytes_append(&json, entries->data, entries->size);
        bytes_append(&json, "\n]}\n", 4);
    } else
        bytes_append(&json, "{\"labels\": null}\n", 17);
    enum status st = zip_add(z, "dataset.json", json.data, json.size, e);
    bytes_free(&json);
    return st;
}

enum status store_write_zip(struct store *s, const char *path, const struct zip_options *o, struct zip_count *count, struct error *e) {
    const struct store_meta *m = store_get_meta(s);
    int width = m->width[o->size], height = m->height[o->size];
    *count = (struct zip_count){0};
    if (width != height || (m->channels != 1 && m->channels != 3))
        return st_bad(e, "%s: such a zip holds square pictures of 1 or 3 channels, not %dx%d of %d", path, width, height, m->channels);
    struct zip_writer *z;
    enum status st = zip_create(&z, path, e);
    if (st != ST_OK)
        return st;
    struct encoded *batch = xcalloc(BATCH, sizeof *batch);
    struct bytes labels = {0};
    int64_t fits = BATCH_BYTES / ((int64_t)width * height * m->channels), step = fits < 1 ? 1 : fits < BATCH ? fits : BATCH;
    for (int64_t first = 0; first < o->n && st == ST_OK; first += step) {
        int64_t n = o->n - first < step ? o->n - first : step;
#pragma omp parallel for schedule(dynamic) num_threads(o->jobs)
        for (int64_t i = 0; i < n; i++)
            encode(s, o->size, first + i, &batch[i]);
        for (int64_t i = 0; i < n; i++) {
            struct encoded *x = &batch[i];
            char name[40];
            if (st == ST_OK && x->st == ST_OK) {
                snprintf(name, sizeof name, "%05lld/img%08lld.png", (long long)(count->out / 1000), (long long)count->out);
                st = zip_add(z, name, x->png.data, x->png.size, e);
                count->out++;
                if (x->label >= 0) {
                    add_label(&labels, name, x->label);
                    count->labelled++;
                }
            } else if (x->st != ST_OK)
                o->reject(first + i, x->e.text, o->data);
            bytes_free(&x->png);
            o->tick(o->data);
        }
    }
    if (st == ST_OK)
        st = write_labels(z, &labels, count->labelled == count->out, e);
    free(batch);
    bytes_free(&labels);
    if (st == ST_OK)
        return zip_close(z, e);
    zip_discard(z);
    return st;
}
