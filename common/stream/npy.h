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

/* descr: "<f4" or "<f8" and data accordingly. */
enum status npy_write(FILE *f, const char *descr, int ndim, const int64_t *dim, const void *data, struct error *e);
/* The head only: the caller writes the data behind it, piece by piece. */
enum status npy_write_header(FILE *f, const char *descr, int ndim, const int64_t *dim, struct error *e);

#endif
