/* bench_cuda.c - the speed of training, generation and projection on one GPU, beside what the GPU can do: copies, products, convolutions.
 *
 *     bench_cuda [--json FILE] [--device cuda|cpu] [ROW ...]      rows: see `rows` below; without any all but the slow ones
 *
 * Networks are fresh, pictures are noise: the arithmetic does not depend on them. Nothing is left out of a step: style mixing, path
 * length, R1, augmentation at p = 0.2 (bgc), moving average, uploads. Reading pictures from a store, ticks and snapshots belong to
 * the program and are measured there. Each row runs on a device of its own, so that peak memory is the row's.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cjson/cJSON.h>

#include "common/base/mem.h"
#include "common/rng/philox.h"
#include "common/stylegan2/generator.h"
#include "common/stylegan2/projector.h"
#include "common/stylegan2/trainer.h"

static const char *device_wanted = "cuda";
static cJSON *json;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static struct device *open_device(void) {
    struct device *d;
    struct error e;
    if (device_open(&d, device_wanted, 0, &e) != ST_OK) {
        fprintf(stderr, "bench_cuda: %s\n", e.text);
        exit(1);
    }
    return d;
}

static cJSON *add_row(const char *name) {
    cJSON *row = cJSON_CreateObject();
    cJSON_AddStringToObject(row, "row", name);
    cJSON_AddItemToArray(json, row);
    fflush(stdout);
    return row;
}

static void failed(cJSON *row, const char *name, const struct error *e) {
    printf("%-24s not run: %s\n", name, e->text);
    cJSON_AddStringToObject(row, "error", e->text);
}

/* ---- training ---- */

struct training_row {
    const char *name, *cfg;
    int res, batch; /* 0 = the preset's */
    bool fp32, slow;
    double must;    /* s/kimg */
};

static const struct training_row trainings[] = {
    {"train-128", "auto", 128, 32, false, false, 0.9},
    {"train-128-b64", "auto", 128, 64, false, false, 0.85},
    {"train-256", "auto", 256, 16, false, false, 1.6},
    {"train-1024-stylegan2", "stylegan2", 1024, 32, false, true, 12},
    {"train-128-fp32", "auto", 128, 32, true, false, 4},
    {"train-32", "auto", 32, 32, false, true, NAN}, /* small enough for a CPU */
};

static void steps(struct trainer *t, const struct trainer_config *c, int n, const uint8_t *reals) {
    int64_t bytes = (int64_t)c->batch * c->net.res * c->net.res * c->net.img_channels;
    for (int i = 0; i < n; i++)
        trainer_step(t, reals + i % 2 * bytes, NULL, NULL);
}

