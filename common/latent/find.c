/* find.c - see find.h. */
#include "common/latent/find.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/mem.h"

static struct latent_found room(int n, int dim) {
    struct latent_found f = {.directions = {{0, dim}, n, NULL}};
    f.directions.data = xmalloc((size_t)n * (size_t)dim * sizeof *f.directions.data);
    return f;
}

/* The eigenvectors of a matrix [dim,dim] that hold most of it, which is `of`; the matrix is overwritten. */
static enum status eigenvectors(double *gram, int dim, int count, const char *of, struct latent_found *f, struct error *e) {
    int n = count < dim ? count : dim;
    double *value = xmalloc((size_t)n * sizeof *value), held = 0, total = 0;
    *f = room(n, dim);
    for (int i = 0; i < dim; i++)
        total += gram[(size_t)i * (size_t)(dim + 1)];
    enum status st = latent_eigen(gram, dim, n, f->directions.data, value, e);
    for (int i = 0; !st && i < n; i++)
        held += value[i];
    if (st)
        latent_set_free(&f->directions);
    else
        snprintf(f->worth, sizeof f->worth, "%d directions hold %.1f %% of %s, the first %.1f %%", n, 100 * held / total, of,
                 100 * value[0] / total);
    free(value);
    return st;
}

enum status latent_find_in_weights(const struct sg2_net *g, uint64_t mask, int count, struct latent_found *f, struct error *e) {
    int dim = g->config.w_dim, channels;
    char of[64];
    double *gram = xmalloc((size_t)dim * (size_t)dim * sizeof *gram);
    enum status st = latent_style_gram(g, mask, gram, &channels, e);
    if (!st) {
        snprintf(of, sizeof of, "the style weights of %d channels", channels);
        st = eigenvectors(gram, dim, count, of, f, e);
    }
    free(gram);
    return st;
}

enum status latent_find_in_moments(struct latent_moments *m, int count, struct latent_found *f, struct error *e) {
    if (m->n < 2)
        return st_bad(e, "principal components need at least 2 latents");
    int64_t most = m->n - 1; /* further ones would be any vectors across: n points span n - 1 dimensions */
    latent_moments_finish(m);
    return eigenvectors(m->gram, m->dim, count < most ? count : (int)most, "the variance", f, e);
}

enum status latent_find_difference(const struct latent_groups *g, struct latent_found *f, struct error *e) {
    const struct latent_set *x = &g->latents;
    double distance;
    *f = room(1, x->shape.dim);
    enum status st = latent_difference(x->data, x->n, x->shape.dim, g->label, f->directions.data, &distance, e);
    if (st)
        latent_set_free(&f->directions);
    else
        snprintf(f->worth, sizeof f->worth, "the means of the groups are %.4g apart", distance);
    return st;
}

enum status latent_find_logistic(const struct latent_groups *g, bool judge, struct latent_found *f, struct error *e) {
    const struct latent_set *x = &g->latents;
    int dim = x->shape.dim;
    *f = room(1, dim);
    struct latent_boundary b = {.direction = f->directions.data};
    enum status st = latent_logistic(x->data, x->n, dim, g->label, -1, &b, e);
    if (st) {
        latent_set_free(&f->directions);
        return st;
    }
    int64_t held_out = judge ? latent_held_out(x->data, x->n, dim, g->label) : -1;
    if (held_out >= 0)
        snprintf(f->worth, sizeof f->worth, "the attribute is told from %.1f %% of %lld latents, and from %.1f %% of those not fitted to",
                 100.0 * (double)latent_right_side(x->data, x->n, dim, g->label, &b) / (double)x->n, (long long)x->n,
                 100.0 * (double)held_out / (double)x->n);
    return ST_OK;
}
