/* whole.h - what needs every row of a latent stream before it can answer: mean, statistics, joining. Rows are not held in memory
 * (joining keeps them in a temporary file).
 */
#ifndef FACEMILL_LATENT_WHOLE_H
#define FACEMILL_LATENT_WHOLE_H

#include <stdbool.h>

#include "common/latent/direction.h"
#include "common/latent/stream.h"

/* The mean of all rows of all arrays, which must have one shape: a set of one row, to be freed by latent_set_free. */
enum status latent_mean(const char *path, struct latent_set *mean, struct error *e);

/* Second moments of z or w, or of w+ with one w in all layers; see direction.h. On ST_OK the caller frees m. */
enum status latent_add_moments(const char *path, struct latent_moments *m, struct error *e);

/* Writes a line on each array of a stream to out, of text or JSON: its shape; mean, deviation and extremes of all numbers; the mean
 * Euclidean length of a row (w+: of a layer's vector). Zeros when it has no rows: JSON has no NaN. heading: the stream's name
 * comes first, on a line. Errors of writing are left in out. */
enum status latent_describe(const char *path, bool heading, bool json, FILE *out, struct error *e);

/* Streams of one shape joined into one array, whose head needs the number of rows. */
struct latent_spool;
enum status latent_spool_open(struct latent_spool **s, struct error *e);
enum status latent_spool_add(struct latent_spool *s, const char *path, struct error *e);
/* All rows, or those of a list in its order (pick NULL: all). ST_BAD when there is no such row. */
enum status latent_spool_write(struct latent_spool *s, FILE *out, const uint64_t *pick, size_t n_pick, struct error *e);
void latent_spool_close(struct latent_spool *s); /* NULL is fine */

#endif