static void train(const struct training_row *r) {
    struct trainer_config c;
    struct trainer *t;
    struct error e;
    cJSON *row = add_row(r->name);
    struct device *d = open_device();
    if (trainer_preset(&c, r->cfg, r->res, 1, &e) != ST_OK) {
        failed(row, r->name, &e);
        device_close(d);
        return;
    }
    if (r->batch) {
        c.batch = r->batch;
        c.r1_gamma = 0.0002 * r->res * r->res / r->batch;
    }
    c.augment_p = 0.2;
    c.mirror = true;
    c.half = !r->fp32;
    double begun = now();
    if (trainer_create(&t, d, &c, &e) != ST_OK) {
        failed(row, r->name, &e);
        device_close(d);
        return;
    }
    double created = now() - begun;
    trainer_init(t);
    int64_t bytes = (int64_t)c.batch * c.net.res * c.net.res * c.net.img_channels;
    uint8_t *reals = xmalloc((size_t)(2 * bytes));
    for (int64_t i = 0; i < 2 * bytes; i++)
        reals[i] = (uint8_t)((uint64_t)(i + 1) * 0x9e3779b97f4a7c15u >> 56);
    /* All phases twice, so that all are captured, and then whole rounds of 16 iterations */
    int round = c.d_reg_interval, rounds = r->slow ? 1 : 3;
    steps(t, &c, round + 1, reals);
    device_sync(d);
    double start = now();
    steps(t, &c, rounds * round, reals);
    device_sync(d);
    double iteration = (now() - start) / (rounds * round), kimg = iteration * 1000 / c.batch, phases = 0, conv = 0, launches = 0;
    struct trainer_stats stats = trainer_read_stats(t);
    printf("%-24s %8.3f s/kimg (must %.2f) %8.1f img/s, iteration %.2f ms, peak %.2f GB, set-up %.1f s, loss G %.3f D %.3f\n", r->name, kimg,
           r->must, c.batch / iteration, iteration * 1e3, (double)device_peak_bytes(d) * 1e-9, created, stats.g_loss, stats.d_loss);
    cJSON_AddNumberToObject(row, "sec_per_kimg", kimg);
    cJSON_AddNumberToObject(row, "must", r->must);
    cJSON_AddNumberToObject(row, "images_per_second", c.batch / iteration);
    cJSON_AddNumberToObject(row, "peak_bytes", (double)device_peak_bytes(d));
    cJSON_AddNumberToObject(row, "create_seconds", created);
    cJSON *list = cJSON_AddObjectToObject(row, "phases");
    for (int p = 0; p < 4; p++) {
        struct trainer_phase x;
        if (!trainer_time_phase(t, p, r->slow ? 2 : 8, &x))
            continue;
        printf("    %-8s every %2d %9.3f ms %8.4f s/kimg %5d launches, convolutions %8.3f ms (%.0f TFLOP/s in all)\n", x.name, x.every,
               x.seconds * 1e3, x.seconds / x.every * 1000 / c.batch, x.launches, x.conv_seconds * 1e3, x.flops / x.seconds * 1e-12);
        cJSON *one = cJSON_AddObjectToObject(list, x.name);
        cJSON_AddNumberToObject(one, "every", x.every);
        cJSON_AddNumberToObject(one, "seconds", x.seconds);
        cJSON_AddNumberToObject(one, "sec_per_kimg", x.seconds / x.every * 1000 / c.batch);
        cJSON_AddNumberToObject(one, "launches", x.launches);
        cJSON_AddNumberToObject(one, "conv_seconds", x.conv_seconds);
        cJSON_AddNumberToObject(one, "flops", x.flops);
        phases += x.seconds / x.every;
        conv += x.conv_seconds / x.every;
        launches += (double)x.launches / x.every;
    }
    printf("    phases %.2f ms of the iteration's %.2f, convolutions alone %.2f (%.0f %%), %.0f launches an iteration\n", phases * 1e3,
           iteration * 1e3, conv * 1e3, 100 * conv / iteration, launches);
    cJSON_AddNumberToObject(row, "launches_per_iteration", launches);
    cJSON_AddNumberToObject(row, "conv_sec_per_kimg", conv * 1000 / c.batch);
    if (getenv("FACEMILL_BENCH_PROFILE"))
        trainer_profile(t, stdout);
    trainer_free(t);
    free(reals);
    device_close(d);
}

/* ---- generating ---- */

struct generating_row {
    const char *name, *cfg;
    int res, batch;
    double must; /* img/s */
};

static const struct generating_row generatings[] = {
    {"generate-128-b32", "auto", 128, 32, 12000},
    {"generate-128-b1", "auto", 128, 1, 1 / 0.7e-3},
    {"generate-1024-b8", "stylegan2", 1024, 8, 900},
};

