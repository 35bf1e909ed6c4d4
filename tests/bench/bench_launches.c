/* bench_launches.c - launches that training waits for, one by one on a GPU: right or wrong beside the CPU, and how fast.
 *
 *     bench_launches [--device cuda] [--check] [FILTER]        lines whose name contains it; --check: errors only
 *
 * Each line: a small launch's error by norms against the CPU in float32 (of operands rounded alike), then milliseconds and rate of a large
 * one, the least of five blocks of runs. Versions are compared by running this with two plugins ($FACEMILL_PLUGIN). Exit 1 when an error is
 * over its bound.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/mem.h"
#include "common/engine/engine.h"
#include "common/rng/philox.h"

enum what { FIR, CONV, INPUT_GRAD, WEIGHT_GRAD, SAMPLE_ADJ, MIRROR, MIRROR_ADJ };

struct row {
    const char *name;
    enum what what;
    enum dtype type;
    int N, H, W, C, K;             /* of x; K: channels of y, or rows and columns of y */
    int fh, fw, up_y, up_x, down_y, down_x, pad_y0, pad_y1, pad_x0, pad_x1; /* FIR */
    int stride, pad;               /* convolutions, 3x3 */
};

#define SQUARE(up, down, p0, p1) 4, 4, up, up, down, down, p0, p1, p0, p1
static const struct row rows[] = {
    {"fir 128^2 to 129 bf16", FIR, DT_BF16, 32, 128, 128, 128, 0, SQUARE(1, 1, 2, 2)},
    {"fir 129^2 to 128 bf16", FIR, DT_BF16, 32, 129, 129, 128, 0, SQUARE(1, 1, 1, 1)},
    {"fir 257^2 to 256 bf16", FIR, DT_BF16, 16, 257, 257, 64, 0, SQUARE(1, 1, 1, 1)},
    {"fir 65^2 to 64 bf16", FIR, DT_BF16, 32, 65, 65, 256, 0, SQUARE(1, 1, 1, 1)},
    {"fir 33^2 to 32 bf16", FIR, DT_BF16, 32, 33, 33, 512, 0, SQUARE(1, 1, 1, 1)},
    {"fir 17^2 to 16 bf16", FIR, DT_BF16, 32, 17, 17, 512, 0, SQUARE(1, 1, 1, 1)},
    {"fir 128^2 down 2 bf16", FIR, DT_BF16, 32, 128, 128, 128, 0, SQUARE(1, 2, 1, 1)},
    {"fir 64^2 up 2 bf16", FIR, DT_BF16, 32, 64, 64, 128, 0, SQUARE(2, 1, 2, 1)},
    {"fir 129^2 to 128 f32", FIR, DT_F32, 32, 129, 129, 128, 0, SQUARE(1, 1, 1, 1)},
    {"fir 128^2 down 2 f32", FIR, DT_F32, 32, 128, 128, 128, 0, SQUARE(1, 2, 1, 1)},
    {"fir 64^2 up 2 f32", FIR, DT_F32, 32, 64, 64, 128, 0, SQUARE(2, 1, 2, 1)},
    {"fir 12 along rows up f32", FIR, DT_F32, 32, 382, 382, 3, 0, 1, 12, 1, 2, 1, 1, 0, 0, 6, 5},
    {"fir 12 down columns up f32", FIR, DT_F32, 32, 382, 764, 3, 0, 12, 1, 2, 1, 1, 1, 6, 5, 0, 0},
    {"fir 12 along rows down f32", FIR, DT_F32, 32, 268, 268, 3, 0, 1, 12, 1, 1, 1, 2, 0, 0, -1, -1},
    {"fir 12 down columns down f32", FIR, DT_F32, 32, 764, 764, 3, 0, 12, 1, 1, 1, 2, 1, 5, 5, 0, 0},
    {"sample adjoint 764^2", SAMPLE_ADJ, DT_F32, 32, 764, 764, 3, 268},
    {"mirror sample 128^2", MIRROR, DT_F32, 32, 128, 128, 3, 268},
    {"mirror sample 256^2", MIRROR, DT_F32, 16, 256, 256, 3, 524},
    {"mirror sample adjoint 128^2", MIRROR_ADJ, DT_F32, 32, 128, 128, 3, 268},
    {"mirror sample adjoint 256^2", MIRROR_ADJ, DT_F32, 16, 256, 256, 3, 524},
    {"conv 128^2 128 bf16", CONV, DT_BF16, 32, 128, 128, 128, 128, .stride = 1, .pad = 1},
    {"conv 64^2 256 bf16", CONV, DT_BF16, 32, 64, 64, 256, 256, .stride = 1, .pad = 1},
    {"conv 32^2 512 bf16", CONV, DT_BF16, 32, 32, 32, 512, 512, .stride = 1, .pad = 1},
    {"conv 16^2 512 bf16", CONV, DT_BF16, 32, 16, 16, 512, 512, .stride = 1, .pad = 1},
    {"conv 129^2 to 64 bf16", CONV, DT_BF16, 32, 129, 129, 128, 256, .stride = 2},
    {"input grad 128^2 128 bf16", INPUT_GRAD, DT_BF16, 32, 128, 128, 128, 128, .stride = 1, .pad = 1},
    {"input grad 32^2 512 bf16", INPUT_GRAD, DT_BF16, 32, 32, 32, 512, 512, .stride = 1, .pad = 1},
    {"input grad 64 to 129^2 bf16", INPUT_GRAD, DT_BF16, 32, 129, 129, 128, 256, .stride = 2},
    {"weight grad 256^2 64 bf16", WEIGHT_GRAD, DT_BF16, 16, 256, 256, 64, 64, .stride = 1, .pad = 1},
    {"weight grad 128^2 128 bf16", WEIGHT_GRAD, DT_BF16, 32, 128, 128, 128, 128, .stride = 1, .pad = 1},
    {"weight grad 64^2 256 bf16", WEIGHT_GRAD, DT_BF16, 32, 64, 64, 256, 256, .stride = 1, .pad = 1},
    {"weight grad 32^2 512 bf16", WEIGHT_GRAD, DT_BF16, 32, 32, 32, 512, 512, .stride = 1, .pad = 1},
    {"weight grad 16^2 512 bf16", WEIGHT_GRAD, DT_BF16, 32, 16, 16, 512, 512, .stride = 1, .pad = 1},
    {"weight grad 129^2 to 64 bf16", WEIGHT_GRAD, DT_BF16, 32, 129, 129, 128, 256, .stride = 2},
    {"conv 128^2 128 f32", CONV, DT_F32, 32, 128, 128, 128, 128, .stride = 1, .pad = 1},
    {"conv 32^2 512 f32", CONV, DT_F32, 32, 32, 32, 512, 512, .stride = 1, .pad = 1},
    {"conv 129^2 to 64 f32", CONV, DT_F32, 32, 129, 129, 128, 256, .stride = 2},
    {"input grad 128^2 128 f32", INPUT_GRAD, DT_F32, 32, 128, 128, 128, 128, .stride = 1, .pad = 1},
    {"input grad 32^2 512 f32", INPUT_GRAD, DT_F32, 32, 32, 32, 512, 512, .stride = 1, .pad = 1},
    {"weight grad 128^2 128 f32", WEIGHT_GRAD, DT_F32, 32, 128, 128, 128, 128, .stride = 1, .pad = 1},
    {"weight grad 32^2 512 f32", WEIGHT_GRAD, DT_F32, 32, 32, 32, 512, 512, .stride = 1, .pad = 1},
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static float rounded(float x) { /* to bfloat16, ties to even */
    uint32_t u;
    memcpy(&u, &x, 4);
    u = (u + 0x7fff + (u >> 16 & 1)) & ~0xffffu;
    memcpy(&x, &u, 4);
    return x;
}

/* Normal numbers of a stream; rounded where they are to be 16-bit, and kept as float32 where `wide`. */
static struct buffer *numbers(struct device *d, int64_t n, enum dtype type, bool wide, int stream) {
    struct buffer *b = buffer_create(d, n * (type == DT_F32 || wide ? 4 : 2), "numbers");
    int64_t period = n < 1 << 20 ? n : 1 << 20; /* drawn once and repeated: large operands are only timed */
    float *x = xmalloc((size_t)period * sizeof *x);
    philox_fill_normal(7, (uint64_t)stream, 0, x, period);
    uint16_t *half = xmalloc((size_t)period * sizeof *half);
    for (int64_t i = 0; i < period && type != DT_F32; i++) {
        x[i] = rounded(x[i]);
        uint32_t u;
        memcpy(&u, &x[i], 4);
        half[i] = (uint16_t)(u >> 16);
    }
    bool narrow = type != DT_F32 && !wide;
    for (int64_t at = 0; at < n; at += period) {
        int64_t m = n - at < period ? n - at : period, size = narrow ? 2 : 4;
        buffer_write(b, at * size, narrow ? (void *)half : (void *)x, m * size);
    }
    free(x);
    free(half);
    return b;
}

/* The launch of a row with N pictures on one device. */
struct launch {
    struct program *program;
    struct buffer *in[3], *out;
    int64_t n_out;
    enum dtype out_type;
    double flops, bytes;
};

static struct launch make(struct device *d, const struct row *r, int N, bool wide) {
    struct graph *g = graph_create("launch");
    struct error e;
    enum dtype type = wide ? DT_F32 : r->type;
    struct launch l = {0};
    int P = r->stride ? (r->H + 2 * r->pad - 3) / r->stride + 1 : r->K, Q = r->stride ? (r->W + 2 * r->pad - 3) / r->stride + 1 : r->K;
    tensor *y;
    if (r->what == FIR) {
        static const float four[4] = {1, 3, 3, 1};
        float taps[144];
        for (int i = 0; i < r->fh * r->fw; i++)
            taps[i] = r->fh * r->fw == 16 ? four[i / 4] * four[i % 4] / 64 : (float)(i * i % 7 + 1) / 32;
        l.in[0] = numbers(d, (int64_t)N * r->H * r->W * r->C, r->type, wide, 1);
        l.in[1] = buffer_create(d, r->fh * r->fw * 4, "taps");
        buffer_write(l.in[1], 0, taps, r->fh * r->fw * 4);
        struct upfirdn u = {r->up_y, r->up_x, r->down_y, r->down_x, r->pad_y0, r->pad_y1, r->pad_x0, r->pad_x1, false, 1};
        y = upfirdn2d(g, graph_input(g, l.in[0], 0, type, "x", 4, N, r->H, r->W, r->C), graph_input(g, l.in[1], 0, DT_F32, "f", 2, r->fh, r->fw), u);
    } else if (r->what >= SAMPLE_ADJ) {
        bool mirrored = r->what != SAMPLE_ADJ, forward = r->what == MIRROR;
        float *theta = xmalloc((size_t)N * 6 * sizeof *theta), taps[12];
        for (int i = 0; i < N; i++) { /* turned, and about a pixel a step */
            float a = 0.1f * (float)i, s = (float)r->K / (float)(mirrored ? 6 * r->H - 4 : r->H);
            memcpy(theta + 6 * i, (float[6]){s * cosf(a), -s * sinf(a), 0.02f, s * sinf(a), s * cosf(a), -0.03f}, 24);
        }
        for (int i = 0; i < 12; i++)
            taps[i] = (float)(i * i % 7 + 1) / 32;
        l.in[0] = numbers(d, (int64_t)N * (forward ? r->H * r->W : P * Q) * r->C, r->type, wide, 1);
        l.in[1] = buffer_create(d, N * 24, "theta");
        buffer_write(l.in[1], 0, theta, N * 24);
        l.in[2] = buffer_create(d, 48, "taps");
        buffer_write(l.in[2], 0, taps, 48);
        free(theta);
        tensor *x = graph_input(g, l.in[0], 0, type, "x", 4, N, forward ? r->H : P, forward ? r->W : Q, r->C);
        tensor *t = graph_input(g, l.in[1], 0, DT_F32, "theta", 3, N, 2, 3), *f = graph_input(g, l.in[2], 0, DT_F32, "f", 1, 12);
        y = forward ? mirror_sample(g, x, t, f, P, Q) : mirrored ? mirror_sample_adj(g, x, t, f, r->H, r->W)
                                                                 : affine_sample_adj(g, x, t, r->H, r->W);
    } else {
        int64_t count[3] = {(int64_t)N * r->H * r->W * r->C, (int64_t)r->K * 9 * r->C, (int64_t)N * P * Q * r->K};
        int a = r->what == INPUT_GRAD ? 2 : 0, b = r->what == WEIGHT_GRAD ? 2 : 1;
        l.in[0] = numbers(d, count[a], r->type, wide, 1);
        l.in[1] = numbers(d, count[b], r->type, wide, 2);
        tensor *ta = a ? graph_input(g, l.in[0], 0, type, "dy", 4, N, P, Q, r->K) : graph_input(g, l.in[0], 0, type, "x", 4, N, r->H, r->W, r->C);
        tensor *tb = b == 2 ? graph_input(g, l.in[1], 0, type, "dy", 4, N, P, Q, r->K) : graph_input(g, l.in[1], 0, type, "w", 4, r->K, 3, 3, r->C);
        y = r->what == CONV ? conv2d(g, ta, tb, r->stride, r->pad, r->pad)
            : r->what == INPUT_GRAD ? conv2d_input_grad(g, ta, tb, r->stride, r->pad, r->pad, r->H, r->W)
                                    : conv2d_weight_grad(g, ta, tb, r->stride, r->pad, r->pad, 3, 3);
    }
    l.n_out = 1;
    for (int i = 0; i < y->ndim; i++)
        l.n_out *= y->dim[i];
    l.out_type = y->dtype;
    l.out = buffer_create(d, l.n_out * dtype_size(y->dtype), "y");
    assign(g, graph_input_shape(g, l.out, 0, y->dtype, "y", y->ndim, y->dim), y);
    if (program_create(&l.program, g, d, &e) != ST_OK) {
        fprintf(stderr, "bench_launches: %s: %s\n", r->name, e.text);
        exit(1);
    }
    graph_free(g);
    struct program_info i = program_get_info(l.program);
    l.flops = i.flops;
    l.bytes = i.bytes;
    return l;
}

static void drop(struct launch *l) {
    program_free(l->program);
    buffer_free(l->in[0]);
    buffer_free(l->in[1]);
    buffer_free(l->in[2]);
    buffer_free(l->out);
}

static float *result(struct launch *l) {
    float *y = xmalloc((size_t)l->n_out * sizeof *y);
    program_run(l->program);
    if (l->out_type == DT_F32) {
        buffer_read(l->out, 0, y, l->n_out * 4);
        return y;
    }
    uint16_t *half = xmalloc((size_t)l->n_out * sizeof *half);
    buffer_read(l->out, 0, half, l->n_out * 2);
    for (int64_t i = 0; i < l->n_out; i++) {
        uint32_t u = (uint32_t)half[i] << 16;
        memcpy(&y[i], &u, 4);
    }
    free(half);
    return y;
}

static double error_of(struct device *d, struct device *cpu, const struct row *r) {
    struct launch a = make(d, r, 1, false), b = make(cpu, r, 1, true);
    float *got = result(&a), *want = result(&b);
    double difference = 0, size = 0;
    for (int64_t i = 0; i < a.n_out; i++) {
        difference += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        size += (double)want[i] * want[i];
    }
    free(got);
    free(want);
    drop(&a);
    drop(&b);
    return isfinite(difference) ? sqrt(difference / (size > 0 ? size : 1)) : INFINITY;
}

static double seconds_of(struct device *d, const struct row *r) {
    struct launch l = make(d, r, r->N, false);
    double least = INFINITY;
    for (int i = 0; i < 3; i++)
        program_run(l.program);
    device_sync(d);
    for (int block = 0; block < 5; block++) {
        double start = now();
        for (int i = 0; i < 10; i++)
            program_run(l.program);
        device_sync(d);
        double s = (now() - start) / 10;
        least = s < least ? s : least;
    }
    drop(&l);
    return least;
}

int main(int argc, char **argv) {
    const char *name = "cuda", *filter = "";
    bool time_too = true;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--device") && i + 1 < argc)
            name = argv[++i];
        else if (!strcmp(argv[i], "--check"))
            time_too = false;
        else
            filter = argv[i];
    }
    struct device *d, *cpu;
    struct error e;
    int wrong = 0;
    if (device_open(&d, name, 0, &e) != ST_OK || device_open(&cpu, "cpu", 0, &e) != ST_OK) {
        fprintf(stderr, "bench_launches: %s\n", e.text);
        return 1;
    }
    printf("%-30s %10s %10s %10s %10s\n", device_description(d), "error", "ms", "GB/s", "TFLOP/s");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *r = &rows[i];
        if (!strstr(r->name, filter))
            continue;
        double error = error_of(d, cpu, r), bound = r->type == DT_F32 ? 2e-5 : 4e-3, /* conv_f32.h */
                s = time_too ? seconds_of(d, r) : NAN;
        struct launch l = make(cpu, r, 1, true);
        double bytes = l.bytes * r->N * (r->type == DT_F32 ? 1 : 0.5);
        printf("%-30s %10.1e %10.4f %10.0f %10.1f%s\n", r->name, error, s * 1e3, bytes * 1e-9 / s, l.flops * r->N * 1e-12 / s,
               error <= bound ? "" : "  WRONG");
        wrong += !(error <= bound);
        drop(&l);
        fflush(stdout);
    }
    device_close(d);
    device_close(cpu);
    return wrong ? 1 : 0;
}
