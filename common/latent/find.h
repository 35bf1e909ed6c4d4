/* find.h - finding directions: from a network's weights, from many latents, from two groups of them, to vectors of length 1 that can be
 * written, with a line for people on what they are worth. The mathematics is in direction.h.
 *
 *     struct latent_found f;
 *     latent_find_in_weights(net, LATENT_ALL, 10, &f, &e);
 *     ... f.directions, f.worth
 *     latent_set_free(&f.directions);
 *
 * When a function fails there is nothing to free.
 */
#ifndef FACEMILL_LATENT_FIND_H
#define FACEMILL_LATENT_FIND_H

#include <stdbool.h>

#include "common/latent/direction.h"
#include "common/latent/groups.h"

struct latent_found {
    struct latent_set directions; /* [K,dim], owned */
    char worth[160];              /* "5 directions hold 61.3 % of the variance, the first 20.1 %"; "" = not known */
};

/* SeFa: `count` directions (at most w_dim) that change most of what the style weights of the mask's layers make. ST_BAD when these
 * layers feed no convolution. */
enum status latent_find_in_weights(const struct sg2_net *g, uint64_t mask, int count, struct latent_found *f, struct error *e);

/* The first `count` principal components (at most dim, and one less than there are rows). m, to which all rows have been
 * added, is finished and its gram overwritten. ST_BAD when there are fewer than two rows. */
enum status latent_find_in_moments(struct latent_moments *m, int count, struct latent_found *f, struct error *e);

/* One direction, towards those that have the attribute: between the means, or by logistic regression. ST_BAD when the groups do not
 * tell one. judge: say how many latents fall on their side, for which five more regressions are made. */
enum status latent_find_difference(const struct latent_groups *g, struct latent_found *f, struct error *e);
enum status latent_find_logistic(const struct latent_groups *g, bool judge, struct latent_found *f, struct error *e);

#endif
