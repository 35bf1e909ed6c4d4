/* stream.h - latent streams (DESIGN: .npy arrays back to back, [N,z], [N,w] or [N,num_ws,w]) row by row, in constant memory.
 *
 * Reading:                                             A filter, array for array, a few rows at a time:
 *     struct latent_reader r;                              struct latent_filter f = {shape, rows, &context};
 *     latent_reader_open(&r, "w.npy", &e);                 latent_filter("w.npy", stdout, &f, &e);
 *     while ((st = latent_next(&r, &e)) == ST_OK)
 *         while (r.left && !st)
 *             st = latent_rows(&r, buffer, 1, &e);
 *     latent_close(&r);
 *
 * What is read is checked: shape, limits, and that every number is finite. A stream that ends within an array is ST_FAIL. Streams are
 * read by name, as file.h opens them: "-" is standard input. When a function fails it leaves nothing to close or free.
 */
#ifndef FACEMILL_LATENT_STREAM_H
#define FACEMILL_LATENT_STREAM_H

#include <stdint.h>
#include <stdio.h>

#include "common/base/status.h"
#include "common/stream/npy.h"

#define LATENT_MAX_LAYERS 64
#define LATENT_MAX_DIM 16384
#define LATENT_MAX_HELD ((int64_t)1 << 28) /* numbers that latent_load keeps, or one row of a filter becomes: 1 GiB */

struct latent_shape {
    int layers; /* 0: [N,dim], z or w; else w+, [N,layers,dim] */
    int dim;
};
int64_t latent_size(struct latent_shape s);                      /* numbers in a row */
bool latent_same(struct latent_shape a, struct latent_shape b);
const char *latent_text(struct latent_shape s, char out[32]);    /* "[N,512]" */
/* Can a row of shape v be laid on rows of shape s? As many numbers in a vector, and one vector for all layers or one for each. */
bool latent_fits(struct latent_shape v, struct latent_shape s);

/* ---- reading ---- */
struct latent_reader {
    FILE *f;
    const char *name; /* for messages; must live on */
    struct latent_shape shape; /* of the present array */
    int64_t n, left;  /* its rows, and those not yet read */
    bool vectors;     /* set by the caller: an array [D] is one row of D too */
    int64_t arrays, total; /* arrays opened and rows read so far */
    struct npy_rows npy;
};
enum status latent_reader_open(struct latent_reader *r, const char *path, struct error *e); /* path must live on */
/* The next array. ST_END at the end, ST_FAIL when it holds no latents or the end comes too early; also when there was no row at
 * all in the whole stream. */
enum status latent_next(struct latent_reader *r, struct error *e);
enum status latent_rows(struct latent_reader *r, float *out, int64_t n, struct error *e); /* n <= left, out [n,size] */
void latent_close(struct latent_reader *r); /* the file too */
/* ST_FAIL when a number in n rows is not finite; they are number `first` and on of their array. */
enum status latent_finite(const float *rows, int64_t n, int64_t size, int64_t first, const char *name, struct error *e);
/* ST_FAIL when the present array has not the shape that an earlier one had. */
enum status latent_follows(const struct latent_reader *r, struct latent_shape had, struct error *e);

/* All rows of all arrays of a stream, which must have one shape. */
struct latent_set {
    struct latent_shape shape;
    int64_t n;
    float *data; /* [n,size], owned */
};
enum status latent_load(const char *path, struct latent_set *s, struct error *e);
enum status latent_load_vectors(const char *path, struct latent_set *s, struct error *e); /* directions: [D] is one too */
void latent_set_free(struct latent_set *s); /* {0} is fine */

/* ---- writing ---- */
enum status latent_head(FILE *f, struct latent_shape s, int64_t n, struct error *e); /* n rows follow */
enum status latent_write(FILE *f, struct latent_shape s, const float *rows, int64_t n, struct error *e);
enum status latent_save(FILE *f, const struct latent_set *s, struct error *e); /* head and rows */

/* ---- filters ---- */
struct latent_filter {
    /* What an array of shape `in` becomes: shape of the rows, and how many for each row (1 before the call). May be NULL: the
     * same. ST_BAD when the filter does not take it. */
    enum status (*shape)(void *context, struct latent_shape in, struct latent_shape *out, int64_t *factor, struct error *e);
    /* in [n,size in] -> out [n*factor,size out] */
    void (*rows)(void *context, const float *in, int64_t n, float *out);
    void *context;
    int64_t batch; /* rows read at a time; 0 = by their size */
};
/* Each array of the stream becomes one array. */
enum status latent_filter(const char *path, FILE *out, const struct latent_filter *f, struct error *e);

#endif
