/* test_kernels.c - every CPU kernel of this file's tables against plain loops in double, on odd shapes; words around each
 * output stay untouched; 1, 2, 3 and 4 threads give the same bits. The reference file fixes upfirdn2d against other people's code.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/mem.h"
#include "common/store/safetensors.h"
#include "kernels/affine_sample.h"
#include "kernels/affine_sample_adj.h"
#include "kernels/avgpool2d.h"
#include "kernels/conv2d.h"
#include "kernels/conv2d_input_grad.h"
#include "kernels/conv2d_weight_grad.h"
#include "kernels/cpu.h"
#include "kernels/matmul.h"
#include "kernels/maxpool2d.h"
#include "kernels/mirror_sample.h"
#include "kernels/mirror_sample_adj.h"
#include "kernels/reflect_pad2d.h"
#include "kernels/reflect_pad2d_adj.h"
#include "kernels/upfirdn2d.h"

#define GUARD 64
static const float guard_word = 1234567.0f;

/* ---- a call made by hand ---- */
static uint64_t seed = 1;
static float uniform(void) /* -1..1 */
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (float)((int64_t)(seed >> 40) - (1 << 23)) / (float)(1 << 23);
}

static int64_t count(const struct operand *o)
{
    int64_t n = 1;
    for (int i = 0; i < o->ndim; i++)
        n *= o->dim[i];
    return n;
}

static struct operand shape(int ndim, int64_t a, int64_t b, int64_t c, int64_t d)
{
    struct operand o = {NULL, DT_F32, ndim, {a, b, c, d}};
    float *p = aligned_alloc(256, (size_t)((count(&o) * 4 + 2 * GUARD * 4 + 255) / 256 * 256));
    assert_non_null(p);
    for (int i = 0; i < GUARD; i++)
        p[i] = p[GUARD + count(&o) + i] = guard_word;
    for (int64_t i = 0; i < count(&o); i++)
        p[GUARD + i] = uniform();
    o.data = p + GUARD;
    return o;
}

static void drop(struct operand *o)
{
    free((float *)o->data - GUARD);
}

static void run_kernel(const struct kernel *k, struct kernel_call *c, int threads)
{
    struct error e;
    struct kernel_call mine = *c;
    struct cpu_context cpu = {.threads = threads};
    float *out = mine.out[0].data;
    int64_t n = count(&mine.out[0]);
    for (int64_t i = 0; i < n; i++)
        out[i] = NAN; /* every element must be written */
    mine.n_out = 1;
    enum status st = k->prepare ? k->prepare(&cpu, &mine, &e) : ST_OK;
    if (st != ST_OK)
        fail_msg("prepare: %s", e.text);
    char *ws = NULL;
    if (mine.workspace_bytes) {
        ws = aligned_alloc(256, (size_t)((mine.workspace_bytes + 255) / 256 * 256 + 256));
        memset(ws, 0xff, (size_t)mine.workspace_bytes); /* NaN: nobody may count on zeros */
        memset(ws + mine.workspace_bytes, 0x5a, 256);
        mine.workspace = ws;
    }
    k->run(&cpu, &mine);
    k->run(&cpu, &mine); /* a second run finds used workspace */
    if (k->release)
        k->release(&cpu, &mine);
    for (int i = 0; ws && i < 256; i++)
        assert_int_equal(ws[mine.workspace_bytes + i], 0x5a);
    free(ws);
    for (int i = 0; i < GUARD; i++)
        assert_true(out[-1 - i] == guard_word && out[n + i] == guard_word);
}

/* Runs with 1 to 4 threads, compares bits among them and the first with want (double); terms scales the tolerance. */
static void expect(const struct kernel *k, struct kernel_call *c, const double *want, double tolerance, const char *what)
{
    int64_t n = count(&c->out[0]);
    float *first = xmalloc((size_t)n * 4);
    for (int threads = 1; threads <= 4; threads++) {
        run_kernel(k, c, threads);
        if (threads == 1)
            memcpy(first, c->out[0].data, (size_t)n * 4);
        else if (memcmp(first, c->out[0].data, (size_t)n * 4))
            fail_msg("%s: %d threads give other bits than one", what, threads);
    }
    double largest = 0, worst = 0;
    for (int64_t i = 0; i < n; i++)
        largest = fmax(largest, fabs(want[i]));
    for (int64_t i = 0; i < n; i++) {
        double d = fabs((double)first[i] - want[i]);
        if (!(d <= worst))
            worst = d; /* NaN too */
    }
    if (!(worst <= tolerance * (largest + 1e-30)))
        fail_msg("%s: error %g of %g", what, worst, largest);
    free(first);
}

