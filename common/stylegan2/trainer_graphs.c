/* trainer_graphs.c - the programs of the training: Gmain, Gpl, Dmain, Dr1, the moving average, and the pick of held pictures.
 *
 * Each phase computes one loss, its gradient for one network into that network's flat gradient buffer, and one Adam step. Lazy
 * regularisation multiplies the gradient of a phase by its interval. Host values come from the control buffer only.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/stylegan2/layers.h"
#include "common/stylegan2/losses.h"
#include "common/stylegan2/trainer_internal.h"

/* Frozen layers are counted as in FreezeD: from the picture inwards, fromrgb, then conv0, conv1, skip of each block. */
int trainer_frozen_tensors(const struct sg2_net *d, int layers) {
    int n = 0;
    const struct sg2_tensor *t;
    for (; (t = sg2_trained(d, n)) && t->name[0] == 'b' && t->name[1] != '4'; n++) {
        bool weight = strstr(t->name, ".weight") != NULL;
        if (weight && layers-- == 0)
            break;
    }
    return n;
}

int trainer_pl_batch(const struct trainer_config *c) {
    int n = c->batch / c->pl_batch_shrink;
    return n > 0 ? n : 1;
}

struct build {
    struct trainer *t;
    struct graph *g;
    enum phase phase;
    struct sg2_vars *vg, *vd;
    int batch;
};

static tensor *control(struct build *b, int64_t at, const char *name, int ndim, const int64_t *dim) {
    return graph_input_shape(b->g, b->t->control, at, DT_F32, name, ndim, dim);
}

static tensor *key(struct build *b) { return graph_input(b->g, b->t->control, b->t->at.key, DT_U64, "key", 1, 2); }

/* given + draw*random: one of the two is zero. */
static tensor *given_or_drawn(struct build *b, struct buffer *given, uint32_t use, int ndim, const int64_t *dim) {
    struct graph *g = b->g;
    tensor *draw = control(b, b->t->at.draw, "draw", 1, (const int64_t[]){1});
    tensor *x = graph_input_shape(g, given, 0, DT_F32, "given", ndim, dim);
    return add(g, x, mul(g, random_normal(g, key(b), use, ndim, dim), draw));
}

static tensor *labels(struct build *b, int64_t at) {
    int c_dim = b->t->c.net.c_dim;
    return c_dim ? control(b, at, "labels", 2, (const int64_t[]){b->batch, c_dim}) : NULL;
}

/* Fakes of this phase. *ws: the layers' inputs; *w_first: the mapped z before mixing. */
static tensor *generate(struct build *b, tensor **ws, tensor **w_first) {
    struct graph *g = b->g;
    struct trainer *t = b->t;
    const struct sg2_config *c = &t->c.net;
    const int64_t zdim[2] = {b->batch, c->z_dim};
    int num_ws = sg2_num_ws(c);
    uint32_t p = (uint32_t)b->phase;
    tensor *z = given_or_drawn(b, t->z[b->phase], USE_Z + p, 2, zdim);
    tensor *label = labels(b, t->at.labels[b->phase]);
    tensor *w = sg2_mapping(b->vg, z, label);
    *w_first = w;
    if (t->c.style_mixing > 0) {
        tensor *w2 = sg2_mapping(b->vg, random_normal(g, key(b), USE_MIX_Z + p, 2, zdim), label);
        tensor *m = control(b, t->at.mix[b->phase], "mix", 3, (const int64_t[]){b->batch, num_ws, 1});
        w = reshape(g, w, 3, b->batch, 1, c->w_dim);
        w2 = reshape(g, w2, 3, b->batch, 1, c->w_dim);
        *ws = add(g, mul(g, w, m), mul(g, w2, scale(g, m, -1, 1)));
    } else {
        *ws = sg2_broadcast_truncate(b->vg, w, 1, 0);
    }
    struct sg2_synthesis_opt o = {.noise = t->c.noise, .noise_use = USE_NOISE + 64 * p, .half = t->half};
    if (o.noise == SG2_NOISE_RANDOM)
        o.noise_key = key(b);
    return sg2_synthesis(b->vg, *ws, o);
}

static tensor *discriminate(struct build *b, struct augment *a, tensor *img, tensor *label) {
    return sg2_discriminator(b->vd, a ? augment_graph(a, b->g, img) : img, label, b->t->half);
}

static void count(struct build *b, int which, tensor *value) {
    tensor *sum = graph_input(b->g, b->t->stats, 4 * which, DT_F32, "stats", 1, 1);
    assign(b->g, sum, add(b->g, sum, value));
}

/* Mean sign; a logit of exactly 0 counts as positive. */
static tensor *signs(struct build *b, tensor *logits) { return mean_all(b->g, step(b->g, logits, -1, 1)); }

