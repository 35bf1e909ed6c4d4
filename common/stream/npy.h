/* npy.h - NumPy .npy arrays, one or many back to back in a stream (np.save / np.load on one file handle).
 *
 * Written as version 1.0, little-endian, C order. Read: versions 1 to 3, little- or big-endian f2 f4 f8 and integers of 1, 2,
 * 4, 8 bytes, C or Fortran order; delivered as float32 or float64 in C order. A header is parsed by a small grammar, nothing
 * is evaluated. Object arrays are refused.
 *
 * A latent stream (DESIGN section 3) is such a stream with [N,z] = z, [N,w] = w, [N,num_ws,w] = w+.
 */
#ifndef FACEMILL_NPY_H
#define FACEMILL_NPY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "common/base/mem.h"
#include "common/base/status.h"

#define NPY_MAX_DIM 6
#define NPY_MAX_BYTES ((int64_t)1 << 33) /* of one array */

struct npy {
    int ndim;
    int64_t dim[NPY_MAX_DIM];
    int64_t count; /* product of dim */
    double *f64;   /* one of the two is set, owned */
    float *f32;
};

enum npy_want { NPY_F32, NPY_F64 };

/* Next array of the stream. ST_END at a clean end of file, ST_FAIL on anything else (a latent stream cannot resynchronise). The
 * data is read in pieces as it arrives, so a lying header costs no memory. name is for messages. */
enum status npy_read(FILE *f, const char *name, enum npy_want want, struct npy *a, struct error *e);
/* The same from memory, exactly one array. */
enum status npy_parse(const void *bytes, size_t size, enum npy_want want, struct npy *a, struct error *e);
void npy_free(struct npy *a);

/* The next array row by row (a row is what one index of the first dimension holds), as float32, for arrays that are larger than
 * memory:
 *     while ((st = npy_rows_open(f, "stdin", &r, &e)) == ST_OK) {
 *         ...                                          // look at ndim, dim and row before making room for rows
 *         while (r.left > 0 && !st) { n = r.left < batch ? r.left : batch; st = npy_rows_read(&r, rows, n, &e); ... }
 *         npy_rows_close(&r);                          // before the next array all rows must have been read
 *     }
 * An array in Fortran order of two or more dimensions is read at once, and NPY_MAX_BYTES holds for it. */
struct npy_rows {
    int ndim;
    int64_t dim[NPY_MAX_DIM];
    int64_t rows; /* dim[0]; 1 when ndim = 0 */
    int64_t row;  /* elements of a row */
    int64_t left; /* rows not yet read */
    /* private */
    FILE *f;
    const char *name;
    char kind;
    int size;
    bool big;
    struct npy whole;
};
enum status npy_rows_open(FILE *f, const char *name, struct npy_rows *r, struct error *e); /* as npy_read; name must live on */
enum status npy_rows_read(struct npy_rows *r, float *out, int64_t n, struct error *e);     /* n <= left, out [n,row] */
void npy_rows_close(struct npy_rows *r);
const char *npy_rows_shape(const struct npy_rows *r, char out[160]); /* "9,12,512", for messages */

/* descr: "<f4" or "<f8" and data accordingly. */
enum status npy_write(FILE *f, const char *descr, int ndim, const int64_t *dim, const void *data, struct error *e);
/* The head only: the caller writes the data behind it, piece by piece. */
enum status npy_write_header(FILE *f, const char *descr, int ndim, const int64_t *dim, struct error *e);

#endif