/* ---- convolutions ---- */
struct conv_case {
    int64_t N, H, W, C, K, R, S, stride, pad_h, pad_w;
};
static const struct conv_case conv_cases[] = {
    {1, 4, 4, 32, 32, 3, 3, 1, 1, 1},   {3, 5, 7, 3, 5, 3, 3, 1, 1, 1},    {2, 9, 8, 17, 33, 3, 3, 2, 1, 1},
    {2, 9, 9, 16, 24, 3, 3, 2, 0, 0},   {1, 8, 8, 64, 48, 3, 3, 1, 1, 1},  {5, 6, 6, 48, 64, 3, 3, 1, 1, 1},
    {2, 7, 9, 3, 16, 1, 1, 1, 0, 0},    {2, 7, 9, 16, 3, 1, 1, 1, 0, 0},   {9, 4, 4, 65, 40, 1, 1, 1, 0, 0},
    {2, 9, 11, 20, 12, 1, 7, 1, 0, 3},  {2, 9, 11, 12, 20, 7, 1, 1, 3, 0}, {2, 8, 8, 13, 19, 5, 5, 1, 2, 2},
    {1, 13, 12, 8, 6, 3, 3, 2, 0, 0},   {2, 10, 6, 4, 7, 1, 1, 2, 0, 0},   {1, 1, 1, 7, 9, 1, 1, 1, 0, 0},
    {1, 3, 3, 5, 6, 3, 3, 1, 0, 0},     {2, 8, 8, 6, 10, 4, 4, 2, 1, 1},   {1, 6, 5, 2, 3, 2, 3, 3, 1, 2},
    {1, 17, 17, 32, 32, 3, 3, 2, 0, 0}, {12, 6, 6, 16, 16, 3, 3, 1, 1, 1}, {2, 20, 33, 8, 40, 3, 3, 1, 1, 1},
    {4, 2, 2, 130, 70, 3, 3, 1, 1, 1},
    /* Winograd: own blocks, shared blocks, partial tiles, all paddings */
    {5, 31, 32, 32, 48, 3, 3, 1, 1, 1}, {1, 34, 35, 48, 32, 3, 3, 1, 0, 0}, {2, 22, 23, 64, 32, 3, 3, 1, 2, 1},
    {1, 32, 32, 128, 96, 3, 3, 1, 1, 1}, {16, 8, 8, 32, 32, 3, 3, 1, 1, 1}, {300, 4, 4, 32, 32, 3, 3, 1, 1, 1},
    /* matrix products: strides, gathers in several parts, few pixels with many weights */
    {2, 9, 9, 64, 80, 3, 3, 2, 0, 0},   {1, 90, 90, 64, 66, 3, 3, 1, 3, 0}, {3, 7, 8, 96, 128, 1, 1, 1, 0, 0},
    {2, 11, 9, 72, 64, 1, 7, 1, 0, 3},  {1, 4, 5, 260, 259, 3, 3, 1, 1, 1}, {2, 9, 9, 250, 248, 3, 3, 2, 0, 0},
    /* thin: RGB and its like */
    {3, 17, 9, 3, 64, 1, 1, 1, 0, 0},   {3, 17, 9, 64, 3, 1, 1, 1, 0, 0},   {2, 9, 9, 4, 33, 1, 1, 1, 0, 0},
    {2, 9, 9, 33, 2, 1, 1, 1, 0, 0},    {40, 8, 8, 1, 3, 1, 1, 1, 0, 0},
};

static void conv_reference(const struct conv_case *k, int64_t P, int64_t Q, const float *x, const float *w, const float *y,
                           double *out, int kind)
{
    for (int64_t n = 0; n < k->N; n++)
        for (int64_t p = 0; p < P; p++)
            for (int64_t q = 0; q < Q; q++)
                for (int64_t r = 0; r < k->R; r++)
                    for (int64_t s = 0; s < k->S; s++) {
                        int64_t h = p * k->stride + r - k->pad_h, v = q * k->stride + s - k->pad_w;
                        if (h < 0 || h >= k->H || v < 0 || v >= k->W)
                            continue;
                        for (int64_t o = 0; o < k->K; o++)
                            for (int64_t c = 0; c < k->C; c++) {
                                int64_t ix = ((n * k->H + h) * k->W + v) * k->C + c;
                                int64_t iw = ((o * k->R + r) * k->S + s) * k->C + c, iy = ((n * P + p) * Q + q) * k->K + o;
                                if (kind == 0)
                                    out[iy] += (double)x[ix] * w[iw];
                                else if (kind == 1)
                                    out[ix] += (double)y[iy] * w[iw];
                                else
                                    out[iw] += (double)y[iy] * x[ix];
                            }
                    }
}

