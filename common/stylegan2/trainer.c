/* trainer.c - the training state and its step. The programs are built in trainer_graphs.c.
 *
 * A step writes one small control buffer (RNG key, Adam's factors, mixing masks, labels), the pixels and the augmentation draws,
 * then queues two to four programs and the moving average.
 */
#include "common/stylegan2/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/mem.h"
#include "common/rng/philox.h"
#include "common/stylegan2/trainer_internal.h"

/* ---- set-up ---- */

static int64_t place(struct control *at, int64_t bytes) {
    int64_t start = at->bytes;
    at->bytes += (bytes + 255) / 256 * 256;
    return start;
}

static void lay_out(struct trainer *t) {
    struct control *at = &t->at;
    int64_t label_bytes = (int64_t)t->c.batch * t->c.net.c_dim * 4;
    at->key = place(at, 16);
    at->ema = place(at, 4);
    at->draw = place(at, 4);
    for (int i = 0; i < PHASES; i++) {
        at->hyper[i] = place(at, 24);
        at->hyper_rest[i] = place(at, 24);
        at->mix[i] = place(at, (int64_t)t->c.batch * sg2_num_ws(&t->c.net) * 4);
        at->labels[i] = place(at, label_bytes);
    }
    at->labels_real = place(at, label_bytes);
    at->pick = place(at, (int64_t)t->c.batch * 8);
    t->host = xcalloc(1, (size_t)at->bytes);
    t->control = buffer_create(t->device, at->bytes, "control");
}

/* Adam for both phases of a network: with a regulariser every i iterations, lr and betas as if the step were spread over i + 1. */
static void optimised_create(struct optimised *n, struct device *d, enum sg2_kind kind, const struct trainer_config *c) {
    int interval = kind == SG2_G ? c->g_reg_interval : c->d_reg_interval;
    double ratio = interval > 0 ? interval / (interval + 1.0) : 1;
    n->net = sg2_net_create(d, kind, &c->net);
    n->grad = buffer_create(d, n->net->n_params * 4, "grad");
    n->m = buffer_create(d, n->net->n_params * 4, "m");
    n->v = buffer_create(d, n->net->n_params * 4, "v");
    n->lr = (kind == SG2_G ? c->g_lr : c->d_lr) * ratio;
    n->beta1 = pow(c->beta1, ratio);
    n->beta2 = pow(c->beta2, ratio);
    n->first = kind == SG2_D ? trainer_frozen_tensors(n->net, c->freeze_d) : 0;
}

static void optimised_free(struct optimised *n) {
    sg2_net_free(n->net);
    buffer_free(n->grad);
    buffer_free(n->m);
    buffer_free(n->v);
}

static bool any_augment(const struct augment_config *a) {
    static const struct augment_config none;
    return memcmp(a, &none, sizeof none) != 0;
}

static void augments_create(struct trainer *t) {
    const struct trainer_config *c = &t->c;
    if (!any_augment(&c->augment) || (c->augment_p == 0 && c->ada_target == 0))
        return;
    struct augment **all[] = {&t->augment_fake[GMAIN], &t->augment_fake[DMAIN], &t->augment_real[DMAIN], &t->augment_real[DR1]};
    for (int i = 0; i < 4; i++)
        *all[i] = augment_create(t->device, &c->augment, c->batch, c->net.res, c->net.img_channels);
}

