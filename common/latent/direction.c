/* direction.c - see direction.h. The work for w of 512: eigenvectors 0.1 s; 10,000 rows of second moments 2.6 GFLOP, and as much for
 * each of about ten Newton steps.
 */
#include "common/latent/direction.h"

#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

#define BLOCK 256      /* rows turned to double at a time */
#define MAX_STEPS 100  /* of Newton; eight to fifteen happen */

/* ---- symmetric matrices ---- */

static void mirror(double *a, int dim) {
    for (int i = 0; i < dim; i++)
        for (int j = 0; j < i; j++)
            a[(size_t)i * (size_t)dim + (size_t)j] = a[(size_t)j * (size_t)dim + (size_t)i];
}

/* gram += rows' rows, upper triangle; rows [n,dim] */
static void add_gram(double *gram, const double *rows, int n, int dim) {
    cblas_dsyrk(CblasRowMajor, CblasUpper, CblasTrans, dim, n, 1.0, rows, dim, 1.0, gram, dim);
}

enum status latent_style_gram(const struct sg2_net *g, uint64_t mask, double *gram, int *channels, struct error *e) {
    int dim = g->config.w_dim;
    *channels = 0;
    memset(gram, 0, (size_t)dim * (size_t)dim * sizeof *gram);
    for (int layer = 0; layer < sg2_num_ws(&g->config) - 1; layer++) {
        char name[64];
        if (!(mask >> layer & 1))
            continue;
        snprintf(name, sizeof name, "synthesis.b%d.conv%d.affine.weight", 4 << (layer + 1) / 2, layer == 0 || layer % 2 == 0);
        const struct sg2_tensor *t = sg2_net_find(g, name);
        size_t n = (size_t)t->dim[0] * (size_t)dim;
        float *weight = xmalloc(n * sizeof *weight);
        double *rows = xmalloc(n * sizeof *rows);
        sg2_tensor_get(t, g->params, weight);
        for (size_t i = 0; i < n; i++)
            rows[i] = (double)weight[i];
        add_gram(gram, rows, (int)t->dim[0], dim);
        *channels += (int)t->dim[0];
        free(weight);
        free(rows);
    }
    mirror(gram, dim);
    return *channels ? ST_OK : st_bad(e, "the layers feed no convolution (0 to %d do)", sg2_num_ws(&g->config) - 2);
}

void latent_moments_start(struct latent_moments *m, int dim) {
    *m = (struct latent_moments){.dim = dim};
    m->sum = xcalloc((size_t)dim, sizeof *m->sum);
    m->gram = xcalloc((size_t)dim, (size_t)dim * sizeof *m->gram);
}

void latent_moments_add(struct latent_moments *m, const float *rows, int64_t n) {
    double *block = xmalloc(BLOCK * (size_t)m->dim * sizeof *block);
    m->n += n;
    for (int64_t at = 0; at < n; at += BLOCK) {
        int64_t k = n - at < BLOCK ? n - at : BLOCK;
        for (int64_t i = 0; i < k * m->dim; i++) {
            block[i] = (double)rows[at * m->dim + i];
            m->sum[i % m->dim] += block[i];
        }
        add_gram(m->gram, block, (int)k, m->dim);
    }
    free(block);
}

void latent_moments_finish(struct latent_moments *m) {
    for (int i = 0; i < m->dim; i++)
        m->sum[i] /= (double)m->n;
    for (int i = 0; i < m->dim; i++)
        for (int j = i; j < m->dim; j++) {
            double *v = &m->gram[(size_t)i * (size_t)m->dim + (size_t)j];
            *v = *v / (double)m->n - m->sum[i] * m->sum[j];
        }
    mirror(m->gram, m->dim);
}

void latent_moments_free(struct latent_moments *m) {
    free(m->sum);
    free(m->gram);
    *m = (struct latent_moments){0};
}

enum status latent_eigen(double *gram, int dim, int count, float *out, double *value, struct error *e) {
    double *all = xmalloc((size_t)dim * sizeof *all);
    /* eigenvalues rise; eigenvector k is column k of the column-major result, a row of it as C sees it */
    lapack_int info = LAPACKE_dsyevd(LAPACK_COL_MAJOR, 'V', 'L', dim, gram, dim, all);
    for (int k = 0; info == 0 && k < count; k++) {
        const double *v = gram + (size_t)(dim - 1 - k) * (size_t)dim;
        int largest = 0;
        for (int i = 1; i < dim; i++)
            if (fabs(v[i]) > fabs(v[largest]))
                largest = i;
        for (int i = 0; i < dim; i++)
            out[(size_t)k * (size_t)dim + (size_t)i] = (float)(v[largest] < 0 ? -v[i] : v[i]);
        value[k] = all[dim - 1 - k];
    }
    free(all);
    return info == 0 ? ST_OK : st_fail(e, "eigenvectors did not converge (LAPACK dsyevd %d)", (int)info);
}