static void test_conv(void **state)
{
    (void)state;
    static const struct kernel *kernels[] = {&kernel_conv2d_cpu, &kernel_conv2d_input_grad_cpu, &kernel_conv2d_weight_grad_cpu};
    for (size_t i = 0; i < sizeof conv_cases / sizeof *conv_cases; i++) {
        const struct conv_case *k = &conv_cases[i];
        int64_t P = (k->H + 2 * k->pad_h - k->R) / k->stride + 1, Q = (k->W + 2 * k->pad_w - k->S) / k->stride + 1;
        struct operand x = shape(4, k->N, k->H, k->W, k->C), w = shape(4, k->K, k->R, k->S, k->C), y = shape(4, k->N, P, Q, k->K);
        for (int kind = 0; kind < 3; kind++) {
            struct operand o = kind == 0 ? shape(4, k->N, P, Q, k->K)
                               : kind == 1 ? shape(4, k->N, k->H, k->W, k->C)
                                           : shape(4, k->K, k->R, k->S, k->C);
            struct kernel_call c = {.n_in = 2, .n_out = 1, .in = {kind == 1 ? y : x, kind == 2 ? y : w}, .out = {o}};
            int64_t a[5] = {k->stride, k->pad_h, k->pad_w, kind == 1 ? k->H : k->R, kind == 1 ? k->W : k->S};
            memcpy(c.a.i, a, sizeof a);
            double *want = xcalloc((size_t)count(&o), sizeof *want);
            conv_reference(k, P, Q, x.data, w.data, y.data, want, kind);
            char what[99];
            snprintf(what, sizeof what, "convolution case %zu kind %d", i, kind);
            expect(kernels[kind], &c, want, 1e-5, what);
            free(want);
            drop(&o);
        }
        drop(&x), drop(&w), drop(&y);
    }
}

/* ---- matmul ---- */
struct matmul_case {
    int64_t ba, bb, M, N, K; /* batch of a and of b, 0 = two-dimensional */
};
static const struct matmul_case matmul_cases[] = {
    {0, 0, 1, 1, 1},   {0, 0, 5, 7, 3},     {0, 0, 1, 512, 512}, {0, 0, 32, 65, 130},  {0, 0, 300, 290, 40}, {0, 0, 64, 1, 513},
    {4, 4, 3, 3, 3},   {4, 1, 3, 1024, 3},  {1, 4, 3, 50, 9},    {6, 6, 1024, 3, 3},   {2, 2, 33, 70, 65},   {1, 3, 40, 40, 40},
    {3, 1, 300, 20, 9}, {0, 0, 16, 600, 31}, {0, 0, 513, 17, 64}, {1, 1, 12, 31, 1000}, {0, 0, 3, 3, 5000},   {5, 5, 4, 4, 1},
};

static void test_matmul(void **state)
{
    (void)state;
    for (size_t i = 0; i < 4 * sizeof matmul_cases / sizeof *matmul_cases; i++) {
        const struct matmul_case *k = &matmul_cases[i / 4];
        bool ta = i & 1, tb = i & 2;
        int64_t B = k->ba > k->bb ? k->ba : k->bb, M = k->M, N = k->N, K = k->K;
        struct operand a = k->ba ? shape(3, k->ba, ta ? K : M, ta ? M : K, 0) : shape(2, ta ? K : M, ta ? M : K, 0, 0);
        struct operand b = k->bb ? shape(3, k->bb, tb ? N : K, tb ? K : N, 0) : shape(2, tb ? N : K, tb ? K : N, 0, 0);
        struct operand y = B ? shape(3, B, M, N, 0) : shape(2, M, N, 0, 0);
        struct kernel_call c = {.n_in = 2, .in = {a, b}, .out = {y}, .a.i = {ta, tb}};
        double *want = xcalloc((size_t)count(&y), sizeof *want);
        for (int64_t n = 0; n < count(&y); n++) {
            int64_t batch = n / (M * N), row = n / N % M, column = n % N;
            const float *pa = (float *)a.data + (k->ba > 1 ? batch * M * K : 0);
            const float *pb = (float *)b.data + (k->bb > 1 ? batch * N * K : 0);
            for (int64_t j = 0; j < K; j++)
                want[n] += (double)pa[ta ? j * M + row : row * K + j] * pb[tb ? column * K + j : j * N + column];
        }
        char what[99];
        snprintf(what, sizeof what, "matmul case %zu ta %d tb %d", i / 4, ta, tb);
        expect(&kernel_matmul_cpu, &c, want, 1e-5, what);
        free(want);
        drop(&a), drop(&b), drop(&y);
    }
}

