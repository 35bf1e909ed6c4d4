/* frechet.h - the Frechet distance of two Gaussians: |m1 - m2|^2 + tr S1 + tr S2 - 2 tr sqrt(S1 S2). With Inception's 2,048
 * features this is FID.
 *
 * tr sqrt(S1 S2) needs no matrix square root: with any factors S1 = L1 L1' and S2 = L2 L2' it is the sum of the singular values
 * of L2' L1. Pivoted Cholesky gives factors of the rank the matrices really have, so sets with fewer samples than
 * dimensions need no added epsilon, and nothing imaginary can appear.
 */
#ifndef FACEMILL_FRECHET_H
#define FACEMILL_FRECHET_H

#include <stdint.h>

#include "common/base/status.h"

struct frechet {
    double distance;
    double mean_term;  /* |m1 - m2|^2 */
    double trace1, trace2;
    double trace_root; /* tr sqrt(S1 S2) */
    int rank1, rank2;  /* of the covariances; below dim they are singular */
};

/* mu [dim], sigma [dim, dim] of either side. n1, n2: samples behind them, which bound the rank; 0 = unknown. ST_BAD when a
 * number is not finite or a covariance is not symmetric, ST_FAIL when LAPACK gives up. */
enum status frechet_distance(int dim, const double *mu1, const double *sigma1, int64_t n1, const double *mu2, const double *sigma2,
                             int64_t n2, struct frechet *f, struct error *e);

#endif
