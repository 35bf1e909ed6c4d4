/* frechet.c - see frechet.h.
 *
 * The work for dim = 2048: two Cholesky factorisations (6 GFLOP), one product of triangles (17), and the sum of singular values (9 for
 * the Gram matrix, 11 for its eigenvalues, of which half stream it through the caches: 0.8 of 1.1 seconds of processor time).
 * Up to SVD_LIMIT the singular values come from dgesdd, exact to rounding relative to the largest one. Above it that would
 * be bound by memory (it streams the shrinking matrix once a column, twice over), so they are the roots of the eigenvalues of the
 * smaller Gram matrix, about four times faster: there a singular value s is good to eps*smax^2/s, far below what FID prints, because
 * values near zero have already been removed by the rank of the factors.
 */
#include "common/metrics/frechet.h"

#include <cblas.h>
#include <float.h>
#include <lapacke.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

#define SVD_LIMIT 768
#define TILE 8

/* The largest difference between an element and its mirror image; infinite when a number is not finite. In tiles,
 * since one column's numbers lie 16 KiB apart: 6 instead of 12 ms. */
static double asymmetry(size_t d, const double *sigma) {
    double skew = 0;
    for (size_t row = 0; row < d; row += TILE)
        for (size_t col = 0; col <= row; col += TILE)
            for (size_t i = row; i < row + TILE && i < d; i++)
                for (size_t j = col; j < col + TILE && j < d; j++) {
                    double t = fabs(sigma[i * d + j] - sigma[j * d + i]); /* NaN when one is not finite, or both */
                    if (!(t <= skew))
                        skew = t <= DBL_MAX ? t : INFINITY;
                }
    return skew;
}

static enum status check_input(int dim, const double *mu, const double *sigma, const char *side, struct error *e) {
    size_t d = dim;
    double largest = 0, skew = asymmetry(d, sigma);
    for (size_t i = 0; i < d; i++) {
        bool finite = isfinite(mu[i]);
        for (size_t j = 0; !isfinite(skew) && j < d; j++)
            finite &= isfinite(sigma[i * d + j]) != 0;
        if (!finite)
            return st_bad(e, "statistics of the %s side hold a number that is not finite (row %zu)", side, i);
        if (sigma[i * d + i] < 0)
            return st_bad(e, "statistics of the %s side have a negative variance (row %zu)", side, i);
        largest = fmax(largest, sigma[i * d + i]);
    }
    if (skew > 1e-6 * largest)
        return st_bad(e, "covariance of the %s side is not symmetric (off by %g)", side, skew);
    return ST_OK;
}

/* With more samples than dimensions the covariance nearly always has full rank, and Cholesky without pivots, which takes half
 * the time, does: unless a pivot comes close to what is rounding. L as in factor. */
static bool factor_full(int dim, const double *sigma, int64_t n, double *L) {
    size_t d = dim;
    double largest = 0, least = INFINITY;
    if (n <= dim)
        return false;
    memcpy(L, sigma, d * d * sizeof *L);
    for (size_t i = 0; i < d; i++)
        largest = fmax(largest, L[i * d + i]);
    if (LAPACKE_dpotrf_work(LAPACK_COL_MAJOR, 'L', dim, L, dim) != 0)
        return false;
    for (size_t k = 0; k < d; k++) {
        least = fmin(least, L[k * d + k] * L[k * d + k]);
        memset(L + k * d, 0, k * sizeof *L);
    }
    return least > 16 * d * DBL_EPSILON * largest;
}

/* sigma = L L' with L [dim, *rank] column by column, rows in the original order; L has room for dim*dim. The upper triangle of a
 * symmetric row-major matrix is the lower triangle LAPACK sees, so nothing is transposed. */