/* ---- upfirdn2d ---- */
struct fir_case {
    int64_t N, H, W, C, fh, fw;
    int64_t a[9];   /* up, down, pads, flip */
    int kind;       /* 0 random, 1 outer product of [1,3,3,1]/8, 2 a filter a sample */
};
static const struct fir_case fir_cases[] = {
    {2, 5, 6, 3, 3, 4, {1, 1, 1, 1, 1, 2, 0, 3, 0}, 0},       {1, 7, 5, 2, 5, 2, {2, 3, 1, 2, -1, 2, 3, -2, 1}, 0},
    {2, 8, 8, 16, 4, 4, {2, 2, 1, 1, 2, 1, 2, 1, 0}, 1},      {2, 8, 8, 16, 4, 4, {1, 1, 2, 2, 1, 1, 1, 1, 0}, 1},
    {1, 9, 9, 32, 4, 4, {1, 1, 1, 1, 1, 1, 1, 1, 0}, 1},      {3, 8, 10, 3, 4, 4, {2, 2, 1, 1, 2, 1, 2, 1, 1}, 1},
    {2, 12, 10, 3, 4, 4, {1, 1, 2, 2, 1, 1, 1, 1, 1}, 1},     {2, 12, 10, 3, 1, 12, {1, 2, 1, 1, 0, 0, 6, 5, 0}, 0},
    {2, 12, 10, 3, 12, 1, {2, 1, 1, 1, 6, 5, 0, 0, 0}, 0},    {2, 24, 22, 3, 1, 12, {1, 1, 1, 2, 0, 0, -1, 0, 1}, 0},
    {2, 24, 22, 3, 12, 1, {1, 1, 2, 1, -2, -1, 0, 0, 0}, 0},  {3, 9, 17, 3, 5, 7, {1, 1, 1, 1, 2, 2, 3, 3, 0}, 2},
    {3, 9, 17, 20, 1, 7, {1, 1, 1, 1, 0, 0, 3, 3, 1}, 2},     {1, 3, 3, 1, 6, 6, {4, 4, 3, 3, 5, 5, 5, 5, 0}, 0},
    {1, 16, 16, 70, 4, 4, {1, 1, 1, 1, 2, 1, 2, 1, 0}, 0},    {1, 6, 40, 1, 4, 4, {1, 1, 1, 1, 2, 1, 2, 1, 0}, 1},
    {2, 17, 17, 24, 4, 4, {1, 1, 1, 1, 1, 1, 1, 1, 0}, 1},    {1, 33, 65, 3, 4, 4, {1, 1, 1, 1, 1, 1, 1, 1, 0}, 1},
    {2, 5, 5, 8, 4, 4, {2, 2, 1, 1, -1, 0, 0, -1, 0}, 1},     {1, 4, 4, 5, 4, 4, {1, 1, 2, 2, -1, 1, 2, -1, 1}, 1},
    {2, 3, 30, 3, 1, 25, {1, 1, 1, 1, 0, 0, 12, 12, 1}, 2},   {2, 30, 3, 3, 25, 1, {1, 1, 1, 1, 12, 12, 0, 0, 1}, 2},
    {1, 4, 4, 9, 2, 2, {1, 1, 1, 1, 5, 6, 7, 8, 0}, 0},       {1, 64, 48, 3, 4, 4, {2, 2, 1, 1, 2, 1, 2, 1, 0}, 0},
};

