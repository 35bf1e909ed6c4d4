/* bootstrap.c - see bootstrap.h. In 2,048 dimensions a resample of FID costs n*8.4 MFLOP a side and one distance (about a second on two
 * cores), so a hundred of 10,000 pictures take minutes there; KID's shares cost n*m*d*2 and the resampling nothing. */
#include "common/metrics/bootstrap.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/metrics/frechet.h"
#include "common/metrics/kid.h"
#include "common/metrics/moments.h"
#include "common/rng/numpy_rng.h"

static int64_t draw(struct numpy_rng *r, int64_t n) {
    uint32_t top = (uint32_t)(n - 1), mask = top, v;
    if (!top)
        return 0;
    for (int s = 1; s < 32; s *= 2)
        mask |= mask >> s;
    do
        v = numpy_rng_u32(r) & mask;
    while (v > top);
    return v;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(const double *sorted, int n, double q) {
    double at = q * (n - 1);
    int i = (int)at;
    return i + 1 < n ? sorted[i] + (at - i) * (sorted[i + 1] - sorted[i]) : sorted[n - 1];
}

static struct interval around(double score, double *value, int n) {
    double mean = 0;
    for (int i = 0; i < n; i++)
        mean += value[i] / n;
    qsort(value, (size_t)n, sizeof *value, ascending);
    return (struct interval){score + quantile(value, n, 0.025) - mean, score + quantile(value, n, 0.975) - mean};
}

/* One side's means and covariances, of the draws when it has features. Returns how many different vectors are behind them. */
static int64_t resample(const struct statistics *s, const float *x, struct moments *m, struct numpy_rng *rng, double *mu, double *sigma) {
    if (!x)
        return s->count;
    char *seen = xcalloc((size_t)s->count, 1);
    int64_t different = 0;
    moments_reset(m);
    for (int64_t k = 0; k < s->count; k++) {
        int64_t i = draw(rng, s->count);
        different += !seen[i];
        seen[i] = 1;
        moments_add(m, x + i * s->dim, 1);
    }
    free(seen);
    moments_finish(m, s->biased, mu, sigma);
    return different;
}

enum status bootstrap_fid(const struct statistics *s1, const float *x1, const struct statistics *s2, const float *x2, double score,
                          int resamples, uint32_t seed, struct interval *interval, struct error *e) {
    const struct statistics *s[2] = {s1, s2};
    const float *x[2] = {x1, x2};
    size_t d = (size_t)s1->dim;
    double *mu[2], *sigma[2], *value = xmalloc((size_t)resamples * sizeof *value);
    struct moments *m = moments_create(s1->dim);
    struct numpy_rng rng;
    enum status st = ST_OK;
    numpy_rng_seed(&rng, seed);
    for (int i = 0; i < 2; i++) {
        mu[i] = x[i] ? xmalloc(d * sizeof(double)) : s[i]->mu;
        sigma[i] = x[i] ? xmalloc(d * d * sizeof(double)) : s[i]->sigma;
    }
    for (int k = 0; k < resamples && st == ST_OK; k++) {
        struct frechet f;
        int64_t n1 = resample(s1, x1, m, &rng, mu[0], sigma[0]), n2 = resample(s2, x2, m, &rng, mu[1], sigma[1]);
        st = frechet_distance(s1->dim, mu[0], sigma[0], n1, mu[1], sigma[1], n2, &f, e);
        value[k] = f.distance;
    }
    if (st == ST_OK)
        *interval = around(score, value, resamples);
    for (int i = 0; i < 2; i++)
        if (x[i]) {
            free(mu[i]);
            free(sigma[i]);
        }
    moments_free(m);
    free(value);
    return st;
}

static double mean_of_draws(const double *share, int64_t n, struct numpy_rng *rng) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += share[draw(rng, n)];
    return sum / (double)n;
}

void bootstrap_kid(const float *x, int64_t n, const float *y, int64_t m, int d, double score, int resamples, uint32_t seed,
                   struct interval *interval) {
    double *share = xmalloc((size_t)(n + m) * sizeof *share), *value = xmalloc((size_t)resamples * sizeof *value);
    struct numpy_rng rng;
    numpy_rng_seed(&rng, seed);
    kid_shares(x, n, y, m, d, share, share + n);
    for (int k = 0; k < resamples; k++) {
        value[k] = mean_of_draws(share, n, &rng);
        value[k] += mean_of_draws(share + n, m, &rng);
    }
    *interval = around(score, value, resamples);
    free(share);
    free(value);
}
