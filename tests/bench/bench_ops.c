/* bench_ops.c - how fast the CPU kernels are, by operation and shape: bench_ops [--threads N] [--cpu-time] [FILTER].
 *
 * Prints time (best of several runs), GFLOP/s or GB/s (each operand counted once), and for work counted in FLOPs its share of
 * this machine's sgemm rate, measured first in the same run (2048^3). FILTER: only lines whose name contains it.
 * --cpu-time counts the process's CPU time divided by its threads instead of the clock's: for machines that are busy.
 */
#include <dnnl.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/mem.h"
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
#include "kernels/upfirdn2d.h"

static struct cpu_context cpu;
static double sgemm_rate; /* FLOP/s */
static const char *filter = "";

static bool cpu_time;

static double seconds(void)
{
    struct timespec t;
    clock_gettime(cpu_time ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return ((double)t.tv_sec + 1e-9 * (double)t.tv_nsec) / (cpu_time ? cpu.threads : 1);
}

static struct operand tensor4(int64_t a, int64_t b, int64_t c, int64_t d)
{
    struct operand o = {NULL, DT_F32, 4, {a, b, c, d}};
    int64_t n = a * b * c * d;
    float *p = aligned_alloc(256, (size_t)(n * 4 + 255) / 256 * 256);
    for (int64_t i = 0; i < n; i++)
        p[i] = (float)(i % 251) / 251.0f - 0.5f;
    o.data = p;
    return o;
}

static void measure(const char *name, const struct kernel *k, struct kernel_call *c, double flops)
{
    struct error e;
    double bytes = 0, best = 1e9, start;
    if (!strstr(name, filter))
        return;
    for (int i = 0; i < c->n_in + 1; i++) {
        const struct operand *o = i < c->n_in ? &c->in[i] : &c->out[0];
        double n = 4;
        for (int j = 0; j < o->ndim; j++)
            n *= (double)o->dim[j];
        bytes += n;
    }
    c->n_out = 1;
    if (k->prepare && k->prepare(&cpu, c, &e) != ST_OK) {
        printf("%-58s %s\n", name, e.text);
        return;
    }
    c->workspace = aligned_alloc(256, (size_t)round_up(c->workspace_bytes + 1, 256));
    start = seconds();
    for (int i = 0; i < 3 || (seconds() - start < 0.2 && i < 1000); i++) {
        double t = seconds();
        k->run(&cpu, c);
        t = seconds() - t;
        best = t < best ? t : best;
    }
    if (flops > 0)
        printf("%-58s %9.3f ms %8.1f GFLOP/s %5.0f %%   workspace %.1f MB\n", name, best * 1e3, flops / best * 1e-9,
               100 * flops / best / sgemm_rate, (double)c->workspace_bytes * 1e-6);
    else
        printf("%-58s %9.3f ms %8.1f GB/s\n", name, best * 1e3, bytes / best * 1e-9);
    fflush(stdout);
    free(c->workspace);
    if (k->release)
        k->release(&cpu, c);
}

static void free_call(struct kernel_call *c)
{
    for (int i = 0; i < c->n_in; i++)
        free(c->in[i].data);
    free(c->out[0].data);
}

static void bench_sgemm(void)
{
    enum { n = 2048 };
    struct operand a = tensor4(1, 1, n, n), b = tensor4(1, 1, n, n), y = tensor4(1, 1, n, n);
    double best = 1e9;
    for (int i = 0; i < 5; i++) {
        double t = seconds();
        dnnl_sgemm('N', 'N', n, n, n, 1, a.data, n, b.data, n, 0, y.data, n);
        t = seconds() - t;
        best = t < best ? t : best;
    }
    sgemm_rate = 2.0 * n * n * n / best;
    printf("sgemm 2048^3 on %d threads: %.1f GFLOP/s\n", cpu.threads, sgemm_rate * 1e-9);
    free(a.data), free(b.data), free(y.data);
}

static void bench_convs(void)
{
    static const int64_t shapes[][9] = {
        /* N H W C K R S stride pad (of H; of W it is the same share of S) */
        {1, 4, 4, 512, 512, 3, 3, 1, 1},     {8, 4, 4, 512, 512, 3, 3, 1, 1},     {32, 4, 4, 512, 512, 3, 3, 1, 1},
        {8, 8, 8, 512, 512, 3, 3, 1, 1},     {1, 16, 16, 512, 512, 3, 3, 1, 1},   {8, 16, 16, 512, 512, 3, 3, 1, 1},
        {1, 32, 32, 512, 512, 3, 3, 1, 1},   {8, 32, 32, 256, 256, 3, 3, 1, 1},   {8, 64, 64, 256, 256, 3, 3, 1, 1},
        {1, 64, 64, 256, 256, 3, 3, 1, 1},   {8, 128, 128, 128, 128, 3, 3, 1, 1}, {1, 128, 128, 128, 128, 3, 3, 1, 1},
        {8, 128, 128, 64, 64, 3, 3, 1, 1},   {32, 32, 32, 64, 64, 3, 3, 1, 1},    {32, 16, 16, 64, 64, 3, 3, 1, 1},
        {32, 8, 8, 64, 64, 3, 3, 1, 1},      {32, 4, 4, 64, 64, 3, 3, 1, 1},      {8, 9, 9, 512, 512, 3, 3, 2, 0},
        {8, 33, 33, 256, 256, 3, 3, 2, 0},   {8, 65, 65, 128, 256, 3, 3, 2, 0},   {1, 33, 33, 512, 512, 3, 3, 2, 0},
        {32, 33, 33, 64, 64, 3, 3, 2, 0},    {8, 32, 32, 256, 256, 1, 1, 1, 0},   {8, 64, 64, 128, 256, 1, 1, 1, 0},
        {8, 128, 128, 3, 128, 1, 1, 1, 0},   {8, 128, 128, 128, 3, 1, 1, 1, 0},   {32, 32, 32, 3, 64, 1, 1, 1, 0},
        {32, 32, 32, 64, 3, 1, 1, 1, 0},     {8, 4, 4, 513, 512, 3, 3, 1, 1},     {32, 4, 4, 65, 64, 3, 3, 1, 1},
        {8, 299, 299, 3, 32, 3, 3, 2, 0},    {8, 147, 147, 32, 64, 3, 3, 1, 1},   {8, 35, 35, 48, 64, 5, 5, 1, 2},
        {8, 73, 73, 80, 192, 3, 3, 1, 0},    {8, 17, 17, 160, 160, 1, 7, 1, 0},   {8, 17, 17, 160, 192, 7, 1, 1, 3},
        {8, 35, 35, 288, 384, 3, 3, 2, 0},   {8, 17, 17, 768, 192, 1, 1, 1, 0},   {8, 8, 8, 2048, 320, 1, 1, 1, 0},
    };
    static const struct kernel *kernels[] = {&kernel_conv2d_cpu, &kernel_conv2d_input_grad_cpu, &kernel_conv2d_weight_grad_cpu};
    static const char *names[] = {"conv2d", "conv2d_input_grad", "conv2d_weight_grad"};
    for (int kind = 0; kind < 3; kind++)
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            const int64_t *s = shapes[i], R = s[5], S = s[6], stride = s[7], pad_h = s[8], pad_w = S > R ? S / 2 : S == 1 ? 0 : pad_h;
            int64_t P = (s[1] + 2 * pad_h - R) / stride + 1, Q = (s[2] + 2 * pad_w - S) / stride + 1;
            char name[99];
            snprintf(name, sizeof name, "%s %dx %dx%d C%d K%d %dx%d stride %d", names[kind], (int)s[0], (int)s[1], (int)s[2],
                     (int)s[3], (int)s[4], (int)R, (int)S, (int)stride);
            if (!strstr(name, filter))
                continue;
            struct operand x = tensor4(s[0], s[1], s[2], s[3]), w = tensor4(s[4], R, S, s[3]), y = tensor4(s[0], P, Q, s[4]);
            struct kernel_call c = {.n_in = 2, .in = {kind == 1 ? y : x, kind == 2 ? y : w}, .out = {kind == 0 ? y : kind == 1 ? x : w}};
            int64_t a[5] = {stride, pad_h, pad_w, kind == 1 ? s[1] : R, kind == 1 ? s[2] : S};
            memcpy(c.a.i, a, sizeof a);
            measure(name, kernels[kind], &c, 2.0 * (double)(s[0] * P * Q * s[3]) * (double)(s[4] * R * S));
            free_call(&c);
        }
}