static double fir_at(const struct fir_case *k, const float *x, const float *f, int64_t n, int64_t p, int64_t q, int64_t c)
{
    double sum = 0;
    const float *g = f + (k->kind == 2 ? n * k->fh * k->fw : 0);
    for (int64_t i = 0; i < k->fh; i++)
        for (int64_t j = 0; j < k->fw; j++) {
            int64_t h = p * k->a[2] + i - k->a[4], w = q * k->a[3] + j - k->a[6];
            if (h < 0 || w < 0 || h % k->a[0] || w % k->a[1] || h / k->a[0] >= k->H || w / k->a[1] >= k->W)
                continue;
            double tap = k->a[8] ? g[i * k->fw + j] : g[(k->fh - 1 - i) * k->fw + k->fw - 1 - j];
            sum += tap * x[((n * k->H + h / k->a[0]) * k->W + w / k->a[1]) * k->C + c];
        }
    return sum;
}

static void test_upfirdn(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof fir_cases / sizeof *fir_cases; i++) {
        const struct fir_case *k = &fir_cases[i];
        const int64_t *a = k->a;
        int64_t P = (k->H * a[0] + a[4] + a[5] - k->fh) / a[2] + 1, Q = (k->W * a[1] + a[6] + a[7] - k->fw) / a[3] + 1;
        struct operand x = shape(4, k->N, k->H, k->W, k->C), y = shape(4, k->N, P, Q, k->C);
        struct operand f = k->kind == 2 ? shape(3, k->N, k->fh, k->fw, 0) : shape(2, k->fh, k->fw, 0, 0);
        static const float tap[4] = {0.125f, 0.375f, 0.375f, 0.125f};
        for (int j = 0; k->kind == 1 && j < 16; j++)
            ((float *)f.data)[j] = tap[j / 4] * tap[j % 4];
        struct kernel_call c = {.n_in = 2, .in = {x, f}, .out = {y}, .a.f = {1.75f}};
        memcpy(c.a.i, a, sizeof k->a);
        double *want = xmalloc((size_t)count(&y) * sizeof *want);
        for (int64_t j = 0; j < count(&y); j++)
            want[j] = 1.75 * fir_at(k, x.data, f.data, j / (P * Q * k->C), j / (Q * k->C) % P, j / k->C % Q, j % k->C);
        char what[99];
        snprintf(what, sizeof what, "upfirdn2d case %zu", i);
        expect(&kernel_upfirdn2d_cpu, &c, want, 2e-6, what);
        free(want);
        drop(&x), drop(&f), drop(&y);
    }
}

/* The reference is NCHW; transposes a picture to NHWC. */
static struct operand picture(const struct safetensors *file, const char *name)
{
    const struct st_tensor *t = safetensors_find(file, name);
    assert_non_null(t);
    int64_t N = t->dim[0], C = t->dim[1], H = t->dim[2], W = t->dim[3];
    struct operand o = shape(4, N, H, W, C);
    float *nchw = xmalloc((size_t)t->count * 4);
    st_to_f32(t, nchw);
    for (int64_t i = 0; i < t->count; i++)
        ((float *)o.data)[((i / (C * H * W) * H + i / W % H) * W + i % W) * C + i / (H * W) % C] = nchw[i];
    free(nchw);
    return o;
}

static void test_upfirdn_reference(void **state)
{
    (void)state;
    static const struct {
        const char *name, *filter;
        int64_t a[9];
        float gain;
    } cases[] = {
        {"upfirdn2d.up2", "upfirdn2d.f", {2, 2, 1, 1, 2, 1, 2, 1, 0}, 4},
        {"upfirdn2d.down2", "upfirdn2d.f", {1, 1, 2, 2, 1, 1, 1, 1, 0}, 1},
        {"upfirdn2d.filter", "upfirdn2d.f", {1, 1, 1, 1, 2, 1, 2, 1, 0}, 1},
        {"upfirdn2d.general_up3x2_down2x3_pad1,2,-1,3_gain1.5", "upfirdn2d.f_asym", {2, 3, 3, 2, -1, 3, 1, 2, 0}, 1.5f},
        {"upfirdn2d.general_flip", "upfirdn2d.f_asym", {2, 3, 3, 2, -1, 3, 1, 2, 1}, 1.5f},
    };
    struct error e;
    struct safetensors *file;
    if (safetensors_open(&file, "tests/reference/ops.safetensors", &e) != ST_OK)
        fail_msg("%s (run from the top folder)", e.text);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct operand x = picture(file, "upfirdn2d.x"), want = picture(file, cases[i].name);
        const struct st_tensor *t = safetensors_find(file, cases[i].filter);
        struct operand f = shape(2, t->dim[0], t->dim[1], 0, 0), y = shape(4, want.dim[0], want.dim[1], want.dim[2], want.dim[3]);
        st_to_f32(t, f.data);
        struct kernel_call c = {.n_in = 2, .in = {x, f}, .out = {y}, .a.f = {cases[i].gain}};
        memcpy(c.a.i, cases[i].a, sizeof cases[i].a);
        double *w = xmalloc((size_t)count(&want) * sizeof *w);
        for (int64_t j = 0; j < count(&want); j++)
            w[j] = ((float *)want.data)[j];
        expect(&kernel_upfirdn2d_cpu, &c, w, 1e-6, cases[i].name);
        free(w);
        drop(&x), drop(&want), drop(&f), drop(&y);
    }
    safetensors_close(file);
}

