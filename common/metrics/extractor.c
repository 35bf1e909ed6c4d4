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
#include "common/metrics/network_features.h"

#define FACE_SIDE 150

enum kind { INCEPTION, DLIB_FACE, NETWORK };

struct extractor {
    enum kind kind;
    int threads, batch;
    int dim; /* of Inception's layer */
    struct device *device;
    struct inception *inception;
    struct network_features *network;
    struct face_models **face; /* [threads] */
    const struct image *staged, *running; /* dlib-face, whose work is done in finish */
    int n_staged, n_running;
    char hash[SHA256_HEX], preprocessing[128], where[128];
    const char *precision;
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

/* The device, and what suits it. */
static enum status open_device(struct extractor *x, const struct extractor_options *o, bool *half, struct error *e) {
    enum status st = device_open(&x->device, o->device ? o->device : "cpu", o->threads, e);
    if (st != ST_OK)
        return st;
    bool cpu = !strcmp(device_name(x->device), "cpu");
    device_use_graphs(x->device, !o->no_graph);
    x->batch = o->batch ? o->batch : cpu ? 8 : 128;
    *half = !cpu && !o->fp32;
    snprintf(x->where, sizeof x->where, "%s: %s", device_name(x->device), device_description(x->device));
    return ST_OK;
}

static enum status open_inception(struct extractor *x, const struct extractor_options *o, struct error *e) {
    char path[4096];
    struct inception_options io = {.resize = o->resize, .features = x->dim == INCEPTION_FEATURES ? 0 : x->dim};
    enum status st = inception_find(o->weights, path, sizeof path, e);
    if (st == ST_OK)
        st = open_device(x, o, &io.half, e);
    if (st != ST_OK)
        return st;
    io.batch = x->batch;
    st = inception_open(&x->inception, path, x->device, &io, e);
    if (st != ST_OK)
        return st;
    struct prepare p = prepare_inception(o->resize);
    x->precision = io.half ? "float16" : "float32";
    snprintf(x->hash, sizeof x->hash, "%s", inception_hash(x->inception));
    prepare_describe(&p, x->preprocessing, sizeof x->preprocessing);
    return ST_OK;
}

static enum status open_network(struct extractor *x, const struct extractor_options *o, struct error *e) {
    bool half;
    enum status st = open_device(x, o, &half, e);
    if (st == ST_OK)
        st = network_features_open(&x->network, o->features, x->device, x->batch, o->resize, half, e);
    if (st != ST_OK)
        return st;
    x->precision = half ? "bfloat16" : "float32";
    snprintf(x->hash, sizeof x->hash, "%s", network_features_hash(x->network));
    prepare_describe(network_features_prepare(x->network), x->preprocessing, sizeof x->preprocessing);
    return ST_OK;
}

static enum status open_face(struct extractor *x, const struct extractor_options *o, struct error *e) {
    x->face = xcalloc(o->threads, sizeof *x->face);
    x->batch = o->batch ? o->batch : 16 * o->threads;
    x->precision = "float32";
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

static const struct { const char *name; int dim; } layers[] = {
    {"inception", INCEPTION_FEATURES}, {"inception-64", 64}, {"inception-192", 192}, {"inception-768", 768}};

int extractor_inception_dim(const char *features) {
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++)
        if (!strcmp(features, layers[i].name))
            return layers[i].dim;
    return 0;
}

enum status extractor_open(struct extractor **out, const struct extractor_options *o, struct error *e) {
    struct extractor *x = xcalloc(1, sizeof *x);
    x->dim = extractor_inception_dim(o->features);
    x->kind = x->dim ? INCEPTION : !strcmp(o->features, "dlib-face") ? DLIB_FACE : NETWORK;
    x->threads = o->threads;
    enum status st = x->kind == INCEPTION ? open_inception(x, o, e) : x->kind == NETWORK ? open_network(x, o, e) : open_face(x, o, e);
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
    network_features_close(x->network);
    if (x->device)
        device_close(x->device);
    for (int i = 0; x->face && i < x->threads; i++)
        face_models_close(x->face[i]);
    free(x->face);
    free(x);
}

const char *extractor_name(const struct extractor *x) {
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++)
        if (x->dim == layers[i].dim)
            return layers[i].name;
    return x->kind == DLIB_FACE ? "dlib-face" : "discriminator";
}

int extractor_dim(const struct extractor *x) {
    return x->kind == INCEPTION ? x->dim : x->kind == DLIB_FACE ? FACE_EMBEDDING : network_features_dim(x->network);
}

int extractor_classes(const struct extractor *x) {
    return x->dim == INCEPTION_FEATURES ? INCEPTION_CLASSES : 0;
}

