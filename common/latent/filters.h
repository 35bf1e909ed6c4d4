/* filters.h - the filters of sg2-latent that change latents: each is a description that the caller fills in, and gives a struct
 * latent_filter for stream.h. The description must live as long as the filter runs. Row for row:
 *
 *   truncation w, w+ -> one row for each psi
 *   movement   any -> one row for each direction and amount, the amounts of the first direction first
 *   mixture    w, w+ -> one row for each column, w+
 *
 * A w becomes w+ (the same w in every layer) where layers are to differ; `num_ws` says how many there are then, and 0 that nobody
 * knows, which is an error in such a case. The filter from z to w is in model.h.
 */
#ifndef FACEMILL_LATENT_FILTERS_H
#define FACEMILL_LATENT_FILTERS_H

#include "common/latent/edit.h"
#include "common/latent/stream.h"

struct latent_truncation {
    const float *mean; /* [dim] */
    int dim, num_ws;   /* of the network */
    const double *psi;
    int n_psi, cutoff; /* < 0: all layers */
    struct latent_shape in, out; /* of the array at hand */
};
struct latent_filter latent_truncation_filter(struct latent_truncation *t);

struct latent_movement {
    struct latent_set directions; /* [K,dim] or [K,layers,dim] */
    const double *amount;
    int n_amount;
    bool absolute;            /* amounts are places along the direction, measured from the origin, not distances */
    struct latent_set origin; /* {0} or one row */
    const char *layers;       /* "0-3,8", or NULL for all */
    int num_ws;
    uint64_t mask;
    struct latent_shape in, out;
};
struct latent_filter latent_movement_filter(struct latent_movement *m);

struct latent_mixture {
    struct latent_set columns; /* w or w+ */
    const char *layers;        /* from the columns; the others are the row's */
    int num_ws;
    uint64_t mask;
    struct latent_shape in, out;
};
struct latent_filter latent_mixture_filter(struct latent_mixture *m);

#endif
