/* filters.c - see filters.h. */
#include "common/latent/filters.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

/* in as a row of shape `out`: itself, or spread over out's layers into `wide`. */
static const float *widen(const float *row, struct latent_shape in, struct latent_shape out, float *wide) {
    if (in.layers == out.layers)
        return row;
    latent_broadcast(row, out.layers, in.dim, wide);
    return wide;
}

static enum status layers_unknown(struct error *e) {
    return st_bad(e, "w has no layers: a network says how many w+ has (--network FILE)");
}

/* ---- truncation ---- */

static enum status truncation_shape(void *context, struct latent_shape in, struct latent_shape *out, int64_t *factor, struct error *e) {
    struct latent_truncation *t = context;
    char shape[32];
    if (!latent_fits(in, (struct latent_shape){t->num_ws, t->dim}))
        return st_bad(e, "an array of %s is neither w nor w+ of this network: [N,%d], [N,%d,%d]", latent_text(in, shape), t->dim,
                      t->num_ws, t->dim);
    t->in = t->out = in;
    if (t->cutoff >= 0)
        t->out.layers = t->num_ws;
    *out = t->out;
    *factor = t->n_psi;
    return ST_OK;
}

static void truncation_rows(void *context, const float *in, int64_t n, float *out) {
    struct latent_truncation *t = context;
    uint64_t mask = latent_first_layers(t->cutoff);
    float *wide = xmalloc((size_t)latent_size(t->out) * sizeof *wide);
    for (int64_t i = 0; i < n; i++, in += latent_size(t->in)) {
        const float *row = widen(in, t->in, t->out, wide);
        for (int k = 0; k < t->n_psi; k++, out += latent_size(t->out))
            latent_truncate(row, t->out, (struct latent_vector){t->mean, false}, t->psi[k], mask, out);
    }
    free(wide);
}

struct latent_filter latent_truncation_filter(struct latent_truncation *t) {
    return (struct latent_filter){truncation_shape, truncation_rows, t, 0};
}

/* ---- movement ---- */

/* A vector of another stream on rows of this shape. */
static enum status check_vector(const char *what, struct latent_shape v, struct latent_shape row, struct error *e) {
    char a[32], b[32];
    if (latent_fits(v, row))
        return ST_OK;
    return st_bad(e, "the %s is of %s, the latents are of %s", what, latent_text(v, a), latent_text(row, b));
}

static enum status movement_shape(void *context, struct latent_shape in, struct latent_shape *out, int64_t *factor, struct error *e) {
    struct latent_movement *m = context;
    enum status st = ST_OK;
    m->in = m->out = in;
    m->mask = LATENT_ALL;
    if (!in.layers && m->directions.shape.layers)
        m->out.layers = m->directions.shape.layers;
    else if (!in.layers && m->layers && !(m->out.layers = m->num_ws))
        return layers_unknown(e);
    if (m->layers)
        st = latent_layers_parse(m->layers, m->out.layers, &m->mask, e);
    if (!st)
        st = check_vector("direction", m->directions.shape, m->out, e);
    if (!st && m->origin.data)
        st = check_vector("origin", m->origin.shape, m->out, e);
    *out = m->out;
    *factor = m->directions.n * m->n_amount;
    return st;
}

static void movement_rows(void *context, const float *in, int64_t n, float *out) {
    struct latent_movement *m = context;
    float *wide = xmalloc((size_t)latent_size(m->out) * sizeof *wide);
    struct latent_vector origin = latent_vector_of(&m->origin, 0);
    for (int64_t i = 0; i < n; i++, in += latent_size(m->in)) {
        const float *row = widen(in, m->in, m->out, wide);
        for (int64_t d = 0; d < m->directions.n; d++) {
            struct latent_vector v = latent_vector_of(&m->directions, d);
            for (int k = 0; k < m->n_amount; k++, out += latent_size(m->out))
                if (m->absolute)
                    latent_place(row, m->out, v, origin, m->amount[k], m->mask, out);
                else
                    latent_move(row, m->out, v, m->amount[k], m->mask, out);
        }
    }
    free(wide);
}

struct latent_filter latent_movement_filter(struct latent_movement *m) {
    return (struct latent_filter){movement_shape, movement_rows, m, 0};
}

/* ---- mixture ---- */

static enum status mixture_shape(void *context, struct latent_shape in, struct latent_shape *out, int64_t *factor, struct error *e) {
    struct latent_mixture *m = context;
    struct latent_shape columns = m->columns.shape;
    char a[32], b[32];
    m->in = m->out = in;
    m->out.layers = in.layers ? in.layers : columns.layers ? columns.layers : m->num_ws;
    if (!m->out.layers)
        return layers_unknown(e);
    if (!latent_fits(columns, m->out))
        return st_bad(e, "rows of %s and columns of %s do not mix", latent_text(in, a), latent_text(columns, b));
    *out = m->out;
    *factor = m->columns.n;
    return latent_layers_parse(m->layers, m->out.layers, &m->mask, e);
}

static void mixture_rows(void *context, const float *in, int64_t n, float *out) {
    struct latent_mixture *m = context;
    size_t size = (size_t)latent_size(m->out);
    float *wide = xmalloc(2 * size * sizeof *wide);
    for (int64_t i = 0; i < n; i++, in += latent_size(m->in)) {
        const float *row = widen(in, m->in, m->out, wide), *column = m->columns.data;
        for (int64_t k = 0; k < m->columns.n; k++, column += latent_size(m->columns.shape), out += size)
            latent_mix(row, widen(column, m->columns.shape, m->out, wide + size), m->out, m->mask, out);
    }
    free(wide);
}

struct latent_filter latent_mixture_filter(struct latent_mixture *m) {
    return (struct latent_filter){mixture_shape, mixture_rows, m, 0};
}
