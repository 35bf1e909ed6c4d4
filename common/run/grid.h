/* grid.h - the pictures by which a training is watched: a grid of real ones, and the same grid of generated ones again and again.
 *
 * Tile i shows what `sg2-gen --seeds i --noise const` would: z of NumPy's RandomState(i), constant noise, no truncation. In a
 * conditional training each row is one class, of the reals and of the fakes alike.
 */
#ifndef FACEMILL_GRID_H
#define FACEMILL_GRID_H

#include "common/store/store.h"
#include "common/stylegan2/network.h"

struct grid;
/* As many tiles as fit a canvas of 1920 x 1080, at least 4 x 3 and at most 15 x 8. */
void grid_default_size(int res, int *columns, int *rows);

/* `size` = which of the store's sizes. batch: pictures generated at a time. The store and g_ema must outlive the grid. */
enum status grid_create(struct grid **g, struct device *d, struct sg2_net *g_ema, struct store *s, int size, int columns, int rows,
                        uint64_t seed, int batch, struct error *e);
void grid_free(struct grid *g); /* NULL is fine */

enum status grid_write_reals(struct grid *g, const char *path, struct error *e);
/* With the present weights of g_ema. */
enum status grid_write_fakes(struct grid *g, const char *path, struct error *e);

#endif
