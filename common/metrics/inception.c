/* inception.c - see inception.h. 5.7 GMAC a picture, 94 convolutions, 23.9 million weights. */
#include "common/metrics/inception_internal.h"

#include <assert.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/metrics/inception_internal.h"

#define BN_EPSILON 1e-3
#define MAX_RESIZED (1 << 22) /* pixels of a picture up to which the device resizes: the products' work grows with its square */

/* float16 has ten bits behind the point (as TF32) against bfloat16's seven, and no activation of this network comes near its 65504.
 *
 * What float16 would do to features, a rounding that is the same for every picture, counts more than what differs from one to the next:
 * - A convolution's result, rounded, and a bias would be added on nearly the same grid, which rounds the bias. So weights are divided by
 *   BETWEEN, whose multiples fall between the points of any such grid evenly, and results multiplied again.
 * - Weights of 1x1 kernels are a sum of two float16: the rounded ones and what rounding took, REST times. A fifth of the work is done twice.
 * - Those of larger kernels are rounded together, below.
 * With the formula's weights of tests/reference (features that vary by a twentieth), in shares of that variation, measured by emulation:
 * the fixed part was 0.0147, without the first 0.0110 of it remained, without both 0.005; what differs by picture is 0.005 each time. */
#define HALF DT_F16
#define BETWEEN 1.618034f
#define REST 2048.0f

enum { BLOCK0, BLOCK1, BLOCK2, POOL, LOGITS_UNBIASED, LOGITS, OUTPUTS };
static const int output_size[OUTPUTS] = {64, 192, 768, INCEPTION_FEATURES, INCEPTION_CLASSES, INCEPTION_CLASSES};

struct inception {
    struct device *device;
    int batch, last; /* last: the result after which the network ends */
    bool device_resize;
    struct prepare prepare;
    char hash[SHA256_HEX];
    struct buffer *input, *output[OUTPUTS];
    struct buffer *weights[INCEPTION_MAX_BUFFERS];
    int n_weights;
    struct program *program;
    float *host; /* [batch, 299, 299, 3] */
    struct {
        int width, height;
        struct program *program; /* bytes to input; NULL: none for this size */
        struct buffer *bytes, *across, *down;
    } resize;
    uint8_t *packed;   /* the batch as it travels, [batch, height, width, 3] */
    int staged, count; /* pictures staged; pictures of the run under way */
    bool staged_bytes; /* staged in resize.bytes, not in host */
};

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

/* As float16 stores it. */
static tensor *rounded(struct inception__builder *b, tensor *x) {
    return b->emulated ? cast(b->g, cast(b->g, x, HALF), DT_F32) : cast(b->g, x, HALF);
}

/* x conv kernel, in 16 bit where asked for: channels in multiples of 8, which tensor cores want (only pictures have others). */
static tensor *convolve(struct inception__builder *b, tensor *x, tensor *kernel, int stride, int pad_h, int pad_w) {
    if (!b->half)
        return conv2d(b->g, x, kernel, stride, pad_h, pad_w);
    int more = (int)(-x->dim[3] & 7);
    x = rounded(b, x);
    if (more) {
        x = pad_axis(b->g, x, 3, 0, more);
        kernel = pad_axis(b->g, kernel, 3, 0, more);
    }
    tensor *y = conv2d(b->g, x, rounded(b, kernel), stride, pad_h, pad_w);
    return b->emulated ? rounded(b, y) : y;
}

/* A 1x1 kernel rounded to float16, and what that took in `rest`, REST times. */
static void split(float *kernel, float *rest, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        float half = f32_from_f16(f16_from_f32(kernel[i]));
        rest[i] = (kernel[i] - half) * REST;
        kernel[i] = half;
    }
}

/* One kernel [RS,C] in float16, each weight taking over what rounding did to the one before, taps of a channel first: what comes in is
 * positive and much alike from tap to tap, so errors that sum to nothing move the result far less than independent ones. */
static void round_together(float *kernel, int64_t RS, int64_t C) {
    double owed = 0;
    for (int64_t c = 0; c < C; c++)
        for (int64_t rs = 0; rs < RS; rs++) {
            float *w = &kernel[rs * C + c], half = f32_from_f16(f16_from_f32((float)(*w + owed)));
            owed += (double)*w - half;
            *w = half;
        }
}

