/* projector.c - see projector.h. The state of a projection and its step; the programs are built in projector_graph.c. */
#include "common/stylegan2/projector.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/stylegan2/layers.h"
#include "common/stylegan2/projector_internal.h"

#define DRAWS 10000   /* of w, as in the paper */

/* Found by trying, with examples/faces-128 and photographs; see CAVEATS of sg2-project.1. The ramps and the weight of the noise maps are
 * the paper's, whose learning rate of 0.1 and moves of 0.05 sigma_w are for 1,000 steps and another distance. */
struct projector_config projector_defaults(enum projector_space space) {
    return (struct projector_config){.batch = 1, .steps = 400, .guesses = 256, .space = space, .lr = 0.1, .ramp_up = 0.05, .ramp_down = 0.25,
                                     .w_noise = 0.01, .w_noise_ramp = 0.75, .noise_weight = 1e5, .pixel_weight = 1,
                                     .contrast_weight = 1, .feature_weight = 1, .prior_weight = 0.5, .row_weight = 0.2,
                                     .w_first = 0.4,
                                     .class_number = -1};
}

/* ---- set-up ---- */

static enum status check(const struct sg2_net *net, const struct projector_config *c, struct error *e) {
    const struct sg2_config *k = &net->config;
    if (net->kind != SG2_G)
        return st_bad(e, "projector: the network is not a generator");
    if (c->batch < 1 || c->batch > SG2_MAX_PROJECT)
        return st_bad(e, "projector: batch %d, allowed are 1 to %d", c->batch, SG2_MAX_PROJECT);
    if (c->steps < 1 || c->guesses < 0 || c->lr < 0 || c->ramp_up < 0 || c->ramp_down < 0 || c->w_noise < 0 || c->w_noise_ramp < 0)
        return st_bad(e, "projector: steps, guesses, learning rate, ramps and noise must not be negative, and steps not 0");
    if (c->class_number >= k->c_dim)
        return st_bad(e, "projector: class %d, the network has %d classes", c->class_number, k->c_dim);
    const struct sg2_net *d = c->discriminator;
    if (d && (d->kind != SG2_D || d->config.res != k->res || d->config.img_channels != k->img_channels))
        return st_bad(e, "projector: the discriminator does not take this generator's pictures");
    return ST_OK;
}

static int64_t padded(int64_t n) { return (n + 63) / 64 * 64; }

/* Where each search begins: u = 0, and the network's own noise maps, brought to zero mean and unit variance. */
static void fill_start(struct projector *p) {
    int N = p->c.batch;
    p->start = xcalloc((size_t)p->n_params, sizeof *p->start);
    for (int i = 0; i < p->layers; i++) {
        int r = sg2_noise_res(i), size = r * r;
        char name[64];
        sg2_noise_name(i, name);
        float *map = p->start + p->at_map[i];
        sg2_tensor_get(sg2_net_find(p->net, name), p->net->state, map);
        double mean = 0, variance = 0;
        for (int j = 0; j < size; j++)
            mean += (double)map[j] / size;
        for (int j = 0; j < size; j++)
            variance += ((double)map[j] - mean) * ((double)map[j] - mean) / size;
        for (int j = 0; j < size; j++)
            map[j] = (float)(((double)map[j] - mean) / sqrt(variance + 1e-8));
        for (int n = 1; n < N; n++)
            memcpy(map + n * size, map, (size_t)size * sizeof *map);
    }
}