const char *extractor_precision(const struct extractor *x) {
    return x->precision;
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

/* The fixed cut of one picture, from bytes or from floats. */
static void cut_float(const float *picture, int width, int height, float *chip) {
    double box[4];
    struct prepare_axis x, y;
    extractor_face_rectangle(box);
    prepare_axis(&x, width, box[0] * width, box[2] * width, FACE_SIDE, RESIZE_TRIANGLE);
    prepare_axis(&y, height, box[1] * height, box[3] * height, FACE_SIDE, RESIZE_TRIANGLE);
    prepare_resize(picture, width, &x, &y, chip);
    prepare_axis_free(&x);
    prepare_axis_free(&y);
}

static void cut(const struct image *p, struct image *chip) {
    double box[4];
    extractor_face_rectangle(box);
    image_resize_box(p, box[0] * p->width, box[1] * p->height, box[2] * p->width, box[3] * p->height, FACE_SIDE, FACE_SIDE,
                     FILTER_BILINEAR, chip);
}

/* Pictures first .. first+count, which are bytes or (pictures NULL) floats [n, height, width, 3]. */
static enum status embed_some(struct face_models *face, const struct image *pictures, const float *floats, int width, int height, int first,
                              int count, float *features, struct error *e) {
    enum status st;
    if (floats) {
        float *chips = xmalloc((size_t)count * FACE_SIDE * FACE_SIDE * 3 * sizeof *chips);
        for (int i = 0; i < count; i++)
            cut_float(floats + (size_t)(first + i) * width * height * 3, width, height, chips + (size_t)i * FACE_SIDE * FACE_SIDE * 3);
        st = face_embed_float(face, chips, count, features + (size_t)first * FACE_EMBEDDING, e);
        free(chips);
        return st;
    }
    struct image *chips = xcalloc(count, sizeof *chips);
    for (int i = 0; i < count; i++)
        cut(&pictures[first + i], &chips[i]);
    st = face_embed(face, chips, count, features + (size_t)first * FACE_EMBEDDING, e);
    for (int i = 0; i < count; i++)
        image_free(&chips[i]);
    free(chips);
    return st;
}

/* Each thread embeds a run of the pictures with its own copy of the network. */
static enum status run_face(struct extractor *x, const struct image *pictures, const float *floats, int width, int height, int n,
                            float *features, struct error *e) {
    enum status worst = ST_OK;
    int blas = openblas_get_num_threads();
    openblas_set_num_threads(1); /* threads that all call a threaded BLAS wait for each other: 64 pictures/s instead of 92 */
#pragma omp parallel for num_threads(x->threads) schedule(static, 1)
    for (int t = 0; t < x->threads; t++) {
        int first = (int)((int64_t)n * t / x->threads), count = (int)((int64_t)n * (t + 1) / x->threads) - first;
        struct error mine;
        enum status st = count ? embed_some(x->face[t], pictures, floats, width, height, first, count, features, &mine) : ST_OK;
        if (st != ST_OK) {
#pragma omp critical(extractor_face)
            {
                worst = st;
                *e = mine;
            }
        }
    }
    openblas_set_num_threads(blas);
    return worst;
}

static struct inception_out to_layer(const struct extractor *x, float *features, float *logits) {
    switch (x->dim) {
    case 64: return (struct inception_out){.block0 = features};
    case 192: return (struct inception_out){.block1 = features};
    case 768: return (struct inception_out){.block2 = features};
    default: return (struct inception_out){.pool = features, .logits_unbiased = logits};
    }
}

void extractor_stage(struct extractor *x, const struct image *pictures, int n) {
    if (x->kind == INCEPTION)
        inception_stage(x->inception, pictures, n);
    else if (x->kind == NETWORK)
        network_features_stage(x->network, pictures, n);
    x->staged = pictures;
    x->n_staged = n;
}

void extractor_start(struct extractor *x) {
    if (x->kind == INCEPTION)
        inception_start(x->inception);
    else if (x->kind == NETWORK)
        network_features_start(x->network);
    x->running = x->staged;
    x->n_running = x->n_staged;
}

enum status extractor_finish(struct extractor *x, float *features, float *logits, struct error *e) {
    if (x->kind == DLIB_FACE)
        return run_face(x, x->running, NULL, 0, 0, x->n_running, features, e);
    if (x->kind == INCEPTION)
        inception_finish(x->inception, to_layer(x, features, logits));
    else
        network_features_finish(x->network, features);
    return ST_OK;
}

enum status extractor_run(struct extractor *x, const struct image *pictures, int n, float *features, float *logits, struct error *e) {
    extractor_stage(x, pictures, n);
    extractor_start(x);
    return extractor_finish(x, features, logits, e);
}

enum status extractor_run_float(struct extractor *x, const float *pictures, int n, int width, int height, float *features, struct error *e) {
    if (x->kind == DLIB_FACE)
        return run_face(x, NULL, pictures, width, height, n, features, e);
    if (x->kind == INCEPTION) {
        inception_run_float(x->inception, pictures, n, width, height, to_layer(x, features, NULL));
        return ST_OK;
    }
    for (int first = 0; first < n; first += x->batch) {
        int count = n - first < x->batch ? n - first : x->batch;
        network_features_stage_float(x->network, pictures + (size_t)first * width * height * 3, count, width, height);
        network_features_start(x->network);
        network_features_finish(x->network, features + (size_t)first * extractor_dim(x));
    }
    return ST_OK;
}
