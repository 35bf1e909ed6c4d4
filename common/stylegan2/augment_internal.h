/* augment_internal.h - shared by augment.c (graph) and augment_draw.c (host draws). */
#ifndef FACEMILL_AUGMENT_INTERNAL_H
#define FACEMILL_AUGMENT_INTERNAL_H

#include "common/stylegan2/augment.h"

struct augment {
    struct augment_config config;
    struct device *device;
    int batch, res, channels;
    bool geometry, colour, filter, noise, cutout; /* groups with any multiplier above zero */
    double bank[AUGMENT_BANDS][AUGMENT_BAND_TAPS];
    /* One buffer of F32, a block per quantity; offsets in floats, multiples of 64. */
    int64_t at_theta;      /* [N,2,3] sampling positions for affine_sample */
    int64_t at_matrix;     /* [N,C,C] colours out = matrix * in + offset */
    int64_t at_offset;     /* [N,C] */
    int64_t at_taps;       /* [N,43] */
    int64_t at_sigma;      /* [N] */
    int64_t at_keep_x;     /* [N,W] 1 outside the cutout box's columns, else 0 */
    int64_t at_keep_y;     /* [N,H] */
    int64_t floats;
    float *host;
    struct buffer *draws;  /* [floats] */
    struct buffer *key;    /* U64 [2], for the noise */
    struct buffer *filter_geom; /* [12] */
};

/* Sizes of the geometric resampling, see augment.c. */
#define GEOM_PAD (AUGMENT_GEOM_TAPS / 4) /* pixels kept around the output for the second filter */
static inline int augment_padded(const struct augment *a) { return 3 * a->res - 2; }

#endif