enum status projector_create(struct projector **out, struct device *d, struct sg2_net *net, const struct projector_config *c, struct error *e) {
    const struct sg2_config *k = &net->config;
    enum status st = check(net, c, e);
    *out = NULL;
    if (st)
        return st;
    struct projector *p = xcalloc(1, sizeof *p);
    int64_t N = c->batch;
    p->c = *c;
    p->device = d;
    p->net = net;
    p->half = c->half && strcmp(device_name(d), "cpu") != 0;
    p->rows = c->space == PROJECT_W ? 1 : sg2_num_ws(k);
    p->layers = c->optimise_noise ? sg2_noise_layers(k) : 0;
    p->n_params = padded(N * p->rows * k->w_dim);
    for (int i = 0; i < p->layers; i++) {
        p->at_map[i] = p->n_params;
        p->n_params += padded(N * sg2_noise_res(i) * sg2_noise_res(i));
    }
    p->pixels = (int64_t)k->res * k->res * k->img_channels;
    p->control = buffer_create(d, CONTROL_BYTES, "control");
    struct buffer **const flat[] = {&p->params, &p->grad, &p->m, &p->v};
    for (int i = 0; i < 4; i++)
        *flat[i] = buffer_create(d, p->n_params * 4, "latents");
    p->target = buffer_create(d, N * p->pixels, "target");
    p->own = buffer_create(d, N * p->pixels, "own noise");
    p->plain = buffer_create(d, N * p->pixels, "network noise");
    p->ws = buffer_create(d, N * sg2_num_ws(k) * k->w_dim * 4, "ws");
    p->losses = buffer_create(d, LOSSES * N * 4, "losses");
    p->filters = buffer_create(d, 3 * 256, "filters");
    static const float filters[3][4] = {{0.25f, 0.25f, 0.25f, 0.25f}, {-1, 1, 0, 0}, {-1, 0, 1, 0}};
    for (int i = 0; i < 3; i++)
        buffer_write(p->filters, i * 256, filters[i], sizeof filters[i]);
    int64_t D = k->w_dim;
    float *centre = xmalloc((size_t)D * sizeof *centre), *spread = xmalloc((size_t)(D * D) * sizeof *spread);
    p->centre = buffer_create(d, D * 4, "centre");
    p->spread = buffer_create(d, D * D * 4, "spread");
    st = projector_w_space(net, DRAWS, c->seed, c->class_number, centre, spread, e);
    if (st == ST_OK) {
        buffer_write(p->centre, 0, centre, D * 4);
        buffer_write(p->spread, 0, spread, D * D * 4);
    }
    free(centre);
    free(spread);
    if (st == ST_OK)
        st = projector_build(p, e);
    if (st) {
        projector_free(p);
        return st;
    }
    fill_start(p);
    if (c->guesses > 0)
        projector_guess_create(p);
    p->n = p->c.batch;
    *out = p;
    return ST_OK;
}

void projector_free(struct projector *p) {
    if (!p)
        return;
    program_free(p->descend);
    program_free(p->look);
    projector_guess_free(p->guess);
    struct buffer *const all[] = {p->control, p->params, p->grad, p->m, p->v, p->target, p->losses, p->filters, p->ws, p->own, p->plain,
                                   p->centre, p->spread};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        buffer_free(all[i]);
    free(p->start);
    free(p);
}

/* ---- the search ---- */

void projector_begin(struct projector *p, const uint8_t *pictures, int n) {
    p->n = n;
    p->step = 0;
    float *zeros = xcalloc((size_t)p->n_params, sizeof *zeros), *start = xmalloc((size_t)p->n_params * sizeof *start);
    uint8_t *targets = xmalloc((size_t)(p->c.batch * p->pixels));
    for (int i = 0; i < p->c.batch; i++) /* a short batch is filled with its first picture */
        memcpy(targets + i * p->pixels, pictures + (i < n ? i : 0) * p->pixels, (size_t)p->pixels);
    memcpy(start, p->start, (size_t)p->n_params * sizeof *start);
    if (p->guess) {
        int D = p->net->config.w_dim;
        float *u = xmalloc((size_t)(p->c.batch * D) * sizeof *u);
        projector_guess(p, targets, u);
        for (int i = 0; i < p->c.batch * p->rows; i++)
            memcpy(start + (int64_t)i * D, u + (int64_t)(i / p->rows) * D, (size_t)D * sizeof *u);
        free(u);
    }
    buffer_write(p->params, 0, start, p->n_params * 4);
    buffer_write(p->m, 0, zeros, p->n_params * 4);
    buffer_write(p->v, 0, zeros, p->n_params * 4);
    buffer_write(p->target, 0, targets, p->c.batch * p->pixels);
    free(zeros);
    free(start);
    free(targets);
    program_constants_changed(p->descend);
}