/* An Adam step for elements start .. end - 1 of the flat buffers. */
static void adam_range(struct build *b, struct optimised *n, int64_t start, int64_t end, int interval, int64_t hyper) {
    struct graph *g = b->g;
    const int64_t size[1] = {end - start};
    tensor *grad = graph_input_shape(g, n->grad, start * 4, DT_F32, "grad", 1, size);
    if (interval > 1)
        grad = scale(g, grad, (float)interval, 0);
    count(b, S_NONFINITE, sum_all(g, nonfinite(g, grad)));
    adam(g, graph_input_shape(g, n->net->params, start * 4, DT_F32, "params", 1, size), sanitize(g, grad, 1e5f),
         graph_input_shape(g, n->m, start * 4, DT_F32, "m", 1, size), graph_input_shape(g, n->v, start * 4, DT_F32, "v", 1, size),
         control(b, hyper, "hyper", 1, (const int64_t[]){6}));
}

/* Gradient of `loss` for the trained tensors of a network that are not frozen, into its flat buffer, and an Adam step. Tensors
 * that no regulariser depends on take no part in its phase: neither their moments nor their count of steps change. */
static void optimise(struct build *b, struct optimised *n, struct sg2_vars *v, tensor *loss, int interval) {
    struct graph *g = b->g;
    bool main_phase = b->phase == GMAIN || b->phase == DMAIN;
    const struct sg2_tensor *t;
    int trained = 0, wanted = 0;
    while (sg2_trained(n->net, trained))
        trained++;
    tensor **wrt = xcalloc((size_t)trained, sizeof *wrt), **grad = xcalloc((size_t)trained, sizeof *grad);
    const struct sg2_tensor **of = xcalloc((size_t)trained, sizeof *of);
    for (int i = n->first; (t = sg2_trained(n->net, i)); i++)
        if (main_phase || !t->offset_only) {
            of[wanted] = t;
            wrt[wanted++] = sg2_var(v, t->name);
        }
    /* a regulariser's gradient for a bias before a leaky ReLU is zero, and counts as a step */
    graph_vjp(g, loss, scalar(g, 1), wrt, wanted, grad, true);
    for (int i = 0; i < wanted; i++)
        assign(g, graph_input_shape(g, n->grad, of[i]->offset * 4, DT_F32, of[i]->name, wrt[i]->ndim, wrt[i]->dim), grad[i]);
    free(wrt);
    free(grad);
    free(of);
    adam_range(b, n, sg2_trained(n->net, n->first)->offset, n->net->n_regular, interval, b->t->at.hyper[b->phase]);
    if (main_phase)
        adam_range(b, n, n->net->n_regular, n->net->n_params, interval, b->t->at.hyper_rest[b->phase]);
}

static void build_gmain(struct build *b) {
    tensor *ws, *w;
    tensor *img = generate(b, &ws, &w);
    tensor *logits = discriminate(b, b->t->augment_fake[GMAIN], img, labels(b, b->t->at.labels[GMAIN]));
    tensor *loss = sg2_loss_gmain(b->g, logits);
    count(b, S_G_LOSS, loss);
    optimise(b, &b->t->g, b->vg, loss, 1);
}

static void build_gpl(struct build *b) {
    const struct trainer_config *c = &b->t->c;
    tensor *ws, *w, *new_mean, *penalty;
    tensor *img = generate(b, &ws, &w);
    tensor *noise = given_or_drawn(b, b->t->pl_noise, USE_PL_NOISE, 4, img->dim);
    tensor *lengths = sg2_path_lengths(b->g, img, ws, noise, NULL);
    tensor *pl_mean = graph_input(b->g, b->t->pl_mean, 0, DT_F32, "pl_mean", 1, 1);
    tensor *loss = sg2_loss_gpl(b->g, lengths, pl_mean, (float)c->pl_decay, (float)c->pl_weight, &new_mean, &penalty);
    count(b, S_PL_PENALTY, penalty);
    optimise(b, &b->t->g, b->vg, loss, c->g_reg_interval);
    assign(b->g, graph_input(b->g, b->t->pl_mean, 0, DT_F32, "pl_mean", 1, 1), new_mean);
}

/* In [-1,1]. */
static tensor *reals(struct build *b) {
    const struct sg2_config *c = &b->t->c.net;
    tensor *x = graph_input(b->g, b->t->reals, 0, DT_U8, "reals", 4, b->batch, c->res, c->res, c->img_channels);
    return scale(b->g, cast(b->g, x, DT_F32), 1 / 127.5f, -1);
}

/* cuDNN takes tensors of less than 2^31 values: at 1024x1024 with 32 channels 63 pictures, one batch of 32 but not two. */
static bool fits_together(const struct trainer *t) {
    const struct sg2_config *c = &t->c.net;
    return 2.0 * t->c.batch * (c->res + 1) * (c->res + 1) * sg2_channels(c, c->res) < INT32_MAX;
}

