/* bench_cuda.c - the speed of training, generation and projection on one GPU, beside what the GPU can do: copies, products, convolutions.
 *
 *     bench_cuda [--json FILE] [--device cuda|cpu] [--bin DIR] [--pictures N] [ROW ...]     --list names the rows; default all but train-16
 *
 * Rows are printed and written to FILE as they finish, so a run that is cut short keeps what it has; a summary ends it. All of them
 * take about two minutes on an H200 where algorithms are chosen already.
 *
 * Networks are fresh, pictures are noise: the arithmetic does not depend on them. Nothing is left out of a step: style mixing, path
 * length, R1, augmentation at p = 0.2 (bgc), moving average, pictures picked from a table on the device. Ticks, snapshots, decoding and
 * pipes are in the rows that run the programs (of DIR, default ../bin from here). Each row runs on a device of its own, so that peak
 * memory is the row's.
 */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "common/base/installed.h"
#include "common/base/mem.h"
#include "common/rng/philox.h"
#include "common/store/checkpoint.h"
#include "common/stylegan2/generator.h"
#include "common/stylegan2/projector.h"
#include "common/stylegan2/trainer.h"

static const char *device_wanted = "cuda", *json_path;
static char *programs;      /* their folder */
static long to_draw = 50000; /* of the row pipe-128 */
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

static double row_started;

static cJSON *add_row(const char *name) {
    cJSON *row = cJSON_CreateObject();
    cJSON_AddStringToObject(row, "row", name);
    cJSON_AddItemToArray(json, row);
    row_started = now();
    return row;
}

/* The file as a whole after every row. */
static void write_json(void) {
    if (!json_path)
        return;
    char *text = cJSON_Print(json);
    FILE *f = fopen(json_path, "w");
    if (!f || fputs(text, f) < 0 || fclose(f)) {
        perror(json_path);
        exit(1);
    }
    free(text);
}

static void end_row(cJSON *row) {
    cJSON_AddNumberToObject(row, "row_seconds", now() - row_started);
    fflush(stdout);
    write_json();
}

static void failed(cJSON *row, const char *name, const struct error *e) {
    printf("%-24s not run: %s\n", name, e->text);
    cJSON_AddStringToObject(row, "error", e->text);
}

/* What was measured, what it must be and should be: for the summary at the end. less: whether smaller is better. */
static void verdict(cJSON *row, double value, double must, double go_for, bool less, const char *unit) {
    cJSON_AddNumberToObject(row, "value", value);
    cJSON_AddStringToObject(row, "unit", unit);
    if (isnan(must))
        return;
    cJSON_AddNumberToObject(row, "must", must);
    cJSON_AddNumberToObject(row, "go_for", go_for);
    cJSON_AddBoolToObject(row, "met", less ? value <= must : value >= must);
}

static void summary(void) {
    const cJSON *row;
    printf("\n%-24s %12s %12s %12s\n", "row", "measured", "must", "go for");
    cJSON_ArrayForEach(row, json) {
        const cJSON *value = cJSON_GetObjectItem(row, "value"), *must = cJSON_GetObjectItem(row, "must");
        const char *name = cJSON_GetObjectItem(row, "row")->valuestring;
        if (cJSON_GetObjectItem(row, "error"))
            printf("%-24s %12s\n", name, "not run");
        else if (value)
            printf("%-24s %12.4g %12.4g %12.4g %s%s\n", name, value->valuedouble, must ? must->valuedouble : NAN,
                   must ? cJSON_GetObjectItem(row, "go_for")->valuedouble : NAN, cJSON_GetObjectItem(row, "unit")->valuestring,
                   must && !cJSON_IsTrue(cJSON_GetObjectItem(row, "met")) ? "  missed" : "");
    }
}

/* ---- training ---- */

struct training_row {
    const char *name, *cfg;
    int res, batch; /* 0 = the preset's */
    bool fp32, extra; /* extra: only when asked for */
    double must, go_for; /* s/kimg */
};