/* ---- padding and its adjoint ---- */
static int64_t mirror(int64_t i, int64_t length)
{
    return i < 0 ? -i : i < length ? i : 2 * (length - 1) - i;
}

static void test_reflect_pad(void **state)
{
    (void)state;
    static const int64_t cases[][8] = {/* N H W C y0 y1 x0 x1 */
                                       {2, 5, 7, 3, 1, 2, 3, 4}, {1, 4, 4, 16, 3, 3, 3, 3}, {3, 8, 2, 1, 0, 5, 1, 0},
                                       {1, 2, 2, 5, 0, 0, 0, 0}, {2, 16, 16, 3, 9, 12, 15, 11}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int64_t *k = cases[i], N = k[0], H = k[1], W = k[2], C = k[3], P = H + k[4] + k[5], Q = W + k[6] + k[7];
        struct operand x = shape(4, N, H, W, C), y = shape(4, N, P, Q, C), dy = shape(4, N, P, Q, C), dx = shape(4, N, H, W, C);
        double *fwd = xcalloc((size_t)count(&y), sizeof *fwd), *bwd = xcalloc((size_t)count(&x), sizeof *bwd);
        for (int64_t j = 0; j < count(&y); j++) {
            int64_t from = ((j / (P * Q * C) * H + mirror(j / (Q * C) % P - k[4], H)) * W + mirror(j / C % Q - k[6], W)) * C + j % C;
            fwd[j] = ((float *)x.data)[from];
            bwd[from] += ((float *)dy.data)[j];
        }
        struct kernel_call c = {.n_in = 1, .in = {x}, .out = {y}, .a.i = {k[4], k[5], k[6], k[7]}};
        expect(&kernel_reflect_pad2d_cpu, &c, fwd, 0, "reflect_pad2d");
        c.in[0] = dy, c.out[0] = dx;
        expect(&kernel_reflect_pad2d_adj_cpu, &c, bwd, 1e-6, "reflect_pad2d_adj");
        free(fwd), free(bwd);
        drop(&x), drop(&y), drop(&dy), drop(&dx);
    }
}

