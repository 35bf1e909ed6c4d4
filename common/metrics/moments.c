/* moments.c - see moments.h. */
#include "common/metrics/moments.h"

#include <assert.h>
#include <cblas.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

struct moments {
    int dim;
    int64_t n;
    int filled;    /* rows waiting in block */
    double *shift; /* [dim] the first vector */
    double *sum;   /* [dim] of x - shift */
    double *outer; /* [dim, dim] of (x - shift)(x - shift)', upper triangle */
    double *block; /* [MOMENTS_BLOCK, dim] of x - shift */
};

struct moments *moments_create(int dim) {
    assert(dim > 0);
    struct moments *m = xcalloc(1, sizeof *m);
    m->dim = dim;
    m->shift = xcalloc(dim, sizeof *m->shift);
    m->sum = xcalloc(dim, sizeof *m->sum);
    m->outer = xcalloc((size_t)dim * dim, sizeof *m->outer);
    m->block = xcalloc((size_t)MOMENTS_BLOCK * dim, sizeof *m->block);
    return m;
}

void moments_free(struct moments *m) {
    if (!m)
        return;
    free(m->shift);
    free(m->sum);
    free(m->outer);
    free(m->block);
    free(m);
}

void moments_reset(struct moments *m) {
    size_t d = (size_t)m->dim;
    m->n = 0;
    m->filled = 0;
    memset(m->sum, 0, d * sizeof *m->sum);
    memset(m->outer, 0, d * d * sizeof *m->outer);
}

int64_t moments_count(const struct moments *m) {
    return m->n;
}

static void flush(struct moments *m) {
    if (m->filled == 0)
        return;
    int d = m->dim;
    cblas_dsyrk(CblasRowMajor, CblasUpper, CblasTrans, d, m->filled, 1.0, m->block, d, 1.0, m->outer, d);
    for (int i = 0; i < m->filled; i++)
        for (int j = 0; j < d; j++)
            m->sum[j] += m->block[(size_t)i * d + j];
    m->filled = 0;
}

void moments_add(struct moments *m, const float *rows, int64_t n) {
    int d = m->dim;
    for (int64_t i = 0; i < n; i++) {
        const float *x = rows + i * d;
        if (m->n == 0)
            for (int j = 0; j < d; j++)
                m->shift[j] = x[j];
        double *to = m->block + (size_t)m->filled * d;
        for (int j = 0; j < d; j++)
            to[j] = (double)x[j] - m->shift[j];
        m->n++;
        if (++m->filled == MOMENTS_BLOCK)
            flush(m);
    }
}

void moments_finish(struct moments *m, bool biased, double *mu, double *sigma) {
    assert(m->n >= (biased ? 1 : 2));
    flush(m);
    int d = m->dim;
    double n = (double)m->n, scale = 1.0 / (biased ? n : n - 1.0);
    for (int i = 0; i < d; i++) {
        for (int j = i; j < d; j++) {
            double c = (m->outer[(size_t)i * d + j] - m->sum[i] * m->sum[j] / n) * scale;
            sigma[(size_t)i * d + j] = sigma[(size_t)j * d + i] = c;
        }
        mu[i] = m->shift[i] + m->sum[i] / n;
    }
}