/* ---- two groups ---- */

static enum status both_groups(int64_t n, const uint8_t *label, int left_out, struct error *e) {
    int64_t count[2] = {0};
    for (int64_t i = 0; i < n; i++)
        if (i % 5 != left_out)
            count[label[i]]++;
    if (count[0] && count[1])
        return ST_OK;
    return st_bad(e, "a group is empty: %lld latents with the attribute, %lld without", (long long)count[1], (long long)count[0]);
}

/* v / |v| into out; false when v has no length. */
static bool unit(const double *v, int dim, float *out, double *length) {
    *length = cblas_dnrm2(dim, v, 1);
    for (int i = 0; i < dim && *length > 0; i++)
        out[i] = (float)(v[i] / *length);
    return *length > 0;
}

enum status latent_difference(const float *x, int64_t n, int dim, const uint8_t *label, float *direction, double *distance,
                              struct error *e) {
    enum status st = both_groups(n, label, -1, e);
    if (st)
        return st;
    double *sum = xcalloc(2 * (size_t)dim, sizeof *sum), count[2] = {0};
    for (int64_t i = 0; i < n; i++) {
        count[label[i]]++;
        for (int k = 0; k < dim; k++)
            sum[label[i] * dim + k] += (double)x[i * dim + k];
    }
    for (int k = 0; k < dim; k++)
        sum[k] = sum[dim + k] / count[1] - sum[k] / count[0];
    if (!unit(sum, dim, direction, distance))
        st = st_bad(e, "the two groups have the same mean");
    free(sum);
    return st;
}

/* What is minimised, as a function of the weights [dim] and the offset behind them, on rows (x - mean)/scale. */
struct fit {
    const float *x;
    const uint8_t *label;
    int64_t n;
    int dim, left_out;
    double *mean, scale;
    double *block; /* [BLOCK,dim+1], the last column 1 */
};

/* Rows from *at on into the block, their labels as +1 and -1; how many. */
static int next_block(const struct fit *f, int64_t *at, double *side) {
    int n = 0, wide = f->dim + 1;
    for (; n < BLOCK && *at < f->n; ++*at) {
        if (*at % 5 == f->left_out)
            continue;
        double *row = f->block + (size_t)n * (size_t)wide;
        for (int k = 0; k < f->dim; k++)
            row[k] = ((double)f->x[*at * f->dim + k] - f->mean[k]) / f->scale;
        row[f->dim] = 1;
        side[n++] = f->label[*at] ? 1 : -1;
    }
    return n;
}

/* The value; with gradient and Hessian (upper triangle) when they are not NULL. */
static double evaluate(const struct fit *f, const double *weights, double *gradient, double *hessian) {
    int wide = f->dim + 1, n;
    double side[BLOCK], loss = 0;
    for (int k = 0; k < f->dim; k++)
        loss += 0.5 * weights[k] * weights[k];
    if (gradient) {
        memcpy(gradient, weights, (size_t)wide * sizeof *gradient);
        gradient[f->dim] = 0;
        memset(hessian, 0, (size_t)wide * (size_t)wide * sizeof *hessian);
        for (int k = 0; k < f->dim; k++)
            hessian[(size_t)k * (size_t)(wide + 1)] = 1;
    }
    for (int64_t at = 0; (n = next_block(f, &at, side)) > 0;)
        for (int i = 0; i < n; i++) {
            double *row = f->block + (size_t)i * (size_t)wide, margin = side[i] * cblas_ddot(wide, row, 1, weights, 1);
            double wrong = 1 / (1 + exp(margin)); /* probability of the other label */
            loss += margin > 0 ? log1p(exp(-margin)) : log1p(exp(margin)) - margin;
            if (!gradient)
                continue;
            cblas_daxpy(wide, -side[i] * wrong, row, 1, gradient, 1);
            cblas_dscal(wide, sqrt(wrong * (1 - wrong)), row, 1);
            if (i == n - 1)
                add_gram(hessian, f->block, n, wide);
        }
    return loss;
}