/* ---- affine sampling and its adjoint ---- */
static void test_affine(void **state)
{
    (void)state;
    static const int64_t cases[][6] = {{3, 8, 8, 3, 8, 8}, {2, 5, 9, 16, 7, 4}, {1, 1, 1, 1, 3, 3}, {4, 16, 16, 3, 20, 20}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int64_t *k = cases[i], N = k[0], H = k[1], W = k[2], C = k[3], P = k[4], Q = k[5];
        struct operand x = shape(4, N, H, W, C), y = shape(4, N, P, Q, C), dy = shape(4, N, P, Q, C), dx = shape(4, N, H, W, C);
        struct operand theta = shape(3, N, 2, 3, 0);
        for (int64_t n = 1; n < N; n++) /* around the identity, as in use; sample 0 stays wild */
            for (int j = 0; j < 6; j++)
                ((float *)theta.data)[n * 6 + j] = (j % 4 == 0) + 0.4f * ((float *)theta.data)[n * 6 + j];
        if (i == 3)
            ((float *)theta.data)[1] = 1e30f; /* beyond everything: zeros, no crash */
        double *fwd = xcalloc((size_t)count(&y), sizeof *fwd), *bwd = xcalloc((size_t)count(&x), sizeof *bwd);
        for (int64_t j = 0; j < count(&y); j++) {
            int64_t n = j / (P * Q * C), p = j / (Q * C) % P, q = j / C % Q;
            const float *t = (float *)theta.data + n * 6;
            double u = (2 * q + 1) / (double)Q - 1, v = (2 * p + 1) / (double)P - 1;
            double column = ((t[0] * u + t[1] * v + t[2] + 1) * W - 1) / 2, row = ((t[3] * u + t[4] * v + t[5] + 1) * H - 1) / 2;
            for (int64_t h = 0; h < H; h++)
                for (int64_t w = 0; w < W; w++) {
                    double weight = fmax(0, 1 - fabs(row - (double)h)) * fmax(0, 1 - fabs(column - (double)w));
                    int64_t from = ((n * H + h) * W + w) * C + j % C;
                    fwd[j] += weight * ((float *)x.data)[from];
                    bwd[from] += weight * ((float *)dy.data)[j];
                }
        }
        struct kernel_call c = {.n_in = 2, .in = {x, theta}, .out = {y}, .a.i = {P, Q}};
        expect(&kernel_affine_sample_cpu, &c, fwd, 1e-5, "affine_sample");
        c.in[0] = dy, c.out[0] = dx, c.a.i[0] = H, c.a.i[1] = W;
        expect(&kernel_affine_sample_adj_cpu, &c, bwd, 1e-5, "affine_sample_adj");
        free(fwd), free(bwd);
        drop(&x), drop(&y), drop(&dy), drop(&dx), drop(&theta);
    }
}

/* ---- sampling of the mirrored, enlarged picture and its adjoint ---- */
/* The weight of pixel i of `length` in what lies at `position` of the enlarged picture: that of its mirror images, together. */
static double mirrored_weight(double position, int64_t i, int64_t length, const float f[12])
{
    double left = floor(position), sum = 0;
    for (int64_t k = 0; k < 3 * length - 2; k++)
        for (int side = 0; side < 2 && mirror(k - (length - 1), length) == i; side++) {
            double z = left + side, tap = z - 2 * (double)k + 5;
            if (z >= 0 && z < (double)(6 * length - 4) && tap >= 0 && tap < 12)
                sum += 2 * f[(int)tap] * (side ? position - left : 1 - (position - left));
        }
    return sum;
}

