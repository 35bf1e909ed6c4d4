/* bench_inception - Inception features on the CPU against the machine's own sgemm rate, and FID of two 2,048-dimensional statistics.
 *
 *     bench_inception [--profile] WEIGHTS [BATCH]
 *
 * Prints rows "what, tab, measured, tab, goal". Network and sgemm (2048 cubed, all processors) are timed in turns and the best of
 * each counts; their ratio is taken of processor time, which other work on the machine disturbs least. WEIGHTS may be any file of the right shapes: speed does not depend on them. */
#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/mem.h"
#include "common/cli/cli.h"
#include "common/metrics/frechet.h"
#include "common/metrics/inception.h"
#include "common/metrics/moments.h"

#define SIDE 2048
#define ROUNDS 6

/* Seconds of all threads together. */
static double processor_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* GFLOP per second of processor time */
static double sgemm_rate(void) {
    static float *a, *b, *c;
    if (!a) {
        a = xcalloc(SIDE * SIDE, sizeof *a);
        b = xcalloc(SIDE * SIDE, sizeof *b);
        c = xcalloc(SIDE * SIDE, sizeof *c);
    }
    double start = processor_seconds();
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, SIDE, SIDE, SIDE, 1.0f, a, SIDE, b, SIDE, 0.0f, c, SIDE);
    return 2.0 * SIDE * SIDE * SIDE / (processor_seconds() - start) * 1e-9;
}

static double frechet_seconds(void) {
    int d = INCEPTION_FEATURES, n = 2500;
    double *mu[2], *sigma[2];
    float *x = xmalloc((size_t)n * d * sizeof *x);
    unsigned state = 1;
    for (int side = 0; side < 2; side++) {
        struct moments *m = moments_create(d);
        for (int64_t i = 0; i < (int64_t)n * d; i++) {
            state = state * 1664525u + 1013904223u;
            x[i] = (float)(state >> 8) / 16777216.0f + (i ? 0.7f * x[i - 1] : 0) * (i % d != 0);
        }
        moments_add(m, x, n);
        mu[side] = xmalloc((size_t)d * sizeof(double));
        sigma[side] = xmalloc((size_t)d * d * sizeof(double));
        moments_finish(m, false, mu[side], sigma[side]);
        moments_free(m);
    }
    struct frechet f;
    double start = cli_seconds();
    frechet_distance(d, mu[0], sigma[0], n, mu[1], sigma[1], n, &f, NULL);
    double seconds = cli_seconds() - start;
    for (int side = 0; side < 2; side++) {
        free(mu[side]);
        free(sigma[side]);
    }
    free(x);
    return seconds;
}

int main(int argc, char **argv) {
    bool profile = argc > 1 && !strcmp(argv[1], "--profile");
    const char *weights = argc > 1 + profile ? argv[1 + profile] : NULL;
    int batch = argc > 2 + profile ? atoi(argv[2 + profile]) : 8;
    struct device *device;
    struct inception *net;
    struct error e;
    if (!weights || batch < 1) {
        fputs("usage: bench_inception [--profile] WEIGHTS [BATCH]\n", stderr);
        return 2;
    }
    if (device_open(&device, "cpu", 0, &e) != ST_OK || inception_open(&net, weights, device, &(struct inception_options){.batch = batch}, &e) != ST_OK) {
        fprintf(stderr, "bench_inception: %s\n", e.text);
        return 1;
    }
    struct image *pictures = xcalloc(batch, sizeof *pictures);
    for (int i = 0; i < batch; i++) {
        image_alloc(&pictures[i], 128, 128, 3);
        memset(pictures[i].data, 100 + i, 128 * 128 * 3);
    }
    float *features = xmalloc((size_t)batch * INCEPTION_FEATURES * sizeof *features);
    double flops = inception_info(net).flops, rate = 0, own = 0, sgemm = 0;
    inception_run(net, pictures, batch, (struct inception_out){.pool = features});
    for (int i = 0; i < ROUNDS; i++) {
        double g = sgemm_rate(), start = cli_seconds(), processor = processor_seconds();
        inception_run(net, pictures, batch, (struct inception_out){.pool = features});
        double f = flops / (processor_seconds() - processor) * 1e-9, r = batch / (cli_seconds() - start);
        own = f > own ? f : own;
        rate = r > rate ? r : rate;
        sgemm = g > sgemm ? g : sgemm;
    }
    if (profile)
        inception_profile(net, stdout);
    printf("Inception features, pictures/s\t%.1f\t-\n", rate);
    printf("Inception features, %% of the sgemm rate (%.0f GFLOP/s a core)\t%.0f\t>= 60\n", sgemm, 100 * own / sgemm);
    printf("Frechet distance of 2048-dimensional statistics, s\t%.2f\t<= 4\n", frechet_seconds());
    for (int i = 0; i < batch; i++)
        image_free(&pictures[i]);
    free(pictures);
    free(features);
    inception_close(net);
    device_close(device);
    return 0;
}
