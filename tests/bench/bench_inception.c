/* bench_inception - Inception features: speed, what 16 bits do to FID, FID of two 2,048-dimensional statistics, and a generator's
 * pictures scored as they come, by whole programs.
 *
 *     bench_inception [--device cpu|cuda] [--pictures N] [--stream N] [--profile] [WEIGHTS|- [BATCH]]
 *
 * Prints rows "what, tab, measured, tab, goal" as they are known. On the CPU the network is timed in turns with sgemm (2048 cubed, all
 * processors), the best of each counts, and their ratio is taken of processor time, which other work on the machine disturbs least. On a
 * GPU the network runs in float16 and in float32 on batches of 128x128 pictures from the host's memory, each staged while the one before
 * is computed. --pictures N (default 4096 on a GPU, none on the CPU, where float16 is emulated) compares FID of N drawn pictures against
 * N others in both precisions. --stream N (default 50000 on a GPU, none on the CPU) times "sg2-gen | fid-score --ref STORE -" with the
 * programs beside this one and examples/faces-128.safetensors, or where that is not there a fresh network of its size.
 *
 * Without WEIGHTS (or with -) they are those of the formula in tests/reference: speed does not depend on them. What rounding does, does:
 * with the formula's, features vary by a twentieth of their size from picture to picture, with published ones by all of it. Emulated
 * with the formula's, float16 moves FID of 64 pictures by +0.003 %. Before what inception.c does about rounding it was +0.009 %, the
 * sum of larger errors (variances -0.09 %), and -0.064 % of 4096 pictures on an H200.
 */
#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/base/installed.h"
#include "common/base/mem.h"
#include "common/cli/cli.h"
#include "common/metrics/frechet.h"
#include "common/metrics/inception.h"
#include "common/metrics/moments.h"
#include "common/store/checkpoint.h"
#include "common/stylegan2/trainer.h"
#include "tests/inception_formula.h"

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

/* ---- pictures: random blobs of colour, 128x128; the second set a little sharper and brighter, as another generator might ---- */

static void draw(struct image *im, unsigned seed, int cells, int lift) {
    enum { SIDE_PIXELS = 128 };
    struct image small;
    image_alloc(&small, cells, cells, 3);
    for (int i = 0; i < cells * cells * 3; i++)
        small.data[i] = (uint8_t)(((seed = seed * 1664525u + 1013904223u) >> 24) * (255 - lift) / 255 + lift);
    image_resize(&small, SIDE_PIXELS, SIDE_PIXELS, FILTER_BICUBIC, im);
    image_free(&small);
}

/* n pictures of a set, drawn by all processors. Caller frees. */
static struct image *draw_set(int n, int set) {
    struct image *pictures = xcalloc(n, sizeof *pictures);
#pragma omp parallel for schedule(dynamic)
    for (int i = 0; i < n; i++)
        draw(&pictures[i], (unsigned)(2 * i + set) * 2654435761u, 8 + i % 7 + set, 12 * set);
    return pictures;
}

static void free_set(struct image *pictures, int n) {
    for (int i = 0; i < n; i++)
        image_free(&pictures[i]);
    free(pictures);
}

static void add_set(struct inception *net, int batch, const struct image *pictures, int n, struct moments *m) {
    float *features = xmalloc((size_t)batch * INCEPTION_FEATURES * sizeof *features);
    for (int first = 0; first < n; first += batch) {
        int count = n - first < batch ? n - first : batch;
        inception_run(net, pictures + first, count, (struct inception_out){.pool = features});
        moments_add(m, features, count);
    }
    free(features);
}

static double fid_of_sets(struct inception *net, int batch, struct image *const *sets, int n) {
    int d = INCEPTION_FEATURES;
    double *mu[2], *sigma[2];
    for (int set = 0; set < 2; set++) {
        struct moments *m = moments_create(d);
        add_set(net, batch, sets[set], n, m);
        mu[set] = xmalloc((size_t)d * sizeof(double));
        sigma[set] = xmalloc((size_t)d * d * sizeof(double));
        moments_finish(m, false, mu[set], sigma[set]);
        moments_free(m);
    }
    struct frechet f = {0};
    frechet_distance(d, mu[0], sigma[0], n, mu[1], sigma[1], n, &f, NULL);
    for (int set = 0; set < 2; set++) {
        free(mu[set]);
        free(sigma[set]);
    }
    return f.distance;
}