static const struct training_row trainings[] = {
    {"train-128", "auto", 128, 32, false, false, 0.9, 0.7},
    {"train-128-b64", "auto", 128, 64, false, false, 0.85, 0.65},
    {"train-256", "auto", 256, 16, false, false, 1.6, 1.2},
    {"train-1024-stylegan2", "stylegan2", 1024, 32, false, false, 12, 8},
    {"train-128-fp32", "auto", 128, 32, true, false, 4, 3},
    {"train-16", "auto", 16, 8, false, true, NAN, NAN}, /* 16 channels: to try this on a CPU */
};

/* Iterations on pictures that lie on the device, two batches of them. */
static void steps(struct trainer *t, const struct trainer_config *c, int n) {
    int64_t *numbers = xmalloc((size_t)c->batch * sizeof *numbers);
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < c->batch; k++)
            numbers[k] = (i % 2) * c->batch + k;
        trainer_step_held(t, numbers, NULL, NULL);
    }
    free(numbers);
}

static bool hold_noise(struct trainer *t, const struct trainer_config *c, struct error *e) {
    int64_t bytes = (int64_t)c->net.res * c->net.res * c->net.img_channels;
    uint8_t *noise = xmalloc((size_t)bytes);
    bool held = trainer_hold(t, 2 * c->batch, e) == ST_OK;
    for (int k = 0; held && k < 2 * c->batch; k++) {
        for (int64_t i = 0; i < bytes; i++)
            noise[i] = (uint8_t)((uint64_t)(k * bytes + i + 1) * 0x9e3779b97f4a7c15u >> 56);
        trainer_hold_picture(t, k, noise);
    }
    free(noise);
    return held;
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
    if (r->extra)
        c.net.channel_max = 16, c.net.z_dim = c.net.w_dim = 32;
    c.augment_p = 0.2;
    c.mirror = true;
    c.half = !r->fp32;
    double begun = now();
    if (trainer_create(&t, d, &c, &e) != ST_OK || !hold_noise(t, &c, &e)) {
        failed(row, r->name, &e);
        device_close(d);
        return;
    }
    double created = now() - begun;
    trainer_init(t);
    /* All phases twice, so that all are captured; then whole rounds of 16 iterations, for two seconds at least */
    int round = c.d_reg_interval, rounds = 0;
    steps(t, &c, round + 1);
    device_sync(d);
    double start = now();
    do {
        steps(t, &c, round);
        device_sync(d);
        rounds++;
    } while (now() - start < 2 && rounds < 20);
    double iteration = (now() - start) / (rounds * round), kimg = iteration * 1000 / c.batch, phases = 0, conv = 0, launches = 0;
    struct trainer_stats stats = trainer_read_stats(t);
    printf("%-24s %8.3f s/kimg (must %.2f) %8.1f img/s, iteration %.2f ms, peak %.2f GB, set-up %.1f s, loss G %.3f D %.3f\n", r->name, kimg,
           r->must, c.batch / iteration, iteration * 1e3, (double)device_peak_bytes(d) * 1e-9, created, stats.g_loss, stats.d_loss);
    cJSON_AddNumberToObject(row, "sec_per_kimg", kimg);
    verdict(row, kimg, r->must, r->go_for, true, "s/kimg");
    cJSON_AddNumberToObject(row, "images_per_second", c.batch / iteration);
    cJSON_AddNumberToObject(row, "peak_bytes", (double)device_peak_bytes(d));
    cJSON_AddNumberToObject(row, "create_seconds", created);
    cJSON *list = cJSON_AddObjectToObject(row, "phases");
    for (int p = 0; p < 4; p++) {
        struct trainer_phase x;
        if (!trainer_time_phase(t, p, iteration > 0.1 ? 2 : 8, &x))
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
    cJSON_AddNumberToObject(row, "conv_share", conv / iteration);
    if (getenv("FACEMILL_BENCH_PROFILE"))
        trainer_profile(t, stdout);
    trainer_free(t);
    device_close(d);
    end_row(row);
}

/* ---- generating ---- */

struct generating_row {
    const char *name, *cfg;
    int res, batch;
    double must, go_for; /* img/s */
};

static const struct generating_row generatings[] = {
    {"generate-128-b32", "auto", 128, 32, 12000, 20000},
    {"generate-128-b1", "auto", 128, 1, 1 / 0.7e-3, 1 / 0.4e-3},
    {"generate-1024-b8", "stylegan2", 1024, 8, 900, 1500},
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
    enum { DEVICE, HOST, ALONE, WAYS }; /* z to bytes on the device, to bytes in memory, w+ to bytes on the device */
    double seconds[WAYS];
    for (int way = 0; way < WAYS; way++) {
        int n = 3;
        for (int k = 0; k < 2; k++) { /* the first time around says how many are worth timing */
            device_sync(d);
            double start = now();
            for (int i = 0; i < n; i++)
                if (way == ALONE)
                    program_run(sg2_generator_program(gen));
                else
                    sg2_generate(gen, &l, way == HOST ? pixels : NULL);
            device_sync(d);
            seconds[way] = (now() - start) / n;
            n = (int)(0.5 / seconds[way]) + 1;
        }
    }
    struct program_info i = program_get_info(sg2_generator_program(gen));
    double conv = program_conv_seconds(sg2_generator_program(gen));
    printf("%-24s %8.1f img/s z to bytes on the device (must %.0f), %.3f ms a batch; to memory %.1f img/s; synthesis alone %.1f img/s, "
           "%.3f ms, %d launches, convolutions %.3f ms (%.0f %%); peak %.2f GB\n", r->name, r->batch / seconds[DEVICE], r->must,
           seconds[DEVICE] * 1e3, r->batch / seconds[HOST], r->batch / seconds[ALONE], seconds[ALONE] * 1e3, i.launches, conv * 1e3,
           100 * conv / seconds[DEVICE], (double)device_peak_bytes(d) * 1e-9);
    cJSON_AddNumberToObject(row, "images_per_second", r->batch / seconds[DEVICE]);
    verdict(row, r->batch / seconds[DEVICE], r->must, r->go_for, false, "img/s");
    cJSON_AddNumberToObject(row, "seconds", seconds[DEVICE]);
    cJSON_AddNumberToObject(row, "host_seconds", seconds[HOST]);
    cJSON_AddNumberToObject(row, "synthesis_seconds", seconds[ALONE]);
    cJSON_AddNumberToObject(row, "conv_share", conv / seconds[DEVICE]);
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
    end_row(row);
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
        verdict(row, seconds, r->must, r->must, true, "s");
        cJSON_AddNumberToObject(row, "seconds", seconds);
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
    end_row(row);
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
    end_row(row);
}

/* ---- whole programs ---- */

/* Runs a shell command with the programs' folder first in PATH; what it writes to stdout is read and dropped. Seconds, or -1 and a message
 * when it failed; *bytes: how much was read. */
static double shell(const char *command, int64_t *bytes, struct error *e) {
    static char buffer[1 << 20];
    char *line = xasprintf("PATH='%s':\"$PATH\"; %s", programs, command);
    double started = now();
    FILE *f = popen(line, "r");
    size_t n;
    *bytes = 0;
    while (f && (n = fread(buffer, 1, sizeof buffer, f)) > 0)
        *bytes += (int64_t)n;
    int status = f ? pclose(f) : -1;
    if (status)
        st_fail(e, "status %d of: %s", status, command);
    free(line);
    return status ? -1 : now() - started;
}

/* A fresh 128x128 network of cfg auto as a file, once. NULL when that fails. */
static const char *network_file(const char *folder, struct error *e) {
    static char *path;
    struct trainer_config c;
    struct device *d;
    if (path)
        return path;
    char *at = xasprintf("%s/network.safetensors", folder);
    if (trainer_preset(&c, "auto", 128, 1, e) != ST_OK || device_open(&d, "cpu", 0, e) != ST_OK)
        return NULL;
    struct sg2_net *net = sg2_net_create(d, SG2_G, &c.net);
    sg2_net_init(net, 1);
    if (checkpoint_write_network(at, net, 0, "{}", e) == ST_OK)
        path = at;
    sg2_net_free(net);
    device_close(d);
    return path;
}

static void pipe_row(const char *folder) {
    struct error e;
    int64_t bytes;
    cJSON *row = add_row("pipe-128");
    const char *network = network_file(folder, &e);
    double seconds = -1;
    for (int k = 0; network && k < 2; k++) { /* a few first: algorithms are chosen and remembered */
        char *command = xasprintf("sg2-gen --quiet --device %s --network '%s' --seeds 0-%ld", device_wanted, network, k ? to_draw - 1 : 63);
        seconds = shell(command, &bytes, &e);
        free(command);
        if (seconds < 0)
            break;
    }
    if (seconds >= 0 && bytes < to_draw * 128 * 128 * 3)
        seconds = -1, st_fail(&e, "sg2-gen wrote %lld bytes", (long long)bytes);
    if (seconds < 0) {
        failed(row, "pipe-128", &e);
        end_row(row);
        return;
    }
    printf("%-24s %8.1f img/s, whole program, %ld pictures in %.2f s, %.2f GB/s (must 5000)\n", "pipe-128", (double)to_draw / seconds,
           to_draw, seconds, (double)bytes / seconds * 1e-9);
    verdict(row, (double)to_draw / seconds, 5000, 10000, false, "img/s");
    cJSON_AddNumberToObject(row, "pictures", (double)to_draw);
    cJSON_AddNumberToObject(row, "seconds", seconds);
    end_row(row);
}

/* A number of the n-th line of a run's stats.jsonl; NAN when there is none. */
static double stat_of(const char *path, int line, const char *name) {
    char text[8192], *key = xasprintf("\"%s\":", name), *at = NULL;
    FILE *f = fopen(path, "r");
    for (int i = 0; f && i < line; i++)
        if (!fgets(text, sizeof text, f))
            text[0] = 0;
    if (f)
        at = strstr(text, key);
    double x = f && at ? strtod(at + strlen(key), NULL) : NAN;
    if (f)
        fclose(f);
    free(key);
    return x;
}

/* Seconds from starting a command to the first line in a file that it then writes; the command is ended by a signal. */
static double first_line(const char *command, const char *file, struct error *e) {
    char *line = xasprintf("PATH='%s':\"$PATH\"; exec %s", programs, command);
    double started = now(), seconds = -1;
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", line, (char *)NULL);
        _exit(127);
    }
    bool ended = pid < 0;
    while (!ended && seconds < 0) {
        usleep(5000);
        if (isfinite(stat_of(file, 1, "Progress/tick")))
            seconds = now() - started;
        else
            ended = waitpid(pid, &status, WNOHANG) == pid;
    }
    if (!ended) {
        kill(pid, SIGTERM);
        waitpid(pid, &status, 0);
    }
    if (seconds < 0)
        st_fail(e, "status %d before the first tick of: %s", status, command);
    free(line);
    return seconds;
}