static enum status factor(int dim, const double *sigma, int64_t n, double *L, int *rank, struct error *e) {
    size_t d = dim;
    if (factor_full(dim, sigma, n, L)) {
        *rank = dim;
        return ST_OK;
    }
    double *a = xmalloc(d * d * sizeof *a);
    double *work = xmalloc(2 * d * sizeof *work);
    lapack_int *pivot = xmalloc(d * sizeof *pivot);
    lapack_int r = 0;
    memcpy(a, sigma, d * d * sizeof *a);
    /* column-major lower: P' S P = C C', C[i,k] at a[k*d + i] */
    lapack_int info = LAPACKE_dpstrf_work(LAPACK_COL_MAJOR, 'L', dim, a, dim, pivot, &r, -1.0, work);
    enum status st = ST_OK;
    if (info < 0)
        st = st_fail(e, "Cholesky factorisation failed (LAPACK dpstrf %d)", (int)info);
    if (a[0] <= 0) /* the zero matrix: dpstrf stops before it counts */
        r = 0;
    if (n > 0 && r > n - 1) /* what is beyond n - 1 columns is rounding */
        r = (lapack_int)(n - 1);
    for (size_t k = 0; st == ST_OK && k < (size_t)r; k++)
        for (size_t i = 0; i < d; i++)
            L[k * d + pivot[i] - 1] = k <= i ? a[k * d + i] : 0.0;
    *rank = (int)r;
    free(a);
    free(work);
    free(pivot);
    return st;
}

/* Sum of the singular values of K [rows, cols], which is overwritten. */
static enum status nuclear_norm(double *K, int rows, int cols, double *sum, struct error *e) {
    int small = rows < cols ? rows : cols;
    *sum = 0;
    if (small == 0)
        return ST_OK;
    double *value = xmalloc((size_t)small * sizeof *value), *gram = NULL;
    lapack_int info;
    if (small <= SVD_LIMIT) {
        double dummy;
        /* row-major K is column-major K', which has the same singular values */
        info = LAPACKE_dgesdd(LAPACK_COL_MAJOR, 'N', cols, rows, K, cols, value, &dummy, 1, &dummy, 1);
    } else {
        gram = xmalloc((size_t)small * small * sizeof *gram);
        cblas_dsyrk(CblasRowMajor, CblasUpper, rows <= cols ? CblasNoTrans : CblasTrans, small, rows <= cols ? cols : rows, 1.0, K,
                    cols, 0.0, gram, small);
        info = LAPACKE_dsyevd(LAPACK_COL_MAJOR, 'N', 'L', small, gram, small, value);
        for (int i = 0; i < small; i++)
            value[i] = value[i] > 0 ? sqrt(value[i]) : 0.0;
    }
    for (int i = 0; i < small; i++)
        *sum += value[i];
    free(value);
    free(gram);
    return info == 0 ? ST_OK : st_fail(e, "singular values of the covariance factors did not converge (LAPACK %d)", (int)info);
}

enum status frechet_distance(int dim, const double *mu1, const double *sigma1, int64_t n1, const double *mu2, const double *sigma2,
                             int64_t n2, struct frechet *f, struct error *e) {
    enum status st = check_input(dim, mu1, sigma1, "first", e);
    if (st == ST_OK)
        st = check_input(dim, mu2, sigma2, "second", e);
    if (st != ST_OK)
        return st;

    size_t d = dim;
    double *L1 = xmalloc(d * d * sizeof *L1), *L2 = xmalloc(d * d * sizeof *L2), *K = NULL;
    *f = (struct frechet){0};
    st = factor(dim, sigma1, n1, L1, &f->rank1, e);
    if (st == ST_OK)
        st = factor(dim, sigma2, n2, L2, &f->rank2, e);
    if (st == ST_OK && f->rank1 > 0 && f->rank2 > 0) {
        K = xmalloc((size_t)f->rank1 * f->rank2 * sizeof *K);
        cblas_dgemm(CblasColMajor, CblasTrans, CblasNoTrans, f->rank2, f->rank1, dim, 1.0, L2, dim, L1, dim, 0.0, K, f->rank2);
        st = nuclear_norm(K, f->rank1, f->rank2, &f->trace_root, e);
    }
    for (size_t i = 0; i < d; i++) {
        double t = mu1[i] - mu2[i];
        f->mean_term += t * t;
        f->trace1 += sigma1[i * d + i];
        f->trace2 += sigma2[i * d + i];
    }
    f->distance = fmax(0.0, f->mean_term + f->trace1 + f->trace2 - 2.0 * f->trace_root); /* equal sides: rounding below 0 */
    free(L1);
    free(L2);
    free(K);
    return st;
}
