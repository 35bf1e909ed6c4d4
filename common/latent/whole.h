/* whole.h - what needs every row of a latent stream before it can answer: mean, statistics, joining. Rows are not held in memory
 * (joining keeps them in a temporary file).
 */
#ifndef FACEMILL_LATENT_WHOLE_H
#define FACEMILL_LATENT_WHOLE_H

#include "common/latent/direction.h"
#include "common/latent/stream.h"

/* The mean of all rows of all arrays, which must have one shape. *mean: [size], the caller frees. */
enum status latent_mean(FILE *f, const char *name, struct latent_shape *s, float **mean, struct error *e);

/* Second moments of z or w, or of w+ with one w in all layers; see direction.h. On ST_OK the caller frees m. */
enum status latent_add_moments(FILE *f, const char *name, struct latent_moments *m, struct error *e);

/* Of one array: over all numbers, and the mean Euclidean length of a row (w+: of a layer's vector). NaN when it has no rows. */
struct latent_statistics {
    double mean, deviation, min, max, length;
};
enum status latent_describe(struct latent_reader *r, struct latent_statistics *s, struct error *e);

/* Streams of one shape joined into one array, whose head needs the number of rows. */
struct latent_spool;
enum status latent_spool_open(struct latent_spool **s, struct error *e);
enum status latent_spool_add(struct latent_spool *s, FILE *f, const char *name, struct error *e);
/* All rows, or those of a list in its order (pick NULL: all). ST_BAD when there is no such row. */
enum status latent_spool_write(struct latent_spool *s, FILE *out, const uint64_t *pick, size_t n_pick, struct error *e);
void latent_spool_close(struct latent_spool *s); /* NULL is fine */

#endif
