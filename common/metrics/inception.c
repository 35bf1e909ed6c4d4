/* inception.c - see inception.h. 5.7 GMAC a picture, 94 convolutions, 23.9 million weights. */
#include "common/metrics/inception_internal.h"

#include <assert.h>
#include <math.h>
#include <omp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/installed.h"
#include "common/base/mem.h"

#define WEIGHTS_NAME "pt_inception-2015-12-05-6726825d"
#define BN_EPSILON 1e-3

enum { BLOCK0, BLOCK1, BLOCK2, POOL, LOGITS_UNBIASED, LOGITS, OUTPUTS };
static const int output_size[OUTPUTS] = {64, 192, 768, INCEPTION_FEATURES, INCEPTION_CLASSES, INCEPTION_CLASSES};

struct inception {
    struct device *device;
    int batch;
    char hash[SHA256_HEX];
    struct buffer *input, *output[OUTPUTS];
    struct buffer *weights[INCEPTION_MAX_BUFFERS];
    int n_weights;
    struct program *program;
    float *host; /* [batch, 299, 299, 3] and, later, results */
};

/* ---- weights: from either kind of file ---- */

enum status inception__weights_open(struct inception__weights *w, const char *path, struct error *e) {
    uint8_t head[16] = {0};
    FILE *f = fopen(path, "rb");
    if (!f)
        return st_fail(e, "%s: %m", path);
    size_t n = fread(head, 1, sizeof head, f);
    fclose(f);
    return torch_detect(head, n) ? torch_open(&w->torch, path, e) : safetensors_open(&w->safe, path, e);
}

void inception__weights_close(struct inception__weights *w) {
    safetensors_close(w->safe);
    torch_close(w->torch);
}

/* Tensor NAME, which must have exactly these dimensions (0 = any), as float. NULL and an error when it is not so. */
__attribute__((format(printf, 4, 5))) static float *weights_get(const struct inception__weights *w, int64_t dim[4],
                                                                struct error *e, const char *format, ...) {
    char name[128];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    const struct st_tensor *t = w->safe ? safetensors_find(w->safe, name) : torch_find(w->torch, name);
    if (!t) {
        st_bad(e, "tensor %s is missing: not the weights of FID's Inception", name);
        return NULL;
    }
    int ndim = 0;
    while (ndim < 4 && dim[ndim] >= 0)
        ndim++;
    bool ok = t->ndim == ndim;
    for (int i = 0; ok && i < ndim; i++) {
        ok = dim[i] == 0 ? t->dim[i] >= 1 && t->dim[i] <= 8 : t->dim[i] == dim[i];
        dim[i] = t->dim[i];
    }
    if (!ok) {
        st_bad(e, "tensor %s has another shape than in FID's Inception", name);
        return NULL;
    }
    float *data = xmalloc((size_t)t->count * sizeof *data);
    st_to_f32(t, data);
    return data;
}

/* ---- the graph ---- */

tensor *inception__weight(struct inception__builder *b, const float *data, const char *name, int ndim, const int64_t *dim) {
    int64_t n = 1;
    for (int i = 0; i < ndim; i++)
        n *= dim[i];
    assert(b->next < INCEPTION_MAX_BUFFERS);
    struct buffer **buffer = &b->buffers[b->next++];
    if (b->next > *b->n_buffers) {
        *buffer = buffer_create(b->device, n * 4, name);
        *b->n_buffers = b->next;
        buffer_write(*buffer, 0, data, n * 4);
    }
    tensor *t = graph_input_shape(b->g, *buffer, 0, DT_F32, name, ndim, dim);
    graph_mark_constant(t);
    return t;
}

/* relu(batchnorm(conv(x))), the normalisation folded: w' = w*gamma/sqrt(var + eps), bias = beta - mean*gamma/sqrt(var + eps). The file
 * has [K,C,R,S], the engine wants [K,R,S,C]. same: padded so that the size stays (at stride 1). */