static void test_mirror(void **state)
{
    (void)state;
    static const int64_t cases[][6] = {{3, 8, 8, 3, 8, 8}, {2, 5, 9, 16, 7, 4}, {1, 1, 1, 1, 3, 3}, {8, 7, 6, 3, 20, 25}, {4, 2, 3, 4, 9, 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int64_t *k = cases[i], N = k[0], H = k[1], W = k[2], C = k[3], P = k[4], Q = k[5];
        struct operand x = shape(4, N, H, W, C), y = shape(4, N, P, Q, C), dy = shape(4, N, P, Q, C), dx = shape(4, N, H, W, C);
        struct operand theta = shape(3, N, 2, 3, 0), f = shape(1, 12, 0, 0, 0);
        for (int64_t n = 1; n < N; n++) { /* turned by 45 degrees, from a quarter to four times the size; sample 0 stays wild */
            float *t = (float *)theta.data + n * 6, s = 0.7071f * exp2f((float)(n % 5 - 2));
            t[0] = s, t[1] = n % 2 ? -s : s, t[3] = n % 2 ? s : -s, t[4] = s;
        }
        if (i == 3) { /* beyond everything, far away, no area, not a number: zeros or right, no crash */
            float *t = theta.data;
            t[1] = 1e30f, t[6 + 2] = 3, t[12] = t[13] = t[15] = t[16] = 0, t[18 + 3] = NAN, t[24 + 5] = INFINITY;
        }
        double *fwd = xcalloc((size_t)count(&y), sizeof *fwd), *bwd = xcalloc((size_t)count(&x), sizeof *bwd);
        for (int64_t j = 0; j < N * P * Q; j++) {
            int64_t n = j / (P * Q), p = j / Q % P, q = j % Q;
            const float *t = (float *)theta.data + n * 6;
            double u = (2 * q + 1) / (double)Q - 1, v = (2 * p + 1) / (double)P - 1;
            double column = ((t[0] * u + t[1] * v + t[2] + 1) * (double)(6 * W - 4) - 1) / 2;
            double row = ((t[3] * u + t[4] * v + t[5] + 1) * (double)(6 * H - 4) - 1) / 2;
            if (!(fabs(column) < 1e6 && fabs(row) < 1e6))
                continue;
            for (int64_t h = 0; h < H; h++)
                for (int64_t w = 0; w < W; w++) {
                    double weight = mirrored_weight(row, h, H, f.data) * mirrored_weight(column, w, W, f.data);
                    int64_t from = ((n * H + h) * W + w) * C;
                    for (int64_t c = 0; c < C; c++) {
                        fwd[j * C + c] += weight * ((float *)x.data)[from + c];
                        bwd[from + c] += weight * ((float *)dy.data)[j * C + c];
                    }
                }
        }
        struct kernel_call c = {.n_in = 3, .in = {x, theta, f}, .out = {y}, .a.i = {P, Q}};
        expect(&kernel_mirror_sample_cpu, &c, fwd, 2e-5, "mirror_sample");
        c.in[0] = dy, c.out[0] = dx, c.a.i[0] = H, c.a.i[1] = W;
        expect(&kernel_mirror_sample_adj_cpu, &c, bwd, 2e-5, "mirror_sample_adj");
        free(fwd), free(bwd);
        drop(&x), drop(&y), drop(&dy), drop(&dx), drop(&theta), drop(&f);
    }
}

/* ---- pooling ---- */
static void test_pools(void **state)
{
    (void)state;
    static const int64_t cases[][7] = {/* N H W C size stride pad */
                                       {2, 9, 8, 5, 3, 2, 0}, {1, 7, 7, 33, 3, 1, 1}, {3, 8, 8, 16, 8, 1, 0}, {1, 6, 5, 1, 2, 2, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int64_t *k = cases[i], H = k[1], W = k[2], C = k[3];
        int64_t P = (H + 2 * k[6] - k[4]) / k[5] + 1, Q = (W + 2 * k[6] - k[4]) / k[5] + 1;
        struct operand x = shape(4, k[0], H, W, C), y = shape(4, k[0], P, Q, C);
        double *max = xcalloc((size_t)count(&y), sizeof *max), *avg = xcalloc((size_t)count(&y), sizeof *avg);
        for (int64_t j = 0; j < count(&y); j++) {
            int64_t n = j / (P * Q * C), p = j / (Q * C) % P, q = j / C % Q, inside = 0;
            max[j] = -INFINITY;
            for (int64_t h = p * k[5] - k[6]; h < p * k[5] - k[6] + k[4]; h++)
                for (int64_t w = q * k[5] - k[6]; w < q * k[5] - k[6] + k[4]; w++)
                    if (h >= 0 && h < H && w >= 0 && w < W) {
                        double v = ((float *)x.data)[((n * H + h) * W + w) * C + j % C];
                        max[j] = fmax(max[j], v);
                        avg[j] += v;
                        inside++;
                    }
            avg[j] /= (double)inside;
        }
        struct kernel_call c = {.n_in = 1, .in = {x}, .out = {y}, .a.i = {k[4], k[5], k[6]}};
        expect(&kernel_maxpool2d_cpu, &c, max, 0, "maxpool2d");
        expect(&kernel_avgpool2d_cpu, &c, avg, 1e-6, "avgpool2d");
        free(max), free(avg);
        drop(&x), drop(&y);
    }
}

static void test_refuses_other_types(void **state)
{
    (void)state;
    struct operand x = shape(4, 1, 4, 4, 2), w = shape(4, 3, 1, 1, 2), y = shape(4, 1, 4, 4, 3);
    struct kernel_call c = {.n_in = 2, .n_out = 1, .in = {x, w}, .out = {y}, .a.i = {1, 0, 0}};
    c.in[0].dtype = DT_F16;
    struct error e = {""};
    struct cpu_context cpu = {.threads = 1};
    assert_int_equal(kernel_conv2d_cpu.prepare(&cpu, &c, &e), ST_FAIL);
    assert_string_not_equal(e.text, "");
    kernel_conv2d_cpu.release(&cpu, &c);
    drop(&x), drop(&w), drop(&y);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conv),   cmocka_unit_test(test_matmul), cmocka_unit_test(test_upfirdn),
        cmocka_unit_test(test_upfirdn_reference), cmocka_unit_test(test_reflect_pad),
        cmocka_unit_test(test_affine), cmocka_unit_test(test_mirror), cmocka_unit_test(test_pools), cmocka_unit_test(test_refuses_other_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