/* relu(batchnorm(conv(x))), the normalisation folded: w' = w*gamma/sqrt(var + eps), bias = beta - mean*gamma/sqrt(var + eps). The file
 * has [K,C,R,S], the engine wants [K,R,S,C]. same: padded so that the size stays (at stride 1). */
tensor *inception__conv(struct inception__builder *b, tensor *x, const char *name, int K, int stride, bool same) {
    if (b->failed)
        return x;
    int64_t C = x->dim[3], dim[4] = {K, C, 0, 0}, vector[4] = {K, -1};
    float *w = inception_weights_get(b->weights, dim, b->e, "%s.conv.weight", name);
    float *gamma = w ? inception_weights_get(b->weights, vector, b->e, "%s.bn.weight", name) : NULL;
    float *beta = gamma ? inception_weights_get(b->weights, vector, b->e, "%s.bn.bias", name) : NULL;
    float *mean = beta ? inception_weights_get(b->weights, vector, b->e, "%s.bn.running_mean", name) : NULL;
    float *var = mean ? inception_weights_get(b->weights, vector, b->e, "%s.bn.running_var", name) : NULL;
    tensor *y = x;
    b->failed = !var;
    if (var) {
        int64_t R = dim[2], S = dim[3], RS = R * S;
        float *folded = xmalloc((size_t)(K * RS * C) * sizeof *folded), *bias = xmalloc((size_t)K * sizeof *bias);
        for (int64_t k = 0; k < K; k++) {
            double factor = gamma[k] / sqrt((double)var[k] + BN_EPSILON), part = b->half ? factor / BETWEEN : factor;
            bias[k] = (float)(beta[k] - mean[k] * factor);
            for (int64_t c = 0; c < C; c++)
                for (int64_t rs = 0; rs < RS; rs++)
                    folded[(k * RS + rs) * C + c] = (float)(w[(k * C + c) * RS + rs] * part);
            if (b->half && RS > 1)
                round_together(folded + k * RS * C, RS, C);
        }
        float *rest = b->half && RS == 1 ? xmalloc((size_t)(K * C) * sizeof *rest) : NULL;
        if (rest)
            split(folded, rest, K * C);
        tensor *kernel = inception__weight(b, folded, name, 4, (int64_t[]){K, R, S, C});
        tensor *offset = inception__weight(b, bias, "bias", 1, (int64_t[]){K});
        y = convolve(b, x, kernel, stride, same ? (int)(R / 2) : 0, same ? (int)(S / 2) : 0);
        if (rest) {
            tensor *more = convolve(b, x, inception__weight(b, rest, name, 4, (int64_t[]){K, 1, 1, C}), stride, 0, 0);
            y = add(b->g, y, scale(b->g, more, 1 / REST, 0));
            free(rest);
        }
        if (b->half)
            y = scale(b->g, y, BETWEEN, 0);
        y = lrelu(b->g, add(b->g, y, offset), 0.0f);
        y = b->emulated ? rounded(b, y) : y;
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

/* False: this was the last result that is wanted. */
static bool emit(struct inception__builder *b, int which, tensor *x) {
    if (b->failed)
        return true;
    int64_t n = b->net->batch, size = output_size[which];
    if (x->ndim == 4)
        x = reshape(b->g, mean_axes(b->g, x, 1u << 1 | 1u << 2), 2, (int)n, (int)size);
    assign(b->g, graph_input(b->g, b->net->output[which], 0, DT_F32, "out", 2, (int)n, (int)size), x);
    return b->net->last != which;
}

static void build(struct inception__builder *b) {
    struct graph *g = b->g;
    tensor *p[3], *x = graph_input(g, b->net->input, 0, DT_F32, "pictures", 4, b->net->batch, INCEPTION_SIDE, INCEPTION_SIDE, 3);
    x = inception__conv(b, x, "Conv2d_1a_3x3", 32, 2, false);  /* 149 */
    x = inception__conv(b, x, "Conv2d_2a_3x3", 32, 1, false);  /* 147 */
    x = inception__conv(b, x, "Conv2d_2b_3x3", 64, 1, true);
    x = maxpool2d(g, x, 3, 2, 0);                   /* 73 */
    if (!emit(b, BLOCK0, x))
        return;
    x = inception__conv(b, x, "Conv2d_3b_1x1", 80, 1, true);
    x = inception__conv(b, x, "Conv2d_4a_3x3", 192, 1, false); /* 71 */
    x = maxpool2d(g, x, 3, 2, 0);                   /* 35 */
    if (!emit(b, BLOCK1, x))
        return;
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
    if (!emit(b, BLOCK2, x))
        return;

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
    float *w = inception_weights_get(b->weights, dim, b->e, "fc.weight"), *bias = w ? inception_weights_get(b->weights, vector, b->e, "fc.bias") : NULL;
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

enum status inception_open(struct inception **out, const char *path, struct device *d, const struct inception_options *o, struct error *e) {
    struct inception *net = xcalloc(1, sizeof *net);
    bool cpu = !strcmp(device_name(d), "cpu");
    *out = NULL;
    net->device = d;
    net->batch = o->batch;
    net->last = o->features == 64 ? BLOCK0 : o->features == 192 ? BLOCK1 : o->features == 768 ? BLOCK2 : LOGITS;
    net->device_resize = o->device_resize || !cpu;
    net->prepare = prepare_inception(o->resize);
    struct inception__builder b = {.net = net, .device = d, .buffers = net->weights, .n_buffers = &net->n_weights, .e = e,
                                   .half = o->half, .emulated = o->half && cpu};
    enum status st = sha256_file(path, net->hash, e);
    if (st == ST_OK)
        st = inception_weights_open(&b.weights, path, e);
    if (st == ST_OK) {
        size_t pixels = (size_t)net->batch * INCEPTION_SIDE * INCEPTION_SIDE * 3;
        net->host = xmalloc(pixels * sizeof *net->host);
        net->input = buffer_create(d, (int64_t)pixels * 4, "inception pictures");
        for (int i = 0; i < OUTPUTS; i++)
            net->output[i] = buffer_create(d, (int64_t)net->batch * output_size[i] * 4, "inception output");
        b.g = graph_create("inception");
        build(&b);
        st = b.failed ? st_prefix(ST_BAD, e, "%s", path) : program_create(&net->program, b.g, d, e);
        graph_free(b.g);
    }
    inception_weights_close(b.weights);
    if (st != ST_OK) {
        inception_close(net);
        return st;
    }
    *out = net;
    return ST_OK;
}

static void forget_resize(struct inception *net) {
    program_free(net->resize.program);
    buffer_free(net->resize.bytes);
    buffer_free(net->resize.across);
    buffer_free(net->resize.down);
    free(net->packed);
    net->packed = NULL;
    memset(&net->resize, 0, sizeof net->resize);
}

void inception_close(struct inception *net) {
    if (!net)
        return;
    program_free(net->program);
    forget_resize(net);
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

struct program_info inception_info(const struct inception *net) {
    return program_get_info(net->program);
}

void inception_profile(struct inception *net, FILE *out) {
    program_profile(net->program, out);
}

/* ---- resizing on the device: bytes [N,H,W,3] as [N*H, W*3] x across [W*3, 897], then down [299, H] x each picture ---- */

static struct buffer *matrix_buffer(struct inception *net, int in, int channels, const char *name) {
    struct prepare_axis a;
    int64_t count = (int64_t)in * channels * INCEPTION_SIDE * channels;
    float *m = xmalloc((size_t)count * sizeof *m);
    prepare_axis(&a, in, 0, in, INCEPTION_SIDE, net->prepare.rule);
    prepare_matrix(&a, channels, m);
    struct buffer *b = buffer_create(net->device, count * 4, name);
    buffer_write(b, 0, m, count * 4);
    prepare_axis_free(&a);
    free(m);
    return b;
}

/* Plans the resizing of width x height into `input`; keeps the plan until another size comes. False: the device cannot. */
static bool plan_resize(struct inception *net, int width, int height) {
    if (net->resize.width == width && net->resize.height == height)
        return net->resize.program != NULL;
    device_sync(net->device); /* the last batch may still be reading */
    forget_resize(net);
    net->resize.width = width;
    net->resize.height = height;
    if ((int64_t)width * height > MAX_RESIZED)
        return false;
    int N = net->batch, row = INCEPTION_SIDE * 3;
    struct graph *g = graph_create("resize");
    net->packed = xcalloc((size_t)N * height * width, 3);
    net->resize.bytes = buffer_create(net->device, (int64_t)N * height * width * 3, "pictures");
    net->resize.across = matrix_buffer(net, width, 3, "across");
    net->resize.down = matrix_buffer(net, height, 1, "down"); /* [H, 299]: used transposed */
    tensor *x = cast(g, graph_input(g, net->resize.bytes, 0, DT_U8, "bytes", 2, N * height, width * 3), DT_F32);
    tensor *across = graph_input(g, net->resize.across, 0, DT_F32, "across", 2, width * 3, row);
    tensor *down = graph_input(g, net->resize.down, 0, DT_F32, "down", 3, 1, height, INCEPTION_SIDE);
    x = reshape(g, matmul(g, x, false, across, false), 3, N, height, row);
    x = reshape(g, matmul(g, down, true, x, false), 4, N, INCEPTION_SIDE, INCEPTION_SIDE, 3);
    x = scale(g, x, net->prepare.scale, net->prepare.offset);
    assign(g, graph_input(g, net->input, 0, DT_F32, "input", 4, N, INCEPTION_SIDE, INCEPTION_SIDE, 3), x);
    struct error e;
    if (program_create(&net->resize.program, g, net->device, &e) != ST_OK)
        net->resize.program = NULL;
    graph_free(g);
    return net->resize.program != NULL;
}

/* ---- running ---- */

void inception_stage(struct inception *net, const struct image *pictures, int n) {
    const size_t size = INCEPTION_SIDE * INCEPTION_SIDE * 3;
    int width = pictures[0].width, height = pictures[0].height;
    bool alike = net->device_resize;
    assert(n >= 1 && n <= net->batch);
    for (int i = 1; i < n && alike; i++)
        alike = pictures[i].width == width && pictures[i].height == height;
    net->staged = n;
    net->staged_bytes = alike && plan_resize(net, width, height);
    if (net->staged_bytes) {
        size_t bytes = (size_t)width * height * 3;
        for (int i = 0; i < n; i++)
            memcpy(net->packed + i * bytes, pictures[i].data, bytes);
        buffer_write(net->resize.bytes, 0, net->packed, (int64_t)((size_t)n * bytes)); /* behind them old pictures, harmless */
        return;
    }
#pragma omp parallel for schedule(dynamic)
    for (int i = 0; i < net->batch; i++)
        if (i < n)
            prepare_picture(&net->prepare, &pictures[i], net->host + i * size);
        else
            memset(net->host + i * size, 0, size * sizeof *net->host);
}

void inception_start(struct inception *net) {
    net->count = net->staged;
    if (net->staged_bytes)
        program_run(net->resize.program);
    else
        buffer_write(net->input, 0, net->host, (int64_t)net->batch * INCEPTION_SIDE * INCEPTION_SIDE * 3 * 4);
    program_run(net->program);
}

void inception_finish(struct inception *net, struct inception_out out) {
    float *to[OUTPUTS] = {out.block0, out.block1, out.block2, out.pool, out.logits_unbiased, out.logits};
    for (int o = 0; o < OUTPUTS; o++)
        if (to[o])
            buffer_read(net->output[o], 0, to[o], (int64_t)net->count * output_size[o] * 4);
}

static struct inception_out from_row(struct inception_out o, int64_t row) {
    float **to[OUTPUTS] = {&o.block0, &o.block1, &o.block2, &o.pool, &o.logits_unbiased, &o.logits};
    for (int i = 0; i < OUTPUTS; i++)
        if (*to[i])
            *to[i] += row * output_size[i];
    return o;
}

void inception_run(struct inception *net, const struct image *pictures, int n, struct inception_out out) {
    for (int first = 0; first < n; first += net->batch) {
        inception_stage(net, pictures + first, n - first < net->batch ? n - first : net->batch);
        inception_start(net);
        inception_finish(net, from_row(out, first));
    }
}

void inception_run_float(struct inception *net, const float *pictures, int n, int width, int height, struct inception_out out) {
    const size_t size = INCEPTION_SIDE * INCEPTION_SIDE * 3, own = (size_t)width * height * 3;
    for (int first = 0; first < n; first += net->batch) {
        net->staged = n - first < net->batch ? n - first : net->batch;
        net->staged_bytes = false;
#pragma omp parallel for schedule(dynamic)
        for (int i = 0; i < net->staged; i++)
            prepare_float(&net->prepare, pictures + (first + i) * own, width, height, net->host + i * size);
        memset(net->host + net->staged * size, 0, (net->batch - net->staged) * size * sizeof *net->host);
        inception_start(net);
        inception_finish(net, from_row(out, first));
    }
}