tensor *inception__conv(struct inception__builder *b, tensor *x, const char *name, int K, int stride, bool same) {
    if (b->failed)
        return x;
    int64_t C = x->dim[3], dim[4] = {K, C, 0, 0}, vector[4] = {K, -1};
    float *w = weights_get(&b->weights, dim, b->e, "%s.conv.weight", name);
    float *gamma = w ? weights_get(&b->weights, vector, b->e, "%s.bn.weight", name) : NULL;
    float *beta = gamma ? weights_get(&b->weights, vector, b->e, "%s.bn.bias", name) : NULL;
    float *mean = beta ? weights_get(&b->weights, vector, b->e, "%s.bn.running_mean", name) : NULL;
    float *var = mean ? weights_get(&b->weights, vector, b->e, "%s.bn.running_var", name) : NULL;
    tensor *y = x;
    b->failed = !var;
    if (var) {
        int64_t R = dim[2], S = dim[3], RS = R * S;
        float *folded = xmalloc((size_t)(K * RS * C) * sizeof *folded), *bias = xmalloc((size_t)K * sizeof *bias);
        for (int64_t k = 0; k < K; k++) {
            double factor = gamma[k] / sqrt((double)var[k] + BN_EPSILON);
            bias[k] = (float)(beta[k] - mean[k] * factor);
            for (int64_t c = 0; c < C; c++)
                for (int64_t rs = 0; rs < RS; rs++)
                    folded[(k * RS + rs) * C + c] = (float)(w[(k * C + c) * RS + rs] * factor);
        }
        tensor *kernel = inception__weight(b, folded, name, 4, (int64_t[]){K, R, S, C});
        tensor *offset = inception__weight(b, bias, "bias", 1, (int64_t[]){K});
        y = conv2d(b->g, x, kernel, stride, same ? (int)(R / 2) : 0, same ? (int)(S / 2) : 0);
        y = lrelu(b->g, add(b->g, y, offset), 0.0f);
        free(folded);
        free(bias);
    }
    free(w);
    free(gamma);
    free(beta);
    free(mean);
    free(var);
    return y;
}

static tensor *block(struct inception__builder *b, tensor *x, const char *name, const char *branch, int K, int stride, bool same) {
    char full[64];
    snprintf(full, sizeof full, "%s.%s", name, branch);
    return inception__conv(b, x, full, K, stride, same);
}

static tensor *join(struct inception__builder *b, tensor **part, int n) {
    return b->failed ? part[0] : concat(b->g, part, n, 3);
}

/* 35 x 35 */
tensor *inception__mixed5(struct inception__builder *b, tensor *x, const char *name, int pool) {
    tensor *p[4];
    p[0] = block(b, x, name, "branch1x1", 64, 1, true);
    p[1] = block(b, x, name, "branch5x5_1", 48, 1, true);
    p[1] = block(b, p[1], name, "branch5x5_2", 64, 1, true);
    p[2] = block(b, x, name, "branch3x3dbl_1", 64, 1, true);
    p[2] = block(b, p[2], name, "branch3x3dbl_2", 96, 1, true);
    p[2] = block(b, p[2], name, "branch3x3dbl_3", 96, 1, true);
    p[3] = b->differentiable ? inception__soft_avgpool(b, x) : avgpool2d(b->g, x, 3, 1, 1);
    p[3] = block(b, p[3], name, "branch_pool", pool, 1, true);
    return join(b, p, 4);
}

/* 17 x 17; wide: channels of the factorised 7 x 7 */
static tensor *mixed6(struct inception__builder *b, tensor *x, const char *name, int wide) {
    tensor *p[4];
    p[0] = block(b, x, name, "branch1x1", 192, 1, true);
    p[1] = block(b, x, name, "branch7x7_1", wide, 1, true);
    p[1] = block(b, p[1], name, "branch7x7_2", wide, 1, true);
    p[1] = block(b, p[1], name, "branch7x7_3", 192, 1, true);
    p[2] = block(b, x, name, "branch7x7dbl_1", wide, 1, true);
    p[2] = block(b, p[2], name, "branch7x7dbl_2", wide, 1, true);
    p[2] = block(b, p[2], name, "branch7x7dbl_3", wide, 1, true);
    p[2] = block(b, p[2], name, "branch7x7dbl_4", wide, 1, true);
    p[2] = block(b, p[2], name, "branch7x7dbl_5", 192, 1, true);
    p[3] = block(b, avgpool2d(b->g, x, 3, 1, 1), name, "branch_pool", 192, 1, true);
    return join(b, p, 4);
}