/* From the start of sg2-train to its first tick, algorithms remembered; and what the whole program then needs for a thousand pictures. */
static void start_row(const char *folder) {
    struct error e;
    int64_t bytes;
    cJSON *row = add_row("start-128");
    const char *network = network_file(folder, &e);
    double seconds = -1, tick = NAN;
    char *stats = xasprintf("%s/run/stats.jsonl", folder);
    char *pack = xasprintf("sg2-gen --quiet --device %s --network '%s' --seeds 0-%d | pack-lmdb --quiet '%s/store'", device_wanted,
                           network ? network : "", to_draw < 1000 ? (int)to_draw - 1 : 999, folder);
    char *train = xasprintf("sg2-train --quiet --device %s --data '%s/store' --out '%s/run' --mirror --kimg 12 --tick 4 --snap 0 --keep 1",
                            device_wanted, folder, folder);
    char *remove = xasprintf("rm -r '%s/run'", folder);
    if (network && shell(pack, &bytes, &e) >= 0 && shell(train, &bytes, &e) >= 0) {
        tick = stat_of(stats, 3, "Timing/sec_per_kimg");
        if (shell(remove, &bytes, &e) >= 0)
            seconds = first_line(train, stats, &e);
    }
    if (seconds >= 0) {
        double training = stat_of(stats, 1, "Timing/sec_per_tick");
        printf("%-24s %8.2f s to the first tick (must 10), %.2f of them its 4 kimg; the whole program needs %.3f s/kimg\n", "start-128", seconds,
               training, tick);
        verdict(row, seconds, 10, 4, true, "s");
        cJSON_AddNumberToObject(row, "first_tick_training_seconds", training);
        cJSON_AddNumberToObject(row, "program_sec_per_kimg", tick);
    } else
        failed(row, "start-128", &e);
    end_row(row);
    free(stats);
    free(pack);
    free(train);
    free(remove);
}