static void generate(const struct generating_row *r) {
    struct trainer_config c;
    struct error e;
    cJSON *row = add_row(r->name);
    struct device *d = open_device();
    if (trainer_preset(&c, r->cfg, r->res, 1, &e) != ST_OK) {
        failed(row, r->name, &e);
        device_close(d);
        return;
    }
    struct sg2_net *net = sg2_net_create(d, SG2_G, &c.net);
    struct sg2_generator *gen;
    const struct sg2_generator_opt o = {.batch = r->batch, .noise = SG2_NOISE_CONST, .psi = 0.7f, .cutoff = -1, .half = true};
    sg2_net_init(net, 1);
    if (sg2_generator_create(&gen, d, net, &o, &e) != ST_OK) {
        failed(row, r->name, &e);
        sg2_net_free(net);
        device_close(d);
        return;
    }
    float *z = xmalloc((size_t)(r->batch * c.net.z_dim) * sizeof *z);
    uint8_t *pixels = xmalloc((size_t)r->batch * (size_t)(r->res * r->res * 3));
    philox_fill_normal(1, 0, 0, z, (int64_t)r->batch * c.net.z_dim);
    const struct sg2_latents l = {.n = r->batch, .z = z};
    double seconds[2];
    for (int alone = 0; alone < 2; alone++) {
        int n = 3;
        for (int k = 0; k < 2; k++) { /* the first time around says how many are worth timing */
            device_sync(d);
            double start = now();
            for (int i = 0; i < n; i++)
                if (alone)
                    program_run(sg2_generator_program(gen));
                else
                    sg2_generate(gen, &l, pixels);
            device_sync(d);
            seconds[alone] = (now() - start) / n;
            n = (int)(0.5 / seconds[alone]) + 1;
        }
    }
    struct program_info i = program_get_info(sg2_generator_program(gen));
    double conv = program_conv_seconds(sg2_generator_program(gen));
    printf("%-24s %8.1f img/s z to pixels in memory (must %.0f), %.3f ms a batch; synthesis alone %.1f img/s, %.3f ms, %d launches, "
           "convolutions %.3f ms; peak %.2f GB\n", r->name, r->batch / seconds[0], r->must, seconds[0] * 1e3, r->batch / seconds[1],
           seconds[1] * 1e3, i.launches, conv * 1e3, (double)device_peak_bytes(d) * 1e-9);
    cJSON_AddNumberToObject(row, "images_per_second", r->batch / seconds[0]);
    cJSON_AddNumberToObject(row, "must", r->must);
    cJSON_AddNumberToObject(row, "seconds", seconds[0]);
    cJSON_AddNumberToObject(row, "synthesis_seconds", seconds[1]);
    cJSON_AddNumberToObject(row, "conv_seconds", conv);
    cJSON_AddNumberToObject(row, "launches", i.launches);
    cJSON_AddNumberToObject(row, "peak_bytes", (double)device_peak_bytes(d));
    if (getenv("FACEMILL_BENCH_PROFILE"))
        program_profile(sg2_generator_program(gen), stdout);
    free(z);
    free(pixels);
    sg2_generator_free(gen);
    sg2_net_free(net);
    device_close(d);
}

/* ---- projecting ---- */

struct projecting_row {
    const char *name;
    int batch;
    bool judged, noise; /* by a discriminator's features; noise maps sought */
    double must;        /* seconds for 1,000 steps */
};

static const struct projecting_row projectings[] = {
    {"project-128", 1, false, false, 6}, {"project-128-all", 1, true, true, 6}, {"project-128-b8", 8, false, false, NAN}};

