/* edit.h - changing one latent: which layers, truncating, moving, mixing. Pure functions on one row; they know no streams.
 *
 * A row is [layers,dim] (w+), or [dim] when layers = 0 (z or w). A set of layers is a bit mask, bit i = layer i. Where a
 * direction, an origin or a mean is given for w+, it may be one [dim] for all layers or one for each, [layers,dim]:
 * `per_layer` says which.
 */
#ifndef FACEMILL_LATENT_EDIT_H
#define FACEMILL_LATENT_EDIT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/status.h"
#include "common/latent/stream.h"

#define LATENT_ALL (~(uint64_t)0)

uint64_t latent_first_layers(int n); /* the mask of n layers; n < 0: of all */

/* "0-3,8" for a network of `layers` layers. ST_BAD with the reason. */
enum status latent_layers_parse(const char *text, int layers, uint64_t *mask, struct error *e);

/* Factors by layer: "0.5" for all, or "4-7=0,8=1.5" for some, the others 1. factors: [layers]. ST_BAD with the reason. */
enum status latent_factors_parse(const char *text, int layers, float *factors, struct error *e);

/* w [dim] -> w+ [layers,dim] */
void latent_broadcast(const float *w, int layers, int dim, float *out);

/* The reverse, n rows in place: false (and nothing is done) when the layers of a row differ. Rows without layers stay. */
bool latent_collapse(float *rows, int64_t n, struct latent_shape s);

/* A vector to add or measure from, of one row. */
struct latent_vector {
    const float *data; /* [dim] or [layers,dim]; NULL = zero */
    bool per_layer;
};
struct latent_vector latent_vector_of(const struct latent_set *s, int64_t i); /* row i, which s still owns; {0} of an empty set */

/* out = mean + psi*(row - mean) in the layers of the mask, copied elsewhere; psi = 1 copies everything. out may be row. */
void latent_truncate(const float *row, struct latent_shape s, struct latent_vector mean, double psi, uint64_t mask, float *out);

/* out = row + amount*direction in the layers of the mask, copied elsewhere. */
void latent_move(const float *row, struct latent_shape s, struct latent_vector direction, double amount, uint64_t mask, float *out);

/* The same, but to a place rather than by a distance: layer by layer the share of the direction d in row - origin,
 * (row - origin).d/(d.d), becomes `place`. */
void latent_place(const float *row, struct latent_shape s, struct latent_vector direction, struct latent_vector origin, double place,
                  uint64_t mask, float *out);

/* out = b in the layers of the mask, a elsewhere. */
void latent_mix(const float *a, const float *b, struct latent_shape s, uint64_t mask, float *out);

#endif