static void bench_matmuls(void)
{
    static const int64_t shapes[][6] = {/* batch (of a, of b), M N K, tb */
                                        {1, 1, 1, 512, 512, 1},    {1, 1, 8, 512, 512, 1},     {1, 1, 32, 512, 512, 1},
                                        {1, 1, 64, 512, 512, 0},   {1, 1, 512, 512, 32, 0},    {1, 1, 1, 512, 512, 0},
                                        {1, 1, 32, 512, 8192, 1},  {1, 1, 2048, 2048, 2048, 0}, {1, 1, 1000, 2048, 2048, 1},
                                        {32, 32, 1024, 3, 3, 1},   {32, 32, 3, 3, 3, 0},       {1, 1, 64, 1008, 2048, 1},
                                        {1, 1, 2048, 2048, 64, 0}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const int64_t *s = shapes[i];
        struct kernel_call c = {.n_in = 2, .in = {tensor4(1, s[0], s[2], s[4]), tensor4(1, s[1], s[5] ? s[3] : s[4], s[5] ? s[4] : s[3])},
                                .out = {tensor4(1, s[0], s[2], s[3])}, .a.i = {0, s[5]}};
        for (int j = 0; j < 3; j++) {
            struct operand *o = j < 2 ? &c.in[j] : &c.out[0];
            o->ndim = 3;
            memmove(o->dim, o->dim + 1, 3 * sizeof *o->dim);
        }
        char name[99];
        snprintf(name, sizeof name, "matmul %dx [%d,%d]x[%d,%d]%s", (int)s[0], (int)s[2], (int)s[4], (int)s[4], (int)s[3], s[5] ? " tb" : "");
        measure(name, &kernel_matmul_cpu, &c, 2.0 * (double)(s[0] * s[2] * s[3]) * (double)s[4]);
        free_call(&c);
    }
}

