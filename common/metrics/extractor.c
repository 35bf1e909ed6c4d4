/* extractor.c - see extractor.h. */
#include "common/metrics/extractor.h"

#include <cblas.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/face/face.h"
#include "common/metrics/inception.h"

#define FACE_SIDE 150

struct extractor {
    enum extractor_kind kind;
    int threads, batch;
    struct device *device;
    struct inception *inception;
    struct face_models **face; /* [threads] */
    char hash[SHA256_HEX], preprocessing[128], where[128];
};

/* dlib maps a face onto its chip by the mean landmarks of its training set, in units where the chip without its margin of a quarter
 * is the unit square: eye centres at (.2255, .2160) and (.7548, .2160), mouth corners' middle at (.4901, .7802) (means of points 36-41,
 * 42-47 and 48, 54 in dlib's get_face_chip_details). FFHQ's quad of that mean face follows by its own definition: half side
 * x = max(2|e|, 1.8|m|) along e - rot90(m), centre = eye midpoint + 0.1 m. The chip spans -0.25 .. 1.25 in the same units. Gives
 * .1504 .2532 .8589 .9618; the mean of dlib's own chips in 150 aligned portraits is .1530 .2530 .8512 .9512. */
void extractor_face_rectangle(double box[4]) {
    const double left_eye = 0.225492, right_eye = 0.754761, eye_y = 0.215990, mouth_y = 0.780233, margin = 0.25;
    double e = right_eye - left_eye, m = mouth_y - eye_y;
    double half = fmax(2 * e, 1.8 * m);
    double centre_x = (left_eye + right_eye) / 2, centre_y = eye_y + 0.1 * m;
    box[0] = (-margin - (centre_x - half)) / (2 * half);
    box[1] = (-margin - (centre_y - half)) / (2 * half);
    box[2] = (1 + margin - (centre_x - half)) / (2 * half);
    box[3] = (1 + margin - (centre_y - half)) / (2 * half);
}

static enum status open_inception(struct extractor *x, const struct extractor_options *o, struct error *e) {
    char path[4096];
    enum status st = inception_find(o->weights, path, sizeof path, e);
    if (st == ST_OK)
        st = device_open(&x->device, o->device ? o->device : "cpu", o->threads, e);
    if (st != ST_OK)
        return st;
    device_use_graphs(x->device, !o->no_graph);
    x->batch = o->batch ? o->batch : strcmp(device_name(x->device), "cpu") ? 64 : 8;
    st = inception_open(&x->inception, path, x->device, x->batch, e);
    if (st != ST_OK)
        return st;
    snprintf(x->hash, sizeof x->hash, "%s", inception_hash(x->inception));
    snprintf(x->preprocessing, sizeof x->preprocessing, "%s", INCEPTION_PREPROCESSING);
    snprintf(x->where, sizeof x->where, "%s: %s", device_name(x->device), device_description(x->device));
    return ST_OK;
}

static enum status open_face(struct extractor *x, const struct extractor_options *o, struct error *e) {
    x->face = xcalloc(o->threads, sizeof *x->face);
    x->batch = o->batch ? o->batch : 16 * o->threads;
    enum status st = face_models_open(&x->face[0], NULL, e);
    if (st == ST_OK)
        st = face_embed_hash(x->face[0], x->hash, e);
    for (int i = 1; st == ST_OK && i < o->threads; i++)
        st = face_models_clone(&x->face[i], x->face[0], e);
    double box[4];
    extractor_face_rectangle(box);
    snprintf(x->preprocessing, sizeof x->preprocessing, "rectangle %.4f,%.4f-%.4f,%.4f to %dx%d, triangle filter", box[0], box[1], box[2],
             box[3], FACE_SIDE, FACE_SIDE);
    snprintf(x->where, sizeof x->where, "cpu: %d threads, dlib", o->threads);
    return st;
}

enum status extractor_open(struct extractor **out, const struct extractor_options *o, struct error *e) {
    struct extractor *x = xcalloc(1, sizeof *x);
    x->kind = o->kind;
    x->threads = o->threads;
    enum status st = o->kind == EXTRACT_INCEPTION ? open_inception(x, o, e) : open_face(x, o, e);
    if (st != ST_OK) {
        extractor_close(x);
        x = NULL;
    }
    *out = x;
    return st;
}

void extractor_close(struct extractor *x) {
    if (!x)
        return;
    inception_close(x->inception);
    if (x->device)
        device_close(x->device);
    for (int i = 0; x->face && i < x->threads; i++)
        face_models_close(x->face[i]);
    free(x->face);
    free(x);
}

const char *extractor_name(const struct extractor *x) {
    return x->kind == EXTRACT_INCEPTION ? "inception" : "dlib-face";
}

int extractor_dim(const struct extractor *x) {
    return x->kind == EXTRACT_INCEPTION ? INCEPTION_FEATURES : FACE_EMBEDDING;
}

int extractor_classes(const struct extractor *x) {
    return x->kind == EXTRACT_INCEPTION ? INCEPTION_CLASSES : 0;
}

int extractor_batch(const struct extractor *x) {
    return x->batch;
}

const char *extractor_hash(const struct extractor *x) {
    return x->hash;
}

const char *extractor_preprocessing(const struct extractor *x) {
    return x->preprocessing;
}

const char *extractor_device(const struct extractor *x) {
    return x->where;
}

/* Each thread embeds a run of the pictures with its own copy of the network. */
static enum status run_face(struct extractor *x, const struct image *pictures, int n, float *features, struct error *e) {
    double box[4];
    enum status worst = ST_OK;
    int blas = openblas_get_num_threads();
    extractor_face_rectangle(box);
    openblas_set_num_threads(1); /* threads that all call a threaded BLAS wait for each other: 64 pictures/s instead of 92 */
#pragma omp parallel for num_threads(x->threads) schedule(static, 1)
    for (int t = 0; t < x->threads; t++) {
        int first = (int)((int64_t)n * t / x->threads), count = (int)((int64_t)n * (t + 1) / x->threads) - first;
        struct image *chips = xcalloc(count ? count : 1, sizeof *chips);
        struct error mine;
        for (int i = 0; i < count; i++) {
            const struct image *p = &pictures[first + i];
            image_resize_box(p, box[0] * p->width, box[1] * p->height, box[2] * p->width, box[3] * p->height, FACE_SIDE, FACE_SIDE,
                             FILTER_BILINEAR, &chips[i]);
        }
        enum status st = count ? face_embed(x->face[t], chips, count, features + (size_t)first * FACE_EMBEDDING, &mine) : ST_OK;
        if (st != ST_OK) {
#pragma omp critical(extractor_face)
            {
                worst = st;
                *e = mine;
            }
        }
        for (int i = 0; i < count; i++)
            image_free(&chips[i]);
        free(chips);
    }
    openblas_set_num_threads(blas);
    return worst;
}

enum status extractor_run(struct extractor *x, const struct image *pictures, int n, float *features, float *logits, struct error *e) {
    if (x->kind == EXTRACT_DLIB_FACE)
        return run_face(x, pictures, n, features, e);
    inception_run(x->inception, pictures, n, (struct inception_out){.pool = features, .logits_unbiased = logits});
    return ST_OK;
}
