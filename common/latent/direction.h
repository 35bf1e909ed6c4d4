/* direction.h - directions in latent space: of a network's weights, of many latents, of two groups of latents. Pure functions on
 * arrays; they know no streams. Every direction has length 1.
 */
#ifndef FACEMILL_LATENT_DIRECTION_H
#define FACEMILL_LATENT_DIRECTION_H

#include <stdint.h>

#include "common/base/status.h"
#include "common/stylegan2/network.h"

/* Sum over the layers of the mask of A'A, where A [channels,w_dim] is the style weight ("affine.weight") of the convolution that the
 * layer feeds (Shen and Zhou, "Closed-form factorization of latent semantics in GANs", CVPR 2021). Layer 0 feeds b4.conv1, layers
 * 2k-1 and 2k conv0 and conv1 of resolution 4*2^k; the last layer feeds a ToRGB only and has none. gram: [w_dim,w_dim].
 * *channels: rows of all A. ST_BAD when the mask holds no convolution. */
enum status latent_style_gram(const struct sg2_net *g, uint64_t mask, double *gram, int *channels, struct error *e);

/* Second moments of latents, a few rows at a time: {.dim = D}, then add, then finish, which makes sum the mean and gram the
 * covariance (divided by n). */
struct latent_moments {
    int dim;
    int64_t n;
    double *sum;  /* [dim] */
    double *gram; /* [dim,dim]; the upper triangle until finished */
};
void latent_moments_start(struct latent_moments *m, int dim);
void latent_moments_add(struct latent_moments *m, const float *rows, int64_t n);
void latent_moments_finish(struct latent_moments *m);
void latent_moments_free(struct latent_moments *m);

/* The `count` eigenvectors of the largest eigenvalues of a symmetric matrix [dim,dim], as rows of out [count,dim], and the values.
 * The sign is such that the largest component is positive. gram is overwritten. */
enum status latent_eigen(double *gram, int dim, int count, float *out, double *value, struct error *e);

/* From the mean of the rows with label 0 to that of the rows with label 1. x [n,dim]. *distance: between the means. ST_BAD when a
 * group is empty or the means are equal. */
enum status latent_difference(const float *x, int64_t n, int dim, const uint8_t *label, float *direction, double *distance,
                              struct error *e);

/* Logistic regression of the label (0 or 1): a row belongs to 1 when row.direction > offset. The sum of log losses plus half the
 * squared length of the weights, on latents that were centred and divided by their standard deviation (one for all components),
 * is minimised by Newton's method; the offset is not penalised. Rows i with i % 5 == left_out are not looked at (-1: all are). */
struct latent_boundary {
    float *direction; /* [dim], given by the caller */
    double offset;
};
enum status latent_logistic(const float *x, int64_t n, int dim, const uint8_t *label, int left_out, struct latent_boundary *b,
                            struct error *e);
/* How many rows fall on their side of a boundary. */
int64_t latent_right_side(const float *x, int64_t n, int dim, const uint8_t *label, const struct latent_boundary *b);
/* How many fall on their side of a boundary that was fitted without them: five fits, each without one fifth. -1 when a group is too
 * small for that. */
int64_t latent_held_out(const float *x, int64_t n, int dim, const uint8_t *label);

#endif