static void bench_filters(void)
{
    static const int64_t shapes[][15] = {
        /* N H W C fh fw up_y up_x down_y down_x pads */
        {8, 64, 64, 128, 4, 4, 1, 1, 1, 1, 1, 1, 1, 1},    {8, 129, 129, 128, 4, 4, 1, 1, 1, 1, 1, 1, 1, 1},
        {8, 128, 128, 128, 4, 4, 1, 1, 1, 1, 2, 2, 2, 2},  {8, 128, 128, 128, 4, 4, 1, 1, 2, 2, 1, 1, 1, 1},
        {8, 64, 64, 128, 4, 4, 2, 2, 1, 1, 2, 1, 2, 1},    {8, 64, 64, 3, 4, 4, 2, 2, 1, 1, 2, 1, 2, 1},
        {8, 128, 128, 3, 4, 4, 1, 1, 2, 2, 1, 1, 1, 1},    {32, 33, 33, 64, 4, 4, 1, 1, 1, 1, 1, 1, 1, 1},
        {32, 16, 16, 3, 4, 4, 2, 2, 1, 1, 2, 1, 2, 1},     {32, 4, 4, 512, 4, 4, 2, 2, 1, 1, 2, 1, 2, 1},
        {32, 60, 60, 3, 1, 12, 1, 2, 1, 1, 0, 0, 6, 5},    {32, 60, 120, 3, 12, 1, 2, 1, 1, 1, 6, 5, 0, 0},
        {32, 120, 120, 3, 1, 12, 1, 1, 1, 2, 0, 0, 0, 0},  {32, 120, 60, 3, 12, 1, 1, 1, 2, 1, 0, 0, 0, 0},
        {32, 64, 64, 3, 1, 25, 1, 1, 1, 1, 0, 0, 12, 12},  {32, 64, 64, 3, 25, 1, 1, 1, 1, 1, 12, 12, 0, 0},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const int64_t *s = shapes[i];
        int64_t P = (s[1] * s[6] + s[10] + s[11] - s[4]) / s[8] + 1, Q = (s[2] * s[7] + s[12] + s[13] - s[5]) / s[9] + 1;
        struct kernel_call c = {.n_in = 2, .in = {tensor4(s[0], s[1], s[2], s[3]), tensor4(1, 1, s[4], s[5])},
                                .out = {tensor4(s[0], P, Q, s[3])}, .a.f = {1}};
        memcpy(c.a.i, s + 6, 8 * sizeof *s);
        float *f = c.in[1].data;
        static const float tap[4] = {0.125f, 0.375f, 0.375f, 0.125f};
        for (int j = 0; s[4] == 4 && s[5] == 4 && j < 16; j++)
            f[j] = tap[j / 4] * tap[j % 4];
        c.in[1].ndim = 2, c.in[1].dim[0] = s[4], c.in[1].dim[1] = s[5];
        char name[99];
        snprintf(name, sizeof name, "upfirdn2d %dx %dx%d C%d f%dx%d up %d,%d down %d,%d", (int)s[0], (int)s[1], (int)s[2], (int)s[3],
                 (int)s[4], (int)s[5], (int)s[6], (int)s[7], (int)s[8], (int)s[9]);
        measure(name, &kernel_upfirdn2d_cpu, &c, 0);
        free_call(&c);
    }
}

