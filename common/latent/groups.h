/* groups.h - latents with labels, for directions that tell them apart (find.h): two streams joined, or one stream and a text with a
 * line for each latent. They are held in memory.
 *
 * Latents are z or w; w+ with one w in all layers is taken as w, other w+ has no one direction and is ST_BAD.
 */
#ifndef FACEMILL_LATENT_GROUPS_H
#define FACEMILL_LATENT_GROUPS_H

#include "common/latent/stream.h"

struct latent_groups {
    struct latent_set latents; /* [n,dim] */
    uint8_t *label;            /* [n], 1 = has the attribute */
};
/* Latents with the attribute, and without it: streams as in stream.h. */
enum status latent_groups_join(struct latent_groups *g, const char *with, const char *without, struct error *e);
/* A stream, and a text file. Its lines: a number above 0 = 1, any other number = 0, "-" = left out. */
enum status latent_groups_label(struct latent_groups *g, const char *latents, const char *labels, struct error *e);
void latent_groups_free(struct latent_groups *g); /* {0} is fine */

#endif
