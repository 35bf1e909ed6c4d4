/* moments.h - mean and covariance of a stream of feature vectors, in float64 and constant memory.
 *
 *     struct moments *m = moments_create(2048);
 *     moments_add(m, features, n);              // [n, 2048], as often as wanted
 *     moments_finish(m, false, mu, sigma);      // [2048], [2048, 2048]
 *
 * Rows are gathered in blocks of MOMENTS_BLOCK and added with one symmetric rank-k update each, so the result depends on the order
 * of the vectors alone, not on how many arrive in one call. Sums are taken about the first vector: features lie far from zero
 * compared with their spread, and the sum of squares would lose those digits. 33.6 MB for 2,048 numbers.
 */
#ifndef FACEMILL_MOMENTS_H
#define FACEMILL_MOMENTS_H

#include <stdbool.h>
#include <stdint.h>

#define MOMENTS_BLOCK 256

struct moments;

struct moments *moments_create(int dim);
void moments_free(struct moments *m); /* NULL is fine */
void moments_reset(struct moments *m); /* as created */
void moments_add(struct moments *m, const float *rows, int64_t n); /* [n, dim] */
int64_t moments_count(const struct moments *m);

/* mu [dim], sigma [dim, dim] symmetric. The divisor is n - 1, or n when `biased`. Needs one vector, or two when not biased (asserted).
 * More vectors may be added afterwards. */
void moments_finish(struct moments *m, bool biased, double *mu, double *sigma);

#endif