/* 8 x 8 */
static tensor *mixed7(struct inception__builder *b, tensor *x, const char *name, bool max) {
    tensor *p[4], *pair[2], *t;
    p[0] = block(b, x, name, "branch1x1", 320, 1, true);
    t = block(b, x, name, "branch3x3_1", 384, 1, true);
    pair[0] = block(b, t, name, "branch3x3_2a", 384, 1, true);
    pair[1] = block(b, t, name, "branch3x3_2b", 384, 1, true);
    p[1] = join(b, pair, 2);
    t = block(b, x, name, "branch3x3dbl_1", 448, 1, true);
    t = block(b, t, name, "branch3x3dbl_2", 384, 1, true);
    pair[0] = block(b, t, name, "branch3x3dbl_3a", 384, 1, true);
    pair[1] = block(b, t, name, "branch3x3dbl_3b", 384, 1, true);
    p[2] = join(b, pair, 2);
    t = max ? maxpool2d(b->g, x, 3, 1, 1) : avgpool2d(b->g, x, 3, 1, 1);
    p[3] = block(b, t, name, "branch_pool", 192, 1, true);
    return join(b, p, 4);
}

static void emit(struct inception__builder *b, int which, tensor *x) {
    if (b->failed)
        return;
    int64_t n = b->net->batch, size = output_size[which];
    if (x->ndim == 4)
        x = reshape(b->g, mean_axes(b->g, x, 1u << 1 | 1u << 2), 2, (int)n, (int)size);
    assign(b->g, graph_input(b->g, b->net->output[which], 0, DT_F32, "out", 2, (int)n, (int)size), x);
}

