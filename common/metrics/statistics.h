/* statistics.h - a side of a comparison in a file: mean and covariance of features, and what they were made of.
 *
 * The file is NumPy's .npz (a zip of .npy arrays): `mu` [d] and `sigma` [d,d] in float64, as the published FID tools write and
 * read them, and two more that they ignore: `count`, an int64 scalar, and `facemill`, the description below as the bytes of a JSON
 * object:   >>> z = numpy.load("a.npz"); json.loads(z["facemill"].tobytes())
 * Files without these two are read; the fields are then unknown.
 */
#ifndef FACEMILL_STATISTICS_H
#define FACEMILL_STATISTICS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/mem.h"
#include "common/base/status.h"

#define STATISTICS_MAX_DIM 8192

struct statistics {
    int dim;
    int64_t count;             /* samples, 0 = unknown */
    double *mu, *sigma;        /* [dim], [dim, dim]; owned */
    bool biased;               /* sigma was divided by count, not count - 1 */
    char features[64];         /* "inception", "dlib-face", "discriminator"; "" = unknown */
    char extractor_hash[65];   /* SHA-256 of the weight file; "" = unknown */
    char preprocessing[256];   /* in words; "" = unknown */
    char precision[16];        /* of the convolutions: "float32"; "" = unknown */
    char content_hash[65];     /* see content_hash.h; "" = unknown */
    char source[256];          /* what was read, for people */
    char pictures[192];        /* "128x128, 3 grey repeated": sizes and rules applied, for people */
    char sizes[64], codecs[128], filters[128]; /* of the pictures, see tally.h; "" = unknown */
};

void statistics_free(struct statistics *s); /* leaves {0} */

/* ST_BAD when the content is no such file, damaged, or has arrays of other shapes; ST_FAIL when it cannot be read. Numbers that
 * are not finite are refused. What a damaged file claims is checked before it is believed: memory stays below what its arrays
 * really hold. */
enum status statistics_read(struct statistics *s, const char *path, struct error *e);
enum status statistics_parse(struct statistics *s, const void *bytes, size_t size, const char *name, struct error *e);

/* Atomically (temporary name, rename). */
enum status statistics_write(const struct statistics *s, const char *path, struct error *e);

#endif