/* Pictures a second with the next batch staged while one is computed. */
static double pipelined_rate(struct inception *net, const struct image *pictures, int batch, double seconds) {
    float *features = xmalloc((size_t)batch * INCEPTION_FEATURES * sizeof *features);
    struct inception_out out = {.pool = features};
    for (int i = 0; i < 3; i++) /* planning, choosing of algorithms, capture */
        inception_run(net, pictures, batch, out);
    int64_t done = 0;
    double start = cli_seconds();
    for (inception_stage(net, pictures, batch); cli_seconds() - start < seconds; done += batch) {
        inception_start(net);
        inception_stage(net, pictures, batch);
        inception_finish(net, out);
    }
    double rate = (double)done / (cli_seconds() - start);
    free(features);
    return rate;
}

static struct inception *open_network(const char *weights, struct device *device, int batch, bool half) {
    struct inception *net;
    struct error e;
    if (inception_open(&net, weights, device, &(struct inception_options){.batch = batch, .half = half}, &e) != ST_OK) {
        fprintf(stderr, "bench_inception: %s\n", e.text);
        exit(1);
    }
    return net;
}

static void against_sgemm(struct inception *net, const struct image *pictures, int batch) {
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
    printf("Inception features, pictures/s\t%.1f\t-\n", rate);
    printf("Inception features, %% of the sgemm rate (%.0f GFLOP/s a core)\t%.0f\t>= 60\n", sgemm, 100 * own / sgemm);
    free(features);
}

/* ---- whole programs ---- */

/* Seconds of a shell command with this build's programs first in PATH; its stdout is dropped. Negative: it failed. */
static double shell(const char *command) {
    char *programs = installed_path("bin");
    char *line = xasprintf("PATH='%s':\"$PATH\"; export PATH; { %s ; } >/dev/null", programs, command);
    double start = cli_seconds();
    int status = system(line);
    if (status)
        fprintf(stderr, "bench_inception: status %d of: %s\n", status, command);
    free(line);
    free(programs);
    return status ? -1 : cli_seconds() - start;
}

/* A fresh 128x128 network of cfg auto. */
static bool write_network(const char *path, struct error *e) {
    struct trainer_config c;
    struct device *d;
    if (trainer_preset(&c, "auto", 128, 1, e) != ST_OK || device_open(&d, "cpu", 0, e) != ST_OK)
        return false;
    struct sg2_net *net = sg2_net_create(d, SG2_G, &c.net);
    sg2_net_init(net, 1);
    bool good = checkpoint_write_network(path, net, 0, "{}", e) == ST_OK;
    sg2_net_free(net);
    device_close(d);
    return good;
}

/* n generated pictures scored against a store of a thousand. Once with few before, so that algorithms are chosen and remembered. */
static void stream_row(const char *kind, const char *weights, int n) {
    char folder[] = "/tmp/bench-inception-XXXXXX", network[64] = "examples/faces-128.safetensors";
    struct error e;
    if (!mkdtemp(folder)) {
        perror(folder);
        exit(1);
    }
    if (access(network, R_OK) != 0) {
        snprintf(network, sizeof network, "%s/network.safetensors", folder);
        if (!write_network(network, &e)) {
            fprintf(stderr, "bench_inception: %s\n", e.text);
            exit(1);
        }
    }
    int few = n < 1000 ? n : 1000;
    double seconds = 0, first = 0;
    for (int k = 0; k < 3 && seconds >= 0; k++) {
        first = k == 2 ? seconds : 0;
        char *generate = xasprintf("sg2-gen --quiet --device %s --network '%s' --seeds 0-%d", kind, network, (k == 2 ? n : few) - 1);
        char *command = k == 0 ? xasprintf("%s | pack-lmdb --quiet '%s/store'", generate, folder)
                               : xasprintf("%s | fid-score --quiet --no-cache --device %s --inception '%s' --ref '%s/store' -", generate,
                                           kind, weights, folder);
        seconds = shell(command);
        free(command);
        free(generate);
    }
    if (seconds >= 0) {
        printf("first use: sg2-gen | fid-score of %d pictures, s\t%.1f\t-\n", few, first);
        printf("sg2-gen | fid-score of %d pictures against a store of %d, s\t%.1f\t<= 20\n", n, few, seconds);
    }
    char *remove = xasprintf("rm -rf '%s'", folder);
    if (system(remove))
        fprintf(stderr, "bench_inception: %s is left behind\n", folder);
    free(remove);
}