static void build(struct inception__builder *b) {
    struct graph *g = b->g;
    tensor *p[3], *x = graph_input(g, b->net->input, 0, DT_F32, "pictures", 4, b->net->batch, INCEPTION_SIDE, INCEPTION_SIDE, 3);
    x = inception__conv(b, x, "Conv2d_1a_3x3", 32, 2, false);  /* 149 */
    x = inception__conv(b, x, "Conv2d_2a_3x3", 32, 1, false);  /* 147 */
    x = inception__conv(b, x, "Conv2d_2b_3x3", 64, 1, true);
    x = maxpool2d(g, x, 3, 2, 0);                   /* 73 */
    emit(b, BLOCK0, x);
    x = inception__conv(b, x, "Conv2d_3b_1x1", 80, 1, true);
    x = inception__conv(b, x, "Conv2d_4a_3x3", 192, 1, false); /* 71 */
    x = maxpool2d(g, x, 3, 2, 0);                   /* 35 */
    emit(b, BLOCK1, x);
    x = inception__mixed5(b, x, "Mixed_5b", 32);
    x = inception__mixed5(b, x, "Mixed_5c", 64);
    x = inception__mixed5(b, x, "Mixed_5d", 64);

    p[0] = block(b, x, "Mixed_6a", "branch3x3", 384, 2, false);
    p[1] = block(b, x, "Mixed_6a", "branch3x3dbl_1", 64, 1, true);
    p[1] = block(b, p[1], "Mixed_6a", "branch3x3dbl_2", 96, 1, true);
    p[1] = block(b, p[1], "Mixed_6a", "branch3x3dbl_3", 96, 2, false);
    p[2] = maxpool2d(g, x, 3, 2, 0);                /* 17 */
    x = join(b, p, 3);
    x = mixed6(b, x, "Mixed_6b", 128);
    x = mixed6(b, x, "Mixed_6c", 160);
    x = mixed6(b, x, "Mixed_6d", 160);
    x = mixed6(b, x, "Mixed_6e", 192);
    emit(b, BLOCK2, x);

    p[0] = block(b, x, "Mixed_7a", "branch3x3_1", 192, 1, true);
    p[0] = block(b, p[0], "Mixed_7a", "branch3x3_2", 320, 2, false);
    p[1] = block(b, x, "Mixed_7a", "branch7x7x3_1", 192, 1, true);
    p[1] = block(b, p[1], "Mixed_7a", "branch7x7x3_2", 192, 1, true);
    p[1] = block(b, p[1], "Mixed_7a", "branch7x7x3_3", 192, 1, true);
    p[1] = block(b, p[1], "Mixed_7a", "branch7x7x3_4", 192, 2, false);
    p[2] = maxpool2d(g, x, 3, 2, 0);                /* 8 */
    x = join(b, p, 3);
    x = mixed7(b, x, "Mixed_7b", false);
    x = mixed7(b, x, "Mixed_7c", true);
    if (b->failed)
        return;
    x = reshape(g, mean_axes(g, x, 1u << 1 | 1u << 2), 2, b->net->batch, INCEPTION_FEATURES);
    emit(b, POOL, x);

    int64_t dim[4] = {INCEPTION_CLASSES, INCEPTION_FEATURES, -1}, vector[4] = {INCEPTION_CLASSES, -1};
    float *w = weights_get(&b->weights, dim, b->e, "fc.weight"), *bias = w ? weights_get(&b->weights, vector, b->e, "fc.bias") : NULL;
    b->failed = !bias;
    if (bias) {
        x = matmul(g, x, false, inception__weight(b, w, "fc.weight", 2, dim), true);
        emit(b, LOGITS_UNBIASED, x);
        emit(b, LOGITS, add(g, x, inception__weight(b, bias, "fc.bias", 1, vector)));
    }
    free(w);
    free(bias);
}

/* ---- open, run, close ---- */

enum status inception_find(const char *given, char *path, size_t room, struct error *e) {
    const char *named = given ? given : getenv("FACEMILL_INCEPTION");
    if (named && *named) {
        snprintf(path, room, "%s", named);
        return access(path, R_OK) == 0 ? ST_OK : st_fail(e, "%s: %m", path);
    }
    const char *folder = getenv("FACEMILL_MODELS");
    char *share = installed_path("share/facemill/models"), *tree = installed_path("../models");
    const char *const folders[] = {folder ? folder : "models", "models", share, tree};
    bool found = false;
    for (int i = 0; i < 8 && !found; i++) {
        snprintf(path, room, "%s/%s.%s", folders[i / 2], WEIGHTS_NAME, i % 2 ? "safetensors" : "pth");
        found = access(path, R_OK) == 0;
    }
    free(share);
    free(tree);
    if (found)
        return ST_OK;
    return st_fail(e, "Inception's weights %s.pth are not in ./models; they are published with the GitHub releases of "
                      "mseitzer/pytorch-fid (fid_weights): put the file there or name it with --inception", WEIGHTS_NAME);
}

enum status inception_open(struct inception **out, const char *path, struct device *d, int batch, struct error *e) {
    struct inception *net = xcalloc(1, sizeof *net);
    *out = NULL;
    net->device = d;
    net->batch = batch;
    struct inception__builder b = {.net = net, .device = d, .buffers = net->weights, .n_buffers = &net->n_weights, .e = e};
    enum status st = sha256_file(path, net->hash, e);
    if (st == ST_OK)
        st = inception__weights_open(&b.weights, path, e);
    if (st == ST_OK) {
        size_t pixels = (size_t)batch * INCEPTION_SIDE * INCEPTION_SIDE * 3;
        net->host = xmalloc(pixels * sizeof *net->host);
        net->input = buffer_create(d, (int64_t)pixels * 4, "inception pictures");
        for (int i = 0; i < OUTPUTS; i++)
            net->output[i] = buffer_create(d, (int64_t)batch * output_size[i] * 4, "inception output");
        b.g = graph_create("inception");
        build(&b);
        st = b.failed ? st_prefix(ST_BAD, e, "%s", path) : program_create(&net->program, b.g, d, e);
        graph_free(b.g);
    }
    inception__weights_close(&b.weights);
    if (st != ST_OK) {
        inception_close(net);
        return st;
    }
    *out = net;
    return ST_OK;
}