static void project(const struct projecting_row *r) {
    struct trainer_config t;
    struct error e;
    struct projector *p;
    cJSON *row = add_row(r->name);
    struct device *d = open_device();
    if (trainer_preset(&t, "auto", 128, 1, &e) != ST_OK) {
        failed(row, r->name, &e);
        device_close(d);
        return;
    }
    struct sg2_net *g = sg2_net_create(d, SG2_G, &t.net), *judge = sg2_net_create(d, SG2_D, &t.net);
    sg2_net_init(g, 1);
    sg2_net_init(judge, 1);
    struct projector_config c = projector_defaults(PROJECT_W_PLUS);
    c.batch = r->batch;
    c.steps = 1000;
    c.half = true;
    c.optimise_noise = r->noise;
    c.discriminator = r->judged ? judge : NULL;
    double begun = now();
    if (projector_create(&p, d, g, &c, &e) != ST_OK) {
        failed(row, r->name, &e);
    } else {
        double created = now() - begun, seconds = 0;
        int64_t bytes = (int64_t)r->batch * 128 * 128 * 3;
        uint8_t *pictures = xmalloc((size_t)bytes);
        for (int64_t i = 0; i < bytes; i++)
            pictures[i] = (uint8_t)((uint64_t)(i / 3 + 1) * 0x9e3779b97f4a7c15u >> 56);
        for (int k = 0; k < 2; k++) { /* the first search also loads and captures */
            device_sync(d);
            double start = now();
            projector_begin(p, pictures, r->batch);
            while (projector_step(p))
                ;
            device_sync(d);
            seconds = now() - start;
        }
        struct program_info i = program_get_info(projector_program(p));
        double conv = program_conv_seconds(projector_program(p));
        printf("%-24s %8.2f s for 1000 steps (must %.0f), %.3f ms a step, %d launches, convolutions %.3f ms; set-up %.1f s, peak %.2f GB\n",
               r->name, seconds, r->must, seconds, i.launches, conv * 1e3, created, (double)device_peak_bytes(d) * 1e-9);
        cJSON_AddNumberToObject(row, "seconds", seconds);
        cJSON_AddNumberToObject(row, "must", r->must);
        cJSON_AddNumberToObject(row, "conv_seconds", conv);
        cJSON_AddNumberToObject(row, "launches", i.launches);
        cJSON_AddNumberToObject(row, "peak_bytes", (double)device_peak_bytes(d));
        if (getenv("FACEMILL_BENCH_PROFILE"))
            program_profile(projector_program(p), stdout);
        free(pictures);
        projector_free(p);
    }
    sg2_net_free(g);
    sg2_net_free(judge);
    device_close(d);
}

/* ---- what the device can do ---- */

/* Pseudorandom bfloat16 of size about 1: zeros would flatter. */
static struct buffer *noise16(struct device *d, int64_t n) {
    struct buffer *b = buffer_create(d, 2 * n, "noise");
    uint16_t *x = xmalloc((size_t)n * 2);
    for (int64_t i = 0; i < n; i++) {
        uint64_t h = (uint64_t)(i + 1) * 0x9e3779b97f4a7c15u;
        x[i] = (uint16_t)((h >> 63) << 15 | 0x3f00 | (h >> 40 & 0xff));
    }
    buffer_write(b, 0, x, 2 * n);
    free(x);
    return b;
}

/* Seconds of a run of the graph, which is freed. */
static double time_graph(struct device *d, struct graph *g) {
    struct program *p;
    struct error e;
    if (program_create(&p, g, d, &e) != ST_OK) {
        fprintf(stderr, "bench_cuda: %s\n", e.text);
        exit(1);
    }
    graph_free(g);
    for (int i = 0; i < 3; i++)
        program_run(p);
    device_sync(d);
    double start = now();
    for (int i = 0; i < 20; i++)
        program_run(p);
    device_sync(d);
    double seconds = (now() - start) / 20;
    program_free(p);
    return seconds;
}

