/* projector_graph.c - the two programs of a projection: a step down the gradient, and a look at where it stands. */
#include <math.h>
#include <stdio.h>

#include "common/stylegan2/layers.h"
#include "common/stylegan2/projector_internal.h"

#define USE_W_NOISE 0x77 /* Philox `use`; the key is (seed, step) */

struct build {
    struct projector *p;
    struct graph *g;
    struct sg2_vars *vg, *vd;
};

/* Windows on the flat buffers, all laid out alike. */
static tensor *u_of(struct build *b, struct buffer *flat) {
    struct projector *p = b->p;
    return graph_input(b->g, flat, 0, DT_F32, "u", 3, p->c.batch, p->rows, p->net->config.w_dim);
}

static tensor *map_of(struct build *b, struct buffer *flat, int k) {
    int r = sg2_noise_res(k);
    return graph_input(b->g, flat, b->p->at_map[k] * 4, DT_F32, "noise map", 4, b->p->c.batch, r, r, 1);
}

static tensor *flat_of(struct build *b, struct buffer *flat) {
    return graph_input(b->g, flat, 0, DT_F32, "flat", 1, (int)b->p->n_params);
}

/* One number that the host sets before a step. */
static tensor *scalar_of(struct build *b, int64_t at) { return graph_input(b->g, b->p->control, at, DT_F32, "control", 1, 1); }

static struct projector_filters filters_of(struct build *b) {
    tensor *f[3];
    for (int i = 0; i < 3; i++) {
        f[i] = graph_input(b->g, b->p->filters, i * 256, DT_F32, "filter", 2, 2, 2);
        graph_mark_constant(f[i]);
    }
    return (struct projector_filters){f[0], f[1], f[2]};
}

/* u [N,rows,w_dim] to w+ [N,num_ws,w_dim]. */
static tensor *w_plus(struct build *b, tensor *u) {
    struct graph *g = b->g;
    int D = (int)u->dim[2];
    tensor *centre = graph_input(g, b->p->centre, 0, DT_F32, "centre", 1, D);
    tensor *spread = graph_input(g, b->p->spread, 0, DT_F32, "spread", 2, D, D);
    tensor *w = add(g, matmul(g, reshape(g, u, 2, -1, D), false, spread, true), centre);
    w = reshape_shape(g, lrelu(g, w, SG2_SLOPE), 3, u->dim);
    return broadcast(g, w, 3, (const int64_t[]){u->dim[0], sg2_num_ws(&b->p->net->config), D});
}

static tensor *draw(struct build *b, tensor *ws, tensor **maps) {
    struct sg2_synthesis_opt o = {.noise = maps ? SG2_NOISE_GIVEN : SG2_NOISE_CONST, .noise_maps = maps, .half = b->p->half};
    return sg2_synthesis(b->vg, ws, o);
}

static int judge(struct build *b, tensor *img, tensor **out) {
    const struct projector_config *c = &b->p->c;
    if (b->vd)
        return sg2_discriminator_features(b->vd, img, b->p->half, out);
    return c->judge ? c->judge(c->judge_context, b->g, img, out) : 0;
}

/* u plus the search's own noise, the same for every picture and row. */
static tensor *shaken(struct build *b, tensor *u) {
    const int64_t dim[3] = {1, 1, u->dim[2]};
    tensor *key = graph_input(b->g, b->p->control, AT_KEY, DT_U64, "key", 1, 2);
    return add(b->g, u, mul(b->g, random_normal(b->g, key, USE_W_NOISE, 3, dim), scalar_of(b, AT_W_NOISE)));
}

/* One part of the loss, [N,1,1,1] or so: weighted, noted for the user, added up. */
static void part(struct build *b, tensor **sum, int which, tensor *value, double weight) {
    int N = b->p->c.batch;
    value = scale(b->g, reshape(b->g, value, 1, N), (float)weight, 0);
    assign(b->g, graph_input(b->g, b->p->losses, which * N * 4, DT_F32, "loss", 1, N), value);
    *sum = *sum ? add(b->g, *sum, value) : value;
}

/* Zero mean and unit variance a picture, in place. */
static void normalise(struct build *b, int k) {
    struct graph *g = b->g;
    const unsigned places = 1u << 1 | 1u << 2 | 1u << 3;
    tensor *x = map_of(b, b->p->params, k);
    x = sub(g, x, mean_axes(g, x, places));
    x = mul(g, x, rsqrt1(g, scale(g, mean_axes(g, square(g, x), places), 1, 1e-8f)));
    assign(g, map_of(b, b->p->params, k), x);
}

/* While rows are not released they all get the same gradient, that of one w for all layers, and so stay alike. Its size is that of
 * theirs, so that Adam's second moments are of use to them afterwards. */
static tensor *tied(struct build *b, tensor *grad) {
    tensor *together = scale(b->g, sum_axes(b->g, grad, 1u << 1), 1 / sqrtf((float)grad->dim[1]), 0);
    return add(b->g, together, mul(b->g, sub(b->g, grad, together), scalar_of(b, AT_RELEASE)));
}

