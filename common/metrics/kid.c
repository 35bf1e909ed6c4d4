/* kid.c - see kid.h. Cost of one subset of 1,000 in 2,048 dimensions: 8 GFLOP in float64; memory 3 x 8 MB beside the
 * gathered rows. */
#include "common/metrics/kid.h"

#include <assert.h>
#include <cblas.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "common/base/mem.h"
#include "common/rng/numpy_rng.h"

#define TILE 1024 /* rows and columns of the kernel matrix held at once */

static double cubic(double dot, int d) {
    double t = dot / d + 1.0;
    return t * t * t;
}

static double *widen(const float *x, const int64_t *pick, int64_t n, int d) {
    double *w = xmalloc((size_t)n * d * sizeof *w);
    for (int64_t i = 0; i < n; i++) {
        const float *row = x + (pick ? pick[i] : i) * (int64_t)d;
        for (int j = 0; j < d; j++)
            w[i * d + j] = row[j];
    }
    return w;
}

/* Sum of the kernel over all pairs; with y == x over the pairs i != j, of which only those above the diagonal are computed. */
static double kernel_sum(const double *x, int64_t n, const double *y, int64_t m, int d, double *tile) {
    bool same = x == y;
    double sum = 0;
    for (int64_t i = 0; i < n; i += TILE)
        for (int64_t j = same ? i : 0; j < m; j += TILE) {
            int rows = (int)(n - i < TILE ? n - i : TILE), cols = (int)(m - j < TILE ? m - j : TILE);
            cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, cols, d, 1.0, x + i * d, d, y + j * d, d, 0.0, tile, cols);
            double part = 0;
            for (int a = 0; a < rows; a++) {
                double line = 0;
                for (int b = same && i == j ? a + 1 : 0; b < cols; b++)
                    line += cubic(tile[(size_t)a * cols + b], d);
                part += line;
            }
            sum += part;
        }
    return same ? 2.0 * sum : sum;
}

static double mmd2(const double *x, int64_t n, const double *y, int64_t m, int d) {
    assert(n >= 2 && m >= 2);
    double *tile = xmalloc((size_t)TILE * TILE * sizeof *tile);
    double xx = kernel_sum(x, n, x, n, d, tile), yy = kernel_sum(y, m, y, m, d, tile), xy = kernel_sum(x, n, y, m, d, tile);
    free(tile);
    return xx / ((double)n * (n - 1)) + yy / ((double)m * (m - 1)) - 2.0 * xy / ((double)n * m);
}

double kid_block(const float *x, int64_t n, const float *y, int64_t m, int d) {
    double *wx = widen(x, NULL, n, d), *wy = widen(y, NULL, m, d);
    double result = mmd2(wx, n, wy, m, d);
    free(wx);
    free(wy);
    return result;
}

/* RandomState.choice(n, k, replace=False): the first k of a shuffled 0..n-1; indices by masked rejection. */
static void choose(struct numpy_rng *r, int64_t n, int64_t *order) {
    for (int64_t i = 0; i < n; i++)
        order[i] = i;
    for (int64_t i = n - 1; i > 0; i--) {
        uint32_t mask = (uint32_t)i, j;
        for (int s = 1; s < 32; s *= 2)
            mask |= mask >> s;
        do
            j = numpy_rng_u32(r) & mask;
        while (j > (uint64_t)i);
        int64_t t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
}

enum status kid_subsets(const float *x, int64_t n, const float *y, int64_t m, int d, int subsets, int64_t subset_size, uint32_t seed,
                        struct kid *k, struct error *e) {
    if (subset_size < 2 || n < subset_size || m < subset_size)
        return st_bad(e, "KID subsets of %lld need as many samples on both sides, there are %lld and %lld", (long long)subset_size,
                      (long long)n, (long long)m);
    struct numpy_rng rng;
    numpy_rng_seed(&rng, seed);
    int64_t *order = xmalloc((size_t)(n > m ? n : m) * sizeof *order);
    double *value = xmalloc((size_t)subsets * sizeof *value), mean = 0, var = 0;
    for (int s = 0; s < subsets; s++) {
        choose(&rng, n, order);
        double *wx = widen(x, order, subset_size, d);
        choose(&rng, m, order);
        double *wy = widen(y, order, subset_size, d);
        value[s] = mmd2(wx, subset_size, wy, subset_size, d);
        mean += value[s];
        free(wx);
        free(wy);
    }
    mean /= subsets;
    for (int s = 0; s < subsets; s++)
        var += (value[s] - mean) * (value[s] - mean);
    *k = (struct kid){.mean = mean, .std = sqrt(var / subsets), .subsets = subsets, .subset_size = subset_size};
    free(order);
    free(value);
    return ST_OK;
}

/* sum[i] += factor * the kernel of x_i with every y (with every other x when y is x) */
static void add_rows(const float *x, int64_t n, const float *y, int64_t m, int d, double factor, double *sum) {
    double *tile = xmalloc((size_t)TILE * TILE * sizeof *tile);
    for (int64_t i = 0; i < n; i += TILE) {
        int rows = (int)(n - i < TILE ? n - i : TILE);
        double *a = widen(x + i * d, NULL, rows, d);
        for (int64_t j = 0; j < m; j += TILE) {
            int cols = (int)(m - j < TILE ? m - j : TILE);
            double *b = widen(y + j * d, NULL, cols, d);
            cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, cols, d, 1.0, a, d, b, d, 0.0, tile, cols);
            for (int p = 0; p < rows; p++)
                for (int q = 0; q < cols; q++)
                    if (x != y || i + p != j + q)
                        sum[i + p] += factor * cubic(tile[(size_t)p * cols + q], d);
            free(b);
        }
        free(a);
    }
    free(tile);
}

void kid_shares(const float *x, int64_t n, const float *y, int64_t m, int d, double *hx, double *hy) {
    for (int64_t i = 0; i < n; i++)
        hx[i] = 0;
    for (int64_t i = 0; i < m; i++)
        hy[i] = 0;
    add_rows(x, n, x, n, d, 2.0 / (double)(n - 1), hx);
    add_rows(x, n, y, m, d, -2.0 / (double)m, hx);
    add_rows(y, m, y, m, d, 2.0 / (double)(m - 1), hy);
    add_rows(y, m, x, n, d, -2.0 / (double)n, hy);
}