static void ceilings(void) {
    cJSON *row = add_row("ceilings");
    struct device *d = open_device();
    const int64_t bytes = 1 << 30;
    struct buffer *a = buffer_create(d, bytes, "a"), *b = buffer_create(d, bytes, "b");
    for (int k = 0; k < 2; k++) {
        device_sync(d);
        double start = now();
        for (int i = 0; i < 20; i++)
            buffer_copy(a, 0, b, 0, bytes);
        device_sync(d);
        double rate = 20 * 2 * (double)bytes / (now() - start);
        if (k) {
            printf("%-24s %8.2f TB/s read + written\n", "copy", rate * 1e-12);
            cJSON_AddNumberToObject(row, "copy_bytes_per_second", rate);
        }
    }
    buffer_free(a);
    buffer_free(b);
    const int n = 8192;
    a = noise16(d, (int64_t)n * n), b = noise16(d, (int64_t)n * n);
    struct buffer *y = buffer_create(d, 2 * (int64_t)n * n, "y");
    struct graph *g = graph_create("matmul");
    assign(g, graph_input(g, y, 0, DT_BF16, "y", 2, n, n),
           matmul(g, graph_input(g, a, 0, DT_BF16, "a", 2, n, n), false, graph_input(g, b, 0, DT_BF16, "b", 2, n, n), true));
    double rate = 2.0 * n * n * n / time_graph(d, g);
    printf("%-24s %8.0f TFLOP/s, bfloat16 8192^3\n", "matmul", rate * 1e-12);
    cJSON_AddNumberToObject(row, "matmul_flops_per_second", rate);
    buffer_free(a);
    buffer_free(b);
    buffer_free(y);
    for (int res = 16; res <= 128; res *= 2) {
        int C = res <= 32 ? 512 : 16384 / res, N = 32;
        int64_t pixels = (int64_t)N * res * res * C;
        a = noise16(d, pixels), b = noise16(d, (int64_t)C * 9 * C), y = buffer_create(d, 2 * pixels, "y");
        struct buffer *dw = buffer_create(d, 4 * (int64_t)C * 9 * C, "dw");
        const char *names[3] = {"conv2d", "conv2d_input_grad", "conv2d_weight_grad"};
        for (int k = 0; k < 3; k++) {
            g = graph_create("conv");
            tensor *x = graph_input(g, a, 0, DT_BF16, "x", 4, N, res, res, C), *w = graph_input(g, b, 0, DT_BF16, "w", 4, C, 3, 3, C);
            tensor *out = graph_input(g, y, 0, DT_BF16, "y", 4, N, res, res, C);
            if (k == 0)
                assign(g, out, conv2d(g, x, w, 1, 1, 1));
            else if (k == 1)
                assign(g, out, conv2d_input_grad(g, x, w, 1, 1, 1, res, res));
            else
                assign(g, graph_input(g, dw, 0, DT_F32, "dw", 4, C, 3, 3, C), conv2d_weight_grad(g, x, x, 1, 1, 1, 3, 3));
            char name[64];
            snprintf(name, sizeof name, "%s %d^2 %d", names[k], res, C);
            rate = 2.0 * (double)pixels * 9 * C / time_graph(d, g);
            printf("%-24s %8.0f TFLOP/s, bfloat16 3x3, batch 32\n", name, rate * 1e-12);
            cJSON_AddNumberToObject(row, name, rate);
        }
        buffer_free(a);
        buffer_free(b);
        buffer_free(y);
        buffer_free(dw);
    }
    device_close(d);
}

/* ---- main ---- */

static bool wanted(const char *name, bool by_default, int n, char **names) {
    for (int i = 0; i < n; i++)
        if (!strcmp(names[i], name))
            return true;
    return n == 0 && by_default;
}

int main(int argc, char **argv) {
    const char *json_path = NULL;
    char **names = xcalloc((size_t)argc, sizeof *names);
    int n = 0;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--json") && i + 1 < argc)
            json_path = argv[++i];
        else if (!strcmp(argv[i], "--device") && i + 1 < argc)
            device_wanted = argv[++i];
        else
            names[n++] = argv[i];
    }
    struct device *d = open_device();
    printf("%s: %s\n", device_name(d), device_description(d));
    json = cJSON_CreateArray();
    cJSON_AddStringToObject(add_row("device"), "description", device_description(d));
    device_close(d);
    if (wanted("ceilings", true, n, names))
        ceilings();
    for (size_t i = 0; i < sizeof trainings / sizeof *trainings; i++)
        if (wanted(trainings[i].name, !trainings[i].slow, n, names))
            train(&trainings[i]);
    for (size_t i = 0; i < sizeof generatings / sizeof *generatings; i++)
        if (wanted(generatings[i].name, true, n, names))
            generate(&generatings[i]);
    for (size_t i = 0; i < sizeof projectings / sizeof *projectings; i++)
        if (wanted(projectings[i].name, true, n, names))
            project(&projectings[i]);
    if (json_path) {
        char *text = cJSON_Print(json);
        FILE *f = fopen(json_path, "w");
        if (!f || fputs(text, f) < 0 || fclose(f)) {
            perror(json_path);
            return 1;
        }
        free(text);
    }
    cJSON_Delete(json);
    free(names);
    return 0;
}