enum status trainer_create(struct trainer **out, struct device *d, const struct trainer_config *c, struct error *e) {
    enum status st = trainer_config_check(c, e);
    *out = NULL;
    if (st)
        return st;
    struct trainer *t = xcalloc(1, sizeof *t);
    int64_t pixels = (int64_t)c->net.res * c->net.res * c->net.img_channels;
    t->c = *c;
    t->device = d;
    t->half = c->half && strcmp(device_name(d), "cpu") != 0;
    t->augment_p = c->augment_p;
    t->r_t = NAN;
    lay_out(t);
    optimised_create(&t->g, d, SG2_G, c);
    optimised_create(&t->d, d, SG2_D, c);
    t->g_ema = sg2_net_create(d, SG2_G, &c->net);
    t->reals = buffer_create(d, c->batch * pixels, "reals");
    t->host_reals = xcalloc((size_t)(c->batch * pixels), 1);
    for (int i = 0; i < PHASES; i++)
        t->z[i] = buffer_create(d, (int64_t)c->batch * c->net.z_dim * 4, "given z");
    t->pl_noise = buffer_create(d, trainer_pl_batch(c) * pixels * 4, "given path noise");
    t->host_pl_noise = xcalloc((size_t)(trainer_pl_batch(c) * pixels), 4);
    t->pl_mean = buffer_create(d, 4, "pl_mean");
    t->stats = buffer_create(d, 4 * S_COUNT, "stats");
    if (c->net.c_dim) {
        t->label_counts = xcalloc((size_t)c->net.c_dim, sizeof *t->label_counts);
        t->label_cdf = xcalloc((size_t)c->net.c_dim, sizeof *t->label_cdf);
        trainer_update_label_cdf(t);
    }
    augments_create(t);
    trainer_items_create(t);
    if ((st = trainer_build(t, e))) {
        trainer_free(t);
        return st;
    }
    *out = t;
    return ST_OK;
}

void trainer_free(struct trainer *t) {
    if (!t)
        return;
    for (int i = 0; i < PHASES; i++) {
        program_free(t->program[i]);
        augment_free(t->augment_fake[i]);
        augment_free(t->augment_real[i]);
        buffer_free(t->z[i]);
    }
    program_free(t->ema);
    program_free(t->pick);
    trainer_items_free(t);
    optimised_free(&t->g);
    optimised_free(&t->d);
    sg2_net_free(t->g_ema);
    buffer_free(t->control);
    buffer_free(t->reals);
    buffer_free(t->held);
    buffer_free(t->pl_noise);
    buffer_free(t->pl_mean);
    buffer_free(t->stats);
    free(t->host);
    free(t->host_reals);
    free(t->host_pl_noise);
    free(t->label_counts);
    free(t->label_cdf);
    free(t);
}

void trainer_init(struct trainer *t) {
    sg2_net_init(t->g.net, t->c.seed);
    sg2_net_init(t->d.net, t->c.seed);
    sg2_net_copy(t->g_ema, t->g.net);
}

struct sg2_net *trainer_g(struct trainer *t) { return t->g.net; }
struct sg2_net *trainer_d(struct trainer *t) { return t->d.net; }
struct sg2_net *trainer_g_ema(struct trainer *t) { return t->g_ema; }
int64_t trainer_images(const struct trainer *t) { return t->images; }
int64_t trainer_iterations(const struct trainer *t) { return t->iterations; }

/* ---- labels ---- */

void trainer_update_label_cdf(struct trainer *t) {
    double sum = 0, total = 0;
    int n = t->c.net.c_dim;
    for (int i = 0; i < n; i++)
        total += (double)t->label_counts[i];
    for (int i = 0; i < n; i++)
        t->label_cdf[i] = total > 0 ? (sum += (double)t->label_counts[i]) / total : (i + 1.0) / n;
}

void trainer_set_label_counts(struct trainer *t, const int64_t *counts) {
    if (!t->c.net.c_dim)
        return;
    memcpy(t->label_counts, counts, (size_t)t->c.net.c_dim * sizeof *counts);
    trainer_update_label_cdf(t);
}