/* Appendix D: up from 0 linearly, down to 0 by half a cosine. */
static double learning_rate(const struct projector_config *c, double t) {
    double down = c->ramp_down > 0 ? fmin(1, (1 - t) / c->ramp_down) : 1, up = c->ramp_up > 0 ? fmin(1, t / c->ramp_up) : 1;
    return c->lr * up * (0.5 - 0.5 * cos(M_PI * down));
}

bool projector_step(struct projector *p) {
    const struct projector_config *c = &p->c;
    if (p->step >= c->steps)
        return false;
    const double beta1 = 0.9, beta2 = 0.999;
    /* two searches one after the other, each with its ramps; W has only the first */
    const double all = (double)p->step / c->steps, share = c->space == PROJECT_W ? 1 : c->w_first;
    const bool second = all >= share;
    const double t = second ? (all - share) / (1 - share) : all / share, first_t = share > 0 && second ? 1 : t;
    const double left = c->w_noise_ramp > 0 ? fmax(0, 1 - first_t / c->w_noise_ramp) : 0, lr = learning_rate(c, t);
    const float hyper[6] = {(float)lr, (float)beta1, (float)beta2, 1e-8f, (float)(1 - pow(beta1, p->step + 1)),
                            (float)(1 - pow(beta2, p->step + 1))};
    const float w_noise = (float)(c->w_noise * sqrt((double)p->net->config.w_dim) * left * left); /* sigma_w of u is sqrt(w_dim) */
    const float release = second;
    memcpy(p->host + AT_HYPER, hyper, sizeof hyper);
    memcpy(p->host + AT_W_NOISE, &w_noise, sizeof w_noise);
    memcpy(p->host + AT_RELEASE, &release, sizeof release);
    memcpy(p->host + AT_KEY, (const uint64_t[2]){c->seed, (uint64_t)p->step}, 16);
    buffer_write(p->control, 0, p->host, CONTROL_BYTES);
    program_run(p->descend);
    p->step++;
    return true;
}

int projector_steps_done(const struct projector *p) { return p->step; }

/* ---- results ---- */

void projector_losses(struct projector *p, struct projector_loss *out) {
    int N = p->c.batch;
    float *x = xmalloc((size_t)(LOSSES * N) * sizeof *x);
    buffer_read(p->losses, 0, x, LOSSES * N * 4);
    for (int i = 0; i < p->n; i++)
        out[i] = (struct projector_loss){.pixel = (double)x[LOSS_PIXEL * N + i], .feature = (double)x[LOSS_FEATURE * N + i],
                                         .noise = (double)x[LOSS_NOISE * N + i], .row = (double)x[LOSS_ROW * N + i],
                                         .prior = (double)x[LOSS_PRIOR * N + i],
                                         .contrast = (double)x[LOSS_CONTRAST * N + i]};
    free(x);
}

void projector_latents(struct projector *p, float *ws) {
    program_run(p->look);
    buffer_read(p->ws, 0, ws, (int64_t)p->n * sg2_num_ws(&p->net->config) * p->net->config.w_dim * 4);
}

void projector_pictures(struct projector *p, uint8_t *own_noise, uint8_t *network_noise) {
    program_run(p->look);
    if (own_noise)
        buffer_read(p->own, 0, own_noise, p->n * p->pixels);
    if (network_noise)
        buffer_read(p->plain, 0, network_noise, p->n * p->pixels);
}

void projector_noise(struct projector *p, int layer, float *maps) {
    int r = sg2_noise_res(layer);
    if (p->layers) {
        buffer_read(p->params, p->at_map[layer] * 4, maps, (int64_t)p->n * r * r * 4);
        return;
    }
    char name[64];
    sg2_noise_name(layer, name);
    for (int i = 0; i < p->n; i++)
        sg2_tensor_get(sg2_net_find(p->net, name), p->net->state, maps + (int64_t)i * r * r);
}

struct program *projector_program(struct projector *p) { return p->descend; }