/* Newton's method with halved steps; the weights begin as zeros. */
static enum status minimise(const struct fit *f, double *weights, struct error *e) {
    size_t wide = (size_t)f->dim + 1;
    double *gradient = xmalloc(wide * sizeof *gradient), *hessian = xmalloc(wide * wide * sizeof *hessian), *next = xmalloc(wide * sizeof *next);
    enum status st = ST_OK;
    for (int step = 0; !st; step++) {
        double loss = evaluate(f, weights, gradient, hessian);
        memcpy(next, gradient, wide * sizeof *next);
        /* row-major upper is the lower triangle LAPACK sees */
        lapack_int info = LAPACKE_dposv(LAPACK_COL_MAJOR, 'L', (int)wide, 1, hessian, (int)wide, next, (int)wide);
        double fall = info == 0 ? cblas_ddot((int)wide, gradient, 1, next, 1) : 0, share = 1;
        if (info == 0 && fall < 1e-10 * (1 + loss))
            break;
        if (info != 0 || step == MAX_STEPS) {
            st = st_fail(e, "logistic regression did not converge (step %d, LAPACK dposv %d)", step, (int)info);
            break;
        }
        memcpy(gradient, weights, wide * sizeof *gradient); /* where the step begins */
        for (;; share /= 2) {
            for (size_t k = 0; k < wide; k++)
                weights[k] = gradient[k] - share * next[k];
            if (share < 1e-6 || evaluate(f, weights, NULL, NULL) < loss)
                break;
        }
    }
    free(gradient);
    free(hessian);
    free(next);
    return st;
}

enum status latent_logistic(const float *x, int64_t n, int dim, const uint8_t *label, int left_out, struct latent_boundary *b,
                            struct error *e) {
    enum status st = both_groups(n, label, left_out, e);
    if (st)
        return st;
    size_t wide = (size_t)dim + 1;
    struct fit f = {.x = x, .label = label, .n = n, .dim = dim, .left_out = left_out};
    f.mean = xcalloc((size_t)dim, sizeof *f.mean);
    f.block = xmalloc(BLOCK * wide * sizeof *f.block);
    double *weights = xcalloc(wide, sizeof *weights), length;
    for (int64_t i = 0; i < n * dim; i++)
        f.mean[i % dim] += (double)x[i];
    for (int k = 0; k < dim; k++)
        f.mean[k] /= (double)n; /* exact where all are the same */
    for (int64_t i = 0; i < n * dim; i++)
        f.scale += ((double)x[i] - f.mean[i % dim]) * ((double)x[i] - f.mean[i % dim]);
    f.scale = sqrt(f.scale / ((double)n * dim));
    if (f.scale == 0)
        st = st_bad(e, "all latents are the same");
    if (!st)
        st = minimise(&f, weights, e);
    if (!st && !unit(weights, dim, b->direction, &length))
        st = st_bad(e, "the latents say nothing about the attribute");
    if (!st) /* weights.(x - mean)/scale + w0 > 0 */
        b->offset = cblas_ddot(dim, weights, 1, f.mean, 1) / length - weights[dim] * f.scale / length;
    free(f.mean);
    free(f.block);
    free(weights);
    return st;
}

static bool on_its_side(const float *row, int dim, uint8_t label, const struct latent_boundary *b) {
    double along = 0;
    for (int k = 0; k < dim; k++)
        along += (double)row[k] * (double)b->direction[k];
    return (along > b->offset) == (label == 1);
}

int64_t latent_right_side(const float *x, int64_t n, int dim, const uint8_t *label, const struct latent_boundary *b) {
    int64_t right = 0;
    for (int64_t i = 0; i < n; i++)
        right += on_its_side(x + i * dim, dim, label[i], b);
    return right;
}

int64_t latent_held_out(const float *x, int64_t n, int dim, const uint8_t *label) {
    struct latent_boundary b = {.direction = xmalloc((size_t)dim * sizeof *b.direction)};
    int64_t right = 0;
    for (int fold = 0; fold < 5 && right >= 0; fold++) {
        if (latent_logistic(x, n, dim, label, fold, &b, NULL) != ST_OK)
            right = -1;
        for (int64_t i = fold; i < n && right >= 0; i += 5)
            right += on_its_side(x + i * dim, dim, label[i], &b);
    }
    free(b.direction);
    return right;
}