static int draw_label(const struct trainer *t, uint64_t index, uint32_t use) {
    float u;
    philox_fill_uniform(t->c.seed, index, use, &u, 1);
    int low = 0, high = t->c.net.c_dim - 1;
    while (low < high) { /* the first class whose cumulative share exceeds u */
        int middle = (low + high) / 2;
        if (t->label_cdf[middle] > u)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* ---- what a step sends to the device ---- */

static void *host(struct trainer *t, int64_t at) { return t->host + at; }

static bool due(const struct trainer *t, int phase) {
    int interval = phase == GPL ? t->c.g_reg_interval : phase == DR1 ? t->c.d_reg_interval : 1;
    return t->program[phase] && t->iterations % interval == 0;
}

static void put_hyper(struct trainer *t, int64_t at, const struct optimised *n, int64_t steps) {
    const float hyper[6] = {(float)n->lr, (float)n->beta1, (float)n->beta2, (float)t->c.eps,
                            (float)(1 - pow(n->beta1, (double)steps)), (float)(1 - pow(n->beta2, (double)steps))};
    memcpy(host(t, at), hyper, sizeof hyper);
}

static void write_hyper(struct trainer *t, int phase) {
    struct optimised *n = phase == GMAIN || phase == GPL ? &t->g : &t->d;
    put_hyper(t, t->at.hyper[phase], n, ++n->steps);
    if (phase == GMAIN || phase == DMAIN)
        put_hyper(t, t->at.hyper_rest[phase], n, ++n->main_steps);
}

/* With probability style_mixing an image takes its layers from a random one on from a second latent. */
static void write_mix(struct trainer *t, int phase) {
    int num_ws = sg2_num_ws(&t->c.net);
    float *mask = host(t, t->at.mix[phase]);
    for (int n = 0; n < t->c.batch; n++) {
        float u[2];
        philox_fill_uniform(t->c.seed, (uint64_t)(t->images + n), USE_MIX_CUT + (uint32_t)phase, u, 2);
        int cut = u[0] < t->c.style_mixing ? 1 + (int)(u[1] * (float)(num_ws - 1)) : num_ws;
        for (int k = 0; k < num_ws; k++)
            mask[n * num_ws + k] = k < cut;
    }
}

static void write_labels(struct trainer *t, const int *labels) {
    int c_dim = t->c.net.c_dim, batch = t->c.batch;
    size_t bytes = (size_t)batch * (size_t)c_dim * 4;
    for (int p = GMAIN; p <= DMAIN; p++) {
        float *one_hot = memset(host(t, t->at.labels[p]), 0, bytes);
        for (int n = 0; n < batch; n++)
            one_hot[n * c_dim + draw_label(t, (uint64_t)(t->images + n), USE_LABEL + (uint32_t)p)] = 1;
    }
    float *one_hot = memset(host(t, t->at.labels_real), 0, bytes);
    for (int n = 0; n < batch; n++)
        if (labels && labels[n] >= 0 && labels[n] < c_dim)
            one_hot[n * c_dim + labels[n]] = 1;
}

/* Given latents and path noise, or zeros where there were some before. */
static void write_given(struct trainer *t, const struct trainer_override *o) {
    bool given = o && (o->z_gmain || o->z_greg || o->z_dmain || o->pl_noise);
    *(float *)host(t, t->at.draw) = !given;
    if (!given && !t->given)
        return;
    const float *z[PHASES] = {o ? o->z_gmain : NULL, o ? o->z_greg : NULL, o ? o->z_dmain : NULL, NULL};
    int64_t z_bytes = (int64_t)t->c.batch * t->c.net.z_dim * 4;
    int C = t->c.net.img_channels, R = t->c.net.res, N = trainer_pl_batch(&t->c);
    float *zeros = xcalloc(1, (size_t)z_bytes);
    for (int p = 0; p < PHASES; p++)
        buffer_write(t->z[p], 0, z[p] ? z[p] : zeros, z_bytes);
    free(zeros);
    for (int n = 0; n < N; n++)
        for (int k = 0; k < C; k++)
            for (int i = 0; i < R * R; i++)
                t->host_pl_noise[(n * R * R + i) * C + k] = o && o->pl_noise ? o->pl_noise[(n * C + k) * R * R + i] : 0;
    buffer_write(t->pl_noise, 0, t->host_pl_noise, (int64_t)N * R * R * C * 4);
    t->given = given;
}

static bool mirrored(const struct trainer *t, int n) {
    float u = 1;
    if (t->c.mirror)
        philox_fill_uniform(t->c.seed, (uint64_t)(t->images + n), USE_MIRROR, &u, 1);
    return u < 0.5f;
}

/* Mirrored where the draw says so. They travel as bytes; the graphs make them floats. */
static void write_reals(struct trainer *t, const uint8_t *reals) {
    int C = t->c.net.img_channels, R = t->c.net.res;
    int64_t pixels = (int64_t)R * R * C;
    if (!t->c.mirror) {
        buffer_write(t->reals, 0, reals, t->c.batch * pixels);
        return;
    }
    for (int n = 0; n < t->c.batch; n++) {
        const uint8_t *from = reals + n * pixels;
        uint8_t *to = t->host_reals + n * pixels;
        if (!mirrored(t, n)) {
            memcpy(to, from, (size_t)pixels);
            continue;
        }
        for (int64_t row = 0; row < pixels; row += (int64_t)R * C)
            for (int x = 0; x < R; x++)
                for (int k = 0; k < C; k++)
                    to[row + x * C + k] = from[row + (R - 1 - x) * C + k];
    }
    buffer_write(t->reals, 0, t->host_reals, t->c.batch * pixels);
}

static void write_picks(struct trainer *t, const int64_t *numbers) {
    int64_t *pick = host(t, t->at.pick);
    for (int n = 0; n < t->c.batch; n++)
        pick[n] = mirrored(t, n) ? -1 - numbers[n] : numbers[n];
}

/* ---- the data set on the device ---- */

enum status trainer_hold(struct trainer *t, int64_t n, struct error *e) {
    int64_t picture = (int64_t)t->c.net.res * t->c.net.res * t->c.net.img_channels;
    if (t->held)
        return st_bad(e, "the data set is on the device already");
    if (n < 1 || n > device_available_bytes(t->device) / picture)
        return st_fail(e, "%lld pictures of %lld bytes do not fit the device's memory", (long long)n, (long long)picture);
    t->n_held = n;
    t->held = buffer_create(t->device, n * picture, "held pictures");
    return trainer_build_pick(t, e);
}

void trainer_hold_picture(struct trainer *t, int64_t number, const uint8_t *pixels) {
    int64_t picture = (int64_t)t->c.net.res * t->c.net.res * t->c.net.img_channels;
    buffer_write(t->held, number * picture, pixels, picture);
}

/* ---- adaptive augmentation ---- */

static void adapt(struct trainer *t) {
    if (!t->augment_real[DMAIN] || t->c.ada_target <= 0 || t->ada_count == 0 || t->iterations % t->c.ada_interval)
        return;
    float sum, zero = 0;
    buffer_read(t->stats, 4 * S_ADA_SIGNS, &sum, 4);
    buffer_write(t->stats, 4 * S_ADA_SIGNS, &zero, 4);
    t->r_t = sum / (double)t->ada_count;
    double sign = t->r_t > t->c.ada_target ? 1 : t->r_t < t->c.ada_target ? -1 : 0; /* NaN: no change */
    t->augment_p += sign * t->c.batch * t->c.ada_interval / (t->c.ada_kimg * 1000);
    t->augment_p = t->augment_p < 0 ? 0 : t->augment_p > 1 ? 1 : t->augment_p;
    t->ada_count = 0;
}

static void write_augment(struct trainer *t, int p) {
    uint64_t first = (uint64_t)t->images;
    if (t->augment_fake[p])
        augment_draw(t->augment_fake[p], t->c.seed, first, USE_AUGMENT_FAKE + (uint32_t)p, t->augment_p, -1);
    if (t->augment_real[p])
        augment_draw(t->augment_real[p], t->c.seed, first, USE_AUGMENT_REAL + (uint32_t)p, t->augment_p, -1);
}

static double ema_beta(const struct trainer *t) {
    double nimg = t->c.ema_kimg * 1000;
    if (t->c.ema_rampup > 0)
        nimg = fmin(nimg, (double)t->images * t->c.ema_rampup);
    return pow(0.5, t->c.batch / fmax(nimg, 1e-8));
}

/* ---- the step ---- */

static void write_key(struct trainer *t) {
    const uint64_t key[2] = {t->c.seed, (uint64_t)t->images};
    memcpy(host(t, t->at.key), key, sizeof key);
    *(float *)host(t, t->at.ema) = (float)ema_beta(t);
}

/* reals, or numbers of held pictures: the other is NULL. */
static void step_with(struct trainer *t, const uint8_t *reals, const int64_t *numbers, const int *labels, const struct trainer_override *o) {
    write_key(t);
    write_given(t, o);
    if (t->c.net.c_dim)
        write_labels(t, labels);
    for (int p = 0; p < PHASES; p++) {
        if (!due(t, p))
            continue;
        write_hyper(t, p);
        if (p != DR1)
            write_mix(t, p);
    }
    if (reals)
        write_reals(t, reals);
    else
        write_picks(t, numbers);
    buffer_write(t->control, 0, t->host, t->at.bytes);
    adapt(t); /* may wait for the iteration before; what is above is ready by then */
    for (int p = 0; p < PHASES; p++)
        if (due(t, p))
            write_augment(t, p);
    if (!reals)
        program_run(t->pick);
    for (int p = 0; p < PHASES; p++)
        if (due(t, p)) {
            program_run(t->program[p]);
            t->runs[p]++;
        }
    program_run(t->ema);
    buffer_copy(t->g_ema->state, 0, t->g.net->state, 0, t->g.net->n_state * 4);
    t->images += t->c.batch;
    t->iterations++;
    t->ada_count++;
}

void trainer_step(struct trainer *t, const uint8_t *reals, const int *labels, const struct trainer_override *o) {
    step_with(t, reals, NULL, labels, o);
}

void trainer_step_held(struct trainer *t, const int64_t *numbers, const int *labels, const struct trainer_override *o) {
    step_with(t, NULL, numbers, labels, o);
}

struct trainer_stats trainer_read_stats(struct trainer *t) {
    float s[S_COUNT], mean, zero[S_ADA_SIGNS] = {0};
    adapt(t);
    buffer_read(t->stats, 0, s, sizeof s);
    buffer_write(t->stats, 0, zero, sizeof zero); /* all but ADA_SIGNS, the last */
    buffer_read(t->pl_mean, 0, &mean, 4);
    double n[PHASES];
    for (int p = 0; p < PHASES; p++) {
        n[p] = t->runs[p] ? (double)t->runs[p] : NAN;
        t->runs[p] = 0;
    }
    return (struct trainer_stats){
        .g_loss = s[S_G_LOSS] / n[GMAIN], .d_loss = s[S_D_LOSS] / n[DMAIN], .scores_real = s[S_SCORES_REAL] / n[DMAIN],
        .scores_fake = s[S_SCORES_FAKE] / n[DMAIN], .signs_real = s[S_SIGNS_REAL] / n[DMAIN],
        .signs_fake = s[S_SIGNS_FAKE] / n[DMAIN], .pl_penalty = s[S_PL_PENALTY] / n[GPL],
        .r1_penalty = s[S_R1_PENALTY] / n[DR1], .augment_p = t->augment_p, .pl_mean = mean, .r_t = t->r_t,
        .nonfinite_grads = (int64_t)s[S_NONFINITE]};
}

/* ---- plans ---- */

static const char *const phase_names[PHASES] = {"Gmain", "Gpl", "Dmain", "Dr1"};

void trainer_print_plan(struct trainer *t, FILE *out) {
    const double share[PHASES] = {1, t->c.g_reg_interval > 0 ? 1.0 / t->c.g_reg_interval : 0, 1,
                                  t->c.d_reg_interval > 0 ? 1.0 / t->c.d_reg_interval : 0};
    double flops = 0;
    int64_t arena = 0, constants = 0; /* programs of a device share one arena */
    fprintf(out, "%-6s %9s %9s %9s %9s %10s %12s\n", "phase", "nodes", "launches", "fused", "every", "MiB", "GFLOP");
    for (int p = 0; p < PHASES; p++) {
        if (!t->program[p])
            continue;
        struct program_info i = program_get_info(t->program[p]);
        fprintf(out, "%-6s %9d %9d %9d %9.0f %10.1f %12.3f\n", phase_names[p], i.nodes, i.launches, i.fused, 1 / share[p],
                (double)i.arena_bytes / 1048576.0, i.flops / 1e9);
        flops += i.flops * share[p];
        arena = i.arena_bytes > arena ? i.arena_bytes : arena;
        constants += i.constant_bytes;
    }
    double networks = 4.0 * (double)(5 * t->g.net->n_params + 4 * t->d.net->n_params) / 1048576.0;
    fprintf(out, "parameters: G %lld, D %lld; with gradients, moments and average %.1f MiB\n", (long long)t->g.net->n_params,
            (long long)t->d.net->n_params, networks);
    fprintf(out, "shared arena %.1f MiB, constants %.1f MiB\n", (double)arena / 1048576.0, (double)constants / 1048576.0);
    fprintf(out, "per picture: %.3f GFLOP, all phases\n", flops / 1e9 / t->c.batch);
}

/* Inputs of a step for every phase, due or not. Nothing counts as trained, but parameters and moments move when phases then run. */
static void write_sample_inputs(struct trainer *t) {
    write_key(t);
    write_given(t, NULL);
    if (t->c.net.c_dim)
        write_labels(t, NULL);
    for (int p = 0; p < PHASES; p++) {
        const struct optimised *n = p == GMAIN || p == GPL ? &t->g : &t->d;
        put_hyper(t, t->at.hyper[p], n, n->steps + 1);
        put_hyper(t, t->at.hyper_rest[p], n, n->main_steps + 1);
        write_mix(t, p);
        write_augment(t, p);
    }
    buffer_write(t->control, 0, t->host, t->at.bytes);
}

void trainer_profile(struct trainer *t, FILE *out) {
    write_sample_inputs(t);
    for (int p = 0; p < PHASES; p++)
        if (t->program[p]) {
            fprintf(out, "phase %s\n", phase_names[p]);
            program_profile(t->program[p], out);
        }
}

bool trainer_time_phase(struct trainer *t, int phase, int repeats, struct trainer_phase *out) {
    const int every[PHASES] = {1, t->c.g_reg_interval, 1, t->c.d_reg_interval};
    if (phase < 0 || phase >= PHASES || !t->program[phase])
        return false;
    struct program *p = t->program[phase];
    struct program_info i = program_get_info(p);
    write_sample_inputs(t);
    for (int k = 0; k < 3; k++) /* the second run is captured */
        program_run(p);
    device_sync(t->device);
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (int k = 0; k < repeats; k++)
        program_run(p);
    device_sync(t->device);
    clock_gettime(CLOCK_MONOTONIC, &to);
    *out = (struct trainer_phase){.name = phase_names[phase], .every = every[phase], .launches = i.launches, .flops = i.flops,
                                  .seconds = (double)(to.tv_sec - from.tv_sec + 1e-9 * (double)(to.tv_nsec - from.tv_nsec)) / repeats,
                                  .conv_seconds = program_conv_seconds(p)};
    return true;
}