/* ---- main ---- */

static bool wanted(const char *name, bool by_default, int n, char **names) {
    for (int i = 0; i < n; i++)
        if (!strcmp(names[i], name))
            return true;
    return n == 0 && by_default;
}

static void add_all(int n, char **names) {
    char folder[] = "/tmp/bench_cuda-XXXXXX";
    if (wanted("ceilings", true, n, names))
        ceilings();
    for (size_t i = 0; i < sizeof trainings / sizeof *trainings; i++)
        if (wanted(trainings[i].name, !trainings[i].extra, n, names))
            train(&trainings[i]);
    for (size_t i = 0; i < sizeof generatings / sizeof *generatings; i++)
        if (wanted(generatings[i].name, true, n, names))
            generate(&generatings[i]);
    for (size_t i = 0; i < sizeof projectings / sizeof *projectings; i++)
        if (wanted(projectings[i].name, true, n, names))
            project(&projectings[i]);
    bool pipe_wanted = wanted("pipe-128", true, n, names), start = wanted("start-128", true, n, names);
    if (!pipe_wanted && !start)
        return;
    if (!mkdtemp(folder)) {
        perror(folder);
        exit(1);
    }
    if (pipe_wanted)
        pipe_row(folder);
    if (start)
        start_row(folder);
    char *remove = xasprintf("rm -rf '%s'", folder);
    if (system(remove))
        fprintf(stderr, "bench_cuda: %s is left behind\n", folder);
    free(remove);
}

