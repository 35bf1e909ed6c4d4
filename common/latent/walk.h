/* walk.h - frames of a path through latents. Memory holds the latents that the path goes through, not its frames.
 *
 *     struct latent_walk *w;
 *     latent_walk_create(&w, LATENT_CUBIC, &keys, (struct latent_vector){0}, 240, true, &e);
 *     latent_walk_write(w, stdout, &e);               // or latent_walk_frame(w, i, row), for every i < 240
 *     latent_walk_free(w);
 *
 * Frames are equally spaced: each stretch from one latent to the next takes as long. Without a loop the first and the last frame
 * are the first and the last latent; a loop goes on from the last to the first, and ends one frame before it would be there.
 *
 *   linear     straight stretches: for w and w+
 *   spherical  each vector turns on a great circle around the origin while its length changes evenly: for z, whose vectors all
 *              have about the same length, so that the middle of a straight stretch is unlike any of them
 *   cubic      a spline through all latents, smooth in speed and acceleration; natural ends, periodic in a loop
 *   circular   the closed circle (ellipse) o + (a - o) cos t + (b - o) sin t of two latents; for z and o = 0 every frame is
 *              as normally distributed as a and b are
 */
#ifndef FACEMILL_LATENT_WALK_H
#define FACEMILL_LATENT_WALK_H

#include "common/latent/edit.h"
#include "common/latent/stream.h"

enum latent_path { LATENT_LINEAR, LATENT_SPHERICAL, LATENT_CUBIC, LATENT_CIRCULAR };
#define LATENT_PATHS "linear|spherical|cubic|circular"

struct latent_walk;
/* keys must outlive the walk. origin: of spherical and circular. ST_BAD when there are too few keys, or not two for a circle. */
enum status latent_walk_create(struct latent_walk **w, enum latent_path path, const struct latent_set *keys,
                               struct latent_vector origin, int64_t frames, bool loop, struct error *e);
void latent_walk_frame(const struct latent_walk *w, int64_t i, float *out); /* 0 <= i < frames */
enum status latent_walk_write(const struct latent_walk *w, FILE *f, struct error *e); /* all frames, as one array */
void latent_walk_free(struct latent_walk *w);                               /* NULL is fine */

#endif