void inception_close(struct inception *net) {
    if (!net)
        return;
    program_free(net->program);
    for (int i = 0; i < net->n_weights; i++)
        buffer_free(net->weights[i]);
    for (int i = 0; i < OUTPUTS; i++)
        buffer_free(net->output[i]);
    buffer_free(net->input);
    free(net->host);
    free(net);
}

const char *inception_hash(const struct inception *net) {
    return net->hash;
}

int inception_batch(const struct inception *net) {
    return net->batch;
}

struct program_info inception_info(const struct inception *net) {
    return program_get_info(net->program);
}

void inception_profile(struct inception *net, FILE *out) {
    program_profile(net->program, out);
}

/* Source pixel and share of its right neighbour for each of the 299 targets, in float32 as the original computes them. */
static void positions(int in, int *left, int *right, float *share) {
    float scale = (float)in / (float)INCEPTION_SIDE;
    for (int i = 0; i < INCEPTION_SIDE; i++) {
        float at = (float)i * scale;
        left[i] = (int)at < in ? (int)at : in - 1;
        right[i] = left[i] + 1 < in ? left[i] + 1 : in - 1;
        share[i] = at - (float)left[i];
    }
}

void inception_preprocess(const struct image *im, float *out) {
    assert(im->channels == 3 && im->width > 0 && im->height > 0);
    int left[INCEPTION_SIDE], right[INCEPTION_SIDE], top[INCEPTION_SIDE], bottom[INCEPTION_SIDE];
    float u[INCEPTION_SIDE], v[INCEPTION_SIDE];
    positions(im->width, left, right, u);
    positions(im->height, top, bottom, v);
    for (int y = 0; y < INCEPTION_SIDE; y++) {
        const uint8_t *a = im->data + (size_t)top[y] * im->width * 3, *b = im->data + (size_t)bottom[y] * im->width * 3;
        for (int x = 0; x < INCEPTION_SIDE; x++)
            for (int c = 0; c < 3; c++) {
                float tl = a[left[x] * 3 + c], tr = a[right[x] * 3 + c], bl = b[left[x] * 3 + c], br = b[right[x] * 3 + c];
                float upper = tl + (tr - tl) * u[x], lower = bl + (br - bl) * u[x];
                *out++ = (upper + (lower - upper) * v[y] - 128.0f) / 128.0f;
            }
    }
}

void inception_run(struct inception *net, const struct image *pictures, int n, struct inception_out out) {
    float *to[OUTPUTS] = {out.block0, out.block1, out.block2, out.pool, out.logits_unbiased, out.logits};
    const size_t size = INCEPTION_SIDE * INCEPTION_SIDE * 3;
    for (int first = 0; first < n; first += net->batch) {
        int count = n - first < net->batch ? n - first : net->batch;
#pragma omp parallel for schedule(dynamic)
        for (int i = 0; i < net->batch; i++)
            if (i < count)
                inception_preprocess(&pictures[first + i], net->host + i * size);
            else
                memset(net->host + i * size, 0, size * sizeof *net->host);
        buffer_write(net->input, 0, net->host, (int64_t)(net->batch * size * sizeof *net->host));
        program_run(net->program);
        for (int o = 0; o < OUTPUTS; o++)
            if (to[o])
                buffer_read(net->output[o], 0, to[o] + (size_t)first * output_size[o], (int64_t)count * output_size[o] * 4);
    }
}
