/* groups.h - latents with labels, for directions that tell them apart (direction.h): two sets joined, or one set and a text with a
 * line for each latent.
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
/* Both sets are emptied. Names are for messages. */
enum status latent_groups_join(struct latent_groups *g, struct latent_set *with, const char *with_name, struct latent_set *without,
                               const char *without_name, struct error *e);
/* Lines: a number above 0 = 1, any other number = 0, "-" = left out. The set is emptied. */
enum status latent_groups_label(struct latent_groups *g, struct latent_set *s, const char *name, FILE *labels, const char *labels_name,
                                struct error *e);
void latent_groups_free(struct latent_groups *g); /* {0} is fine */

#endif
