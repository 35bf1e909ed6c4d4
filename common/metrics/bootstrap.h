/* bootstrap.h - how far a score would scatter if the pictures had been others of the same kind: 95 % intervals from resampling.
 *
 * FID     every resample draws as many feature vectors as there are, with replacement, on each side that has them (a side known by
 *         its statistics stays as it is), and computes means, covariances and distance anew.
 * KID     to first order: each picture's own share of the estimate is known from one pass over all pairs (the estimate is a
 *         U-statistic), and the shares are resampled, which costs nothing.
 *
 * A resample has fewer different pictures than its set, so FID's resamples lie above the score by about as much as the score lies above
 * FID of infinitely many. The interval is that of the resamples' scatter laid around the score: score + (quantile - mean of the resamples).
 * It says nothing about the bias. Draws are NumPy's: RandomState(seed).randint(0, n, n), for FID reference before scored in each
 * resample, for KID with a generator of its own.
 */
#ifndef FACEMILL_BOOTSTRAP_H
#define FACEMILL_BOOTSTRAP_H

#include <stdint.h>

#include "common/base/status.h"
#include "common/metrics/statistics.h"

struct interval {
    double low, high;
};

/* x1, x2 [count, dim]: the features behind the statistics, NULL = that side is not resampled. */
enum status bootstrap_fid(const struct statistics *s1, const float *x1, const struct statistics *s2, const float *x2, double score,
                          int resamples, uint32_t seed, struct interval *i, struct error *e);
/* x [n, d], y [m, d], at least two each. */
void bootstrap_kid(const float *x, int64_t n, const float *y, int64_t m, int d, double score, int resamples, uint32_t seed,
                   struct interval *i);

#endif