static void bench_others(void)
{
    struct operand theta = tensor4(32, 2, 3, 1);
    theta.ndim = 3;
    for (int i = 0; i < 32 * 6; i++)
        ((float *)theta.data)[i] = (float)(i % 6 % 4 == 0) + 0.1f * (float)(i % 7 - 3);
    struct kernel_call sample = {.n_in = 2, .in = {tensor4(32, 64, 64, 3), theta}, .out = {tensor4(32, 64, 64, 3)}, .a.i = {64, 64}};
    measure("affine_sample 32x 64x64 C3", &kernel_affine_sample_cpu, &sample, 0);
    measure("affine_sample_adj 32x 64x64 C3", &kernel_affine_sample_adj_cpu, &sample, 0);
    free_call(&sample);
    struct operand taps = tensor4(12, 1, 1, 1), turned = tensor4(32, 2, 3, 1);
    taps.ndim = 1, turned.ndim = 3;
    for (int i = 0; i < 32; i++) { /* as in augmentation: an output for each pixel of the enlarged picture */
        float c = 0.4f * cosf((float)i), s = 0.4f * sinf((float)i);
        memcpy((float *)turned.data + 6 * i, (float[6]){c, -s, 0.02f, s, c, -0.03f}, 24);
    }
    struct kernel_call mirrored = {.n_in = 3, .in = {tensor4(32, 32, 32, 3), turned, taps}, .out = {tensor4(32, 76, 76, 3)}, .a.i = {76, 76}};
    measure("mirror_sample 32x 32x32 C3 to 76x76", &kernel_mirror_sample_cpu, &mirrored, 0);
    struct operand swap = mirrored.in[0];
    mirrored.in[0] = mirrored.out[0], mirrored.out[0] = swap;
    measure("mirror_sample_adj 32x 32x32 C3 to 76x76", &kernel_mirror_sample_adj_cpu, &mirrored, 0);
    free_call(&mirrored);
    struct kernel_call pad = {.n_in = 1, .in = {tensor4(32, 32, 32, 3)}, .out = {tensor4(32, 64, 64, 3)}, .a.i = {16, 16, 16, 16}};
    measure("reflect_pad2d 32x 32x32 C3 by 16", &kernel_reflect_pad2d_cpu, &pad, 0);
    free_call(&pad);
    struct kernel_call pool = {.n_in = 1, .in = {tensor4(8, 73, 73, 64)}, .out = {tensor4(8, 36, 36, 64)}, .a.i = {3, 2, 0}};
    measure("maxpool2d 8x 73x73 C64 3x3 stride 2", &kernel_maxpool2d_cpu, &pool, 0);
    free_call(&pool);
    struct kernel_call mean = {.n_in = 1, .in = {tensor4(8, 35, 35, 192)}, .out = {tensor4(8, 35, 35, 192)}, .a.i = {3, 1, 1}};
    measure("avgpool2d 8x 35x35 C192 3x3", &kernel_avgpool2d_cpu, &mean, 0);
    free_call(&mean);
}

int main(int argc, char **argv)
{
    cpu.threads = omp_get_max_threads();
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--threads") && i + 1 < argc)
            cpu.threads = atoi(argv[++i]);
        else if (!strcmp(argv[i], "--cpu-time"))
            cpu_time = true;
        else
            filter = argv[i];
    if (cpu.threads < 1) {
        fprintf(stderr, "usage: bench_ops [--threads N] [--cpu-time] [FILTER]\n");
        return 2;
    }
    omp_set_num_threads(cpu.threads);
    bench_sgemm();
    bench_convs();
    bench_matmuls();
    bench_filters();
    bench_others();
    return 0;
}
