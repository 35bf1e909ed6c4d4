/* kid.h - Kernel Inception Distance: the unbiased estimate of the squared maximum mean discrepancy under the cubic kernel
 * k(x, y) = (x.y/d + 1)^3 (Binkowski et al. 2018). Float64 throughout: the estimate is a small difference of averages.
 */
#ifndef FACEMILL_KID_H
#define FACEMILL_KID_H

#include <stdint.h>

#include "common/base/status.h"

/* One block: x [n, d], y [m, d], n and m at least 2. */
double kid_block(const float *x, int64_t n, const float *y, int64_t m, int d);

struct kid {
    double mean, std; /* over the subsets; std with divisor `subsets` */
    int subsets;
    int64_t subset_size;
};

/* The mean over `subsets` draws of subset_size vectors from each side, without replacement; drawn as torch-fidelity draws them
 * (NumPy RandomState(seed).choice, x before y in every subset). ST_BAD when a side has fewer than subset_size vectors. */
enum status kid_subsets(const float *x, int64_t n, const float *y, int64_t m, int d, int subsets, int64_t subset_size, uint32_t seed,
                        struct kid *k, struct error *e);

/* Each vector's share of the estimate with all of them: hx[i] = 2 (mean over j != i of k(x_i, x_j) - mean over j of k(x_i, y_j)), hy
 * [m] likewise. To first order a resample's estimate is off by the mean of its vectors' shares less the mean of all shares. */
void kid_shares(const float *x, int64_t n, const float *y, int64_t m, int d, double *hx, double *hy);

#endif