static void build_descend(struct build *b) {
    struct graph *g = b->g;
    struct projector *p = b->p;
    const struct projector_config *c = &p->c;
    const struct sg2_config *k = &p->net->config;
    tensor *u = u_of(b, p->params), *wrt[1 + PROJECTOR_LAYERS] = {u}, *grad[1 + PROJECTOR_LAYERS], **maps = wrt + 1;
    struct projector_filters f = filters_of(b);
    for (int i = 0; i < p->layers; i++)
        maps[i] = map_of(b, p->params, i);
    tensor *target = graph_input(g, p->target, 0, DT_U8, "target", 4, c->batch, k->res, k->res, k->img_channels);
    graph_mark_constant(target); /* what depends on it alone, its features above all, is computed once */
    target = scale(g, cast(g, target, DT_F32), 1 / 127.5f, -1);

    tensor *img = draw(b, w_plus(b, shaken(b, u)), p->layers ? maps : NULL), *loss = NULL;
    part(b, &loss, LOSS_PIXEL, projector_pixel_distance(g, img, target, f.box), c->pixel_weight);
    if (c->contrast_weight > 0)
        part(b, &loss, LOSS_CONTRAST, projector_contrast_distance(g, img, target, &f), c->contrast_weight);
    tensor *seen[SG2_MAX_FEATURES], *wanted[SG2_MAX_FEATURES];
    int n = judge(b, img, seen);
    if (n) {
        judge(b, target, wanted);
        part(b, &loss, LOSS_FEATURE, projector_feature_distance(g, seen, wanted, n), c->feature_weight);
    }
    if (p->layers) {
        tensor *sum = NULL;
        for (int i = 0; i < p->layers; i++) {
            tensor *one = projector_autocorrelation(g, maps[i], f.box);
            sum = sum ? add(g, sum, one) : one;
        }
        part(b, &loss, LOSS_NOISE, sum, c->noise_weight);
    }
    if (c->prior_weight > 0)
        part(b, &loss, LOSS_PRIOR, mul(g, mean_axes(g, square(g, u), 1u << 1 | 1u << 2), scalar_of(b, AT_PRIOR)), 1);
    if (p->rows > 1 && c->row_weight > 0) {
        tensor *d = sub(g, u, mean_axes(g, u, 1u << 1));
        part(b, &loss, LOSS_ROW, mean_axes(g, square(g, d), 1u << 1 | 1u << 2), c->row_weight);
    }
    graph_grad(g, sum_all(g, loss), wrt, 1 + p->layers, grad);
    assign(g, u_of(b, p->grad), p->rows > 1 ? tied(b, grad[0]) : grad[0]);
    for (int i = 0; i < p->layers; i++)
        assign(g, map_of(b, p->grad, i), grad[1 + i]);
    adam(g, flat_of(b, p->params), flat_of(b, p->grad), flat_of(b, p->m), flat_of(b, p->v),
         graph_input(g, p->control, AT_HYPER, DT_F32, "hyper", 1, 6));
    for (int i = 0; i < p->layers; i++)
        normalise(b, i);
}

static void build_look(struct build *b) {
    struct graph *g = b->g;
    struct projector *p = b->p;
    const struct sg2_config *k = &p->net->config;
    tensor *maps[PROJECTOR_LAYERS], *ws = w_plus(b, u_of(b, p->params)), *plain = draw(b, ws, NULL), *own = plain;
    for (int i = 0; i < p->layers; i++)
        maps[i] = map_of(b, p->params, i);
    if (p->layers)
        own = draw(b, ws, maps);
    assign(g, graph_input(g, p->ws, 0, DT_F32, "ws", 3, p->c.batch, sg2_num_ws(k), k->w_dim), ws);
    assign(g, graph_input(g, p->own, 0, DT_U8, "own", 4, p->c.batch, k->res, k->res, k->img_channels), to_u8(g, own));
    assign(g, graph_input(g, p->plain, 0, DT_U8, "plain", 4, p->c.batch, k->res, k->res, k->img_channels), to_u8(g, plain));
}

enum status projector_build(struct projector *p, struct error *e) {
    static const char *const names[2] = {"projection", "projected"};
    static void (*const builders[2])(struct build *) = {build_descend, build_look};
    struct program **const programs[2] = {&p->descend, &p->look};
    for (int i = 0; i < 2; i++) {
        struct graph *g = graph_create(names[i]);
        struct build b = {.p = p, .g = g, .vg = sg2_vars_create(g, p->net, true)};
        b.vd = p->c.discriminator ? sg2_vars_create(g, p->c.discriminator, true) : NULL;
        builders[i](&b);
        sg2_vars_free(b.vg);
        sg2_vars_free(b.vd);
        enum status st = program_create(programs[i], g, p->device, e);
        graph_free(g);
        if (st)
            return st_prefix(st, e, "%s", names[i]);
    }
    return ST_OK;
}