static void build_dmain(struct build *b) {
    struct graph *g = b->g;
    struct trainer *t = b->t;
    tensor *ws, *w;
    tensor *img = generate(b, &ws, &w);
    tensor *pictures[2] = {img, reals(b)}, *classes[2] = {labels(b, t->at.labels[DMAIN]), labels(b, t->at.labels_real)};
    if (t->augment_fake[DMAIN]) {
        pictures[0] = augment_graph(t->augment_fake[DMAIN], g, pictures[0]);
        pictures[1] = augment_graph(t->augment_real[DMAIN], g, pictures[1]);
    }
    tensor *fake, *real;
    if (fits_together(t)) {
        tensor *logits =
            sg2_discriminator_parts(b->vd, concat(g, pictures, 2, 0), classes[0] ? concat(g, classes, 2, 0) : NULL, 2, t->half);
        fake = slice(g, logits, 0, 0, b->batch);
        real = slice(g, logits, 0, b->batch, b->batch);
    } else {
        fake = sg2_discriminator_parts(b->vd, pictures[0], classes[0], 1, t->half);
        real = sg2_discriminator_parts(b->vd, pictures[1], classes[1], 1, t->half);
    }
    tensor *loss = sg2_loss_dmain(g, fake, real);
    count(b, S_D_LOSS, loss);
    count(b, S_SCORES_FAKE, mean_all(g, fake));
    count(b, S_SCORES_REAL, mean_all(g, real));
    count(b, S_SIGNS_FAKE, signs(b, fake));
    count(b, S_SIGNS_REAL, signs(b, real));
    count(b, S_ADA_SIGNS, signs(b, real));
    optimise(b, &t->d, b->vd, loss, 1);
    tensor *mean = reshape(g, mean_axes(g, w, 1u << 0), 1, t->c.net.w_dim);
    lerp(g, sg2_var(b->vg, "mapping.w_avg"), mean, scalar(g, (float)t->c.w_avg_beta));
}

static void build_dr1(struct build *b) {
    tensor *img = reals(b), *penalty;
    tensor *logits = discriminate(b, b->t->augment_real[DR1], img, labels(b, b->t->at.labels_real));
    tensor *loss = sg2_loss_dr1(b->g, logits, img, (float)b->t->c.r1_gamma, &penalty, NULL);
    count(b, S_R1_PENALTY, mean_all(b->g, penalty));
    optimise(b, &b->t->d, b->vd, loss, b->t->c.d_reg_interval);
}

static enum status build_ema(struct trainer *t, struct error *e) {
    struct graph *g = graph_create("ema");
    struct sg2_vars *from = sg2_vars_create(g, t->g.net, false), *to = sg2_vars_create(g, t->g_ema, false);
    lerp(g, sg2_vars_flat(to), sg2_vars_flat(from), graph_input(g, t->control, t->at.ema, DT_F32, "beta", 1, 1));
    sg2_vars_free(from);
    sg2_vars_free(to);
    enum status st = program_create(&t->ema, g, t->device, e);
    graph_free(g);
    return st;
}

enum status trainer_build_pick(struct trainer *t, struct error *e) {
    const struct sg2_config *c = &t->c.net;
    struct graph *g = graph_create("pick");
    tensor *table = graph_input(g, t->held, 0, DT_U8, "held", 4, (int)t->n_held, c->res, c->res, c->img_channels);
    tensor *pick = graph_input(g, t->control, t->at.pick, DT_I64, "pick", 1, t->c.batch);
    assign(g, graph_input(g, t->reals, 0, DT_U8, "reals", 4, t->c.batch, c->res, c->res, c->img_channels), take(g, table, pick));
    enum status st = program_create(&t->pick, g, t->device, e);
    graph_free(g);
    return st;
}

enum status trainer_build(struct trainer *t, struct error *e) {
    static const char *const names[PHASES] = {"Gmain", "Gpl", "Dmain", "Dr1"};
    static void (*const builders[PHASES])(struct build *) = {build_gmain, build_gpl, build_dmain, build_dr1};
    const bool wanted[PHASES] = {true, t->c.g_reg_interval > 0 && t->c.pl_weight > 0, true,
                                 t->c.d_reg_interval > 0 && t->c.r1_gamma > 0};
    for (int i = 0; i < PHASES; i++) {
        if (!wanted[i])
            continue;
        struct graph *g = graph_create(names[i]);
        struct build b = {.t = t, .g = g, .phase = (enum phase)i, .vg = sg2_vars_create(g, t->g.net, false),
                          .vd = sg2_vars_create(g, t->d.net, false),
                          .batch = i == GPL ? trainer_pl_batch(&t->c) : t->c.batch};
        builders[i](&b);
        sg2_vars_free(b.vg);
        sg2_vars_free(b.vd);
        enum status st = program_create(&t->program[i], g, t->device, e);
        graph_free(g);
        if (st)
            return st_prefix(st, e, "phase %s", names[i]);
    }
    return build_ema(t, e);
}