static int list(void) {
    puts("ceilings");
    for (size_t i = 0; i < sizeof trainings / sizeof *trainings; i++)
        puts(trainings[i].name);
    for (size_t i = 0; i < sizeof generatings / sizeof *generatings; i++)
        puts(generatings[i].name);
    for (size_t i = 0; i < sizeof projectings / sizeof *projectings; i++)
        puts(projectings[i].name);
    puts("pipe-128\nstart-128");
    return 0;
}

int main(int argc, char **argv) {
    char **names = xcalloc((size_t)argc, sizeof *names);
    int n = 0;
    programs = installed_path("bin");
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--list"))
            return list();
        if (!strcmp(argv[i], "--json") && i + 1 < argc)
            json_path = argv[++i];
        else if (!strcmp(argv[i], "--device") && i + 1 < argc)
            device_wanted = argv[++i];
        else if (!strcmp(argv[i], "--bin") && i + 1 < argc) {
            free(programs);
            programs = xstrdup(argv[++i]);
        } else if (!strcmp(argv[i], "--pictures") && i + 1 < argc)
            to_draw = atol(argv[++i]);
        else
            names[n++] = argv[i];
    }
    if (to_draw < 1)
        to_draw = 1;
    double started = now();
    struct device *d = open_device();
    printf("%s: %s\n", device_name(d), device_description(d));
    json = cJSON_CreateArray();
    cJSON_AddStringToObject(add_row("device"), "description", device_description(d));
    device_close(d);
    fflush(stdout);
    add_all(n, names);
    write_json();
    summary();
    printf("%.0f s in all\n", now() - started);
    cJSON_Delete(json);
    free(programs);
    free(names);
    return 0;
}