/* -1: not a number, or less than `least`. */
static int number(const char *text, int least) {
    char *end;
    long n = strtol(text, &end, 10);
    return *text && !*end && n >= least && n <= 10000000 ? (int)n : -1;
}

int main(int argc, char **argv) {
    const char *weights = NULL, *kind = "cpu";
    int batch = 0, n = -1, stream = -1;
    bool profile = false, wrong = false;
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--device") && i + 1 < argc)
            kind = argv[++i];
        else if (!strcmp(argv[i], "--pictures") && i + 1 < argc)
            wrong |= (n = number(argv[++i], 2)) < 0;
        else if (!strcmp(argv[i], "--stream") && i + 1 < argc)
            wrong |= (stream = number(argv[++i], 2)) < 0;
        else if (!strcmp(argv[i], "--profile"))
            profile = true;
        else if (!weights)
            weights = argv[i];
        else
            wrong |= (batch = number(argv[i], 1)) < 0;
    struct device *device;
    struct error e;
    if (wrong) {
        fputs("usage: bench_inception [--device cpu|cuda] [--pictures N] [--stream N] [--profile] [WEIGHTS|- [BATCH]]\n", stderr);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    char made[64] = "";
    if (!weights || !strcmp(weights, "-")) {
        snprintf(made, sizeof made, "/tmp/bench-inception-%ld.safetensors", (long)getpid());
        if (inception_formula_write(made, &e) != ST_OK) {
            fprintf(stderr, "bench_inception: %s\n", e.text);
            return 1;
        }
        weights = made;
    }
    if (device_open(&device, kind, 0, &e) != ST_OK) {
        fprintf(stderr, "bench_inception: %s\n", e.text);
        return 1;
    }
    bool gpu = strcmp(device_name(device), "cpu") != 0;
    batch = batch ? batch : gpu ? 128 : 8;
    n = n >= 0 ? n : gpu ? 4096 : 0;
    stream = stream >= 0 ? stream : gpu ? 50000 : 0;
    struct image *pictures = draw_set(batch, 0), *sets[2] = {draw_set(n, 0), draw_set(n, 1)};
    float *features = xmalloc((size_t)batch * INCEPTION_FEATURES * sizeof *features);
    double fid[2] = {0};
    for (int turn = 0; turn < 2; turn++) {
        bool half = gpu ? !turn : turn; /* float32 comes last on a GPU: choosing its algorithms takes longest */
        const char *name = half ? "float16" : "float32";
        if (half && !gpu && !n)
            break;
        double start = cli_seconds();
        struct inception *net = open_network(weights, device, batch, half);
        inception_run(net, pictures, batch, (struct inception_out){.pool = features}); /* reading waits for it */
        if (gpu) {
            printf("opening in %s and the first batch, s\t%.1f\t-\n", name, cli_seconds() - start);
            printf("Inception features of 128x128 pictures in %s, pictures/s\t%.0f\t>= %d\n", name,
                   pipelined_rate(net, pictures, batch, 3), half ? 10000 : 3500);
        } else if (!half)
            against_sgemm(net, pictures, batch);
        fid[half] = n ? fid_of_sets(net, batch, sets, n) : 0;
        if (profile)
            inception_profile(net, stdout);
        inception_close(net);
        if (turn)
            continue;
        printf("Frechet distance of 2048-dimensional statistics, s\t%.2f\t<= %s\n", frechet_seconds(), gpu ? "0.5" : "4");
        if (stream)
            stream_row(kind, weights, stream);
    }
    if (n)
        printf("FID of %d pictures against %d in float16%s, %% off float32 (%.6g)\t%.4f\t< 0.05\n", n, n, gpu ? "" : " (emulated)",
               fid[0], 100 * (fid[1] - fid[0]) / fid[0]);
    free(features);
    free_set(pictures, batch);
    for (int set = 0; set < 2; set++)
        free_set(sets[set], n);
    device_close(device);
    if (*made)
        unlink(made);
    return 0;
}
