/* noise_maps.h - the noise maps of projected pictures, gathered batch by batch and written as one file.
 *
 *     struct noise_maps *m = noise_maps_create(&config);
 *     noise_maps_add(m, projector, n) ...                   // after each batch
 *     noise_maps_write(m, "maps.safetensors", network, &e);
 *     noise_maps_free(m);
 *
 * They are held in memory until they are written: 175 kB a picture at 128x128, 11 MB at 1024x1024.
 */
#ifndef FACEMILL_NOISE_MAPS_H
#define FACEMILL_NOISE_MAPS_H

#include "common/stylegan2/projector.h"

struct noise_maps;
struct noise_maps *noise_maps_create(const struct sg2_config *config);
void noise_maps_free(struct noise_maps *m); /* NULL is fine */

/* Those of the n pictures that the projector has at hand. */
void noise_maps_add(struct noise_maps *m, struct projector *p, int n);

/* A safetensors file in which each layer's maps are named as the network's own, whose place they can take: F32 [r,r] for a single
 * picture, [N,r,r] for N of them. network: SHA-256 of its file, hex, for the metadata. Replaced as a whole; ST_FAIL when it cannot be
 * written. Nothing is written, and ST_OK, when no picture was added. */
enum status noise_maps_write(const struct noise_maps *m, const char *path, const char *network, struct error *e);

#endif
