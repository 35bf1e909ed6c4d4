/* prepare.h - pictures as a network wants them: resized in float32 by a named rule, then scaled. Scores depend on this step as much
 * as on the network (Parmar et al. 2022), so the rule has a name that every report and cache key carries.
 *
 *   tf1      as TensorFlow 1's resize_bilinear inside the 2015 graph: two neighbours, no antialiasing, source = target * in/out;
 *            (x - 128)/128. What the first FID code does.
 *   pytorch  as pytorch-fid: two neighbours, no antialiasing, pixel centres aligned (align_corners = False); 2x/255 - 1.
 *   clean    as clean-fid: Pillow's antialiased bicubic filter on floats, without rounding to 8 bits; (x - 128)/128.
 *
 * Every rule is linear and separable, so an axis is a sparse matrix: prepare_axis makes it, prepare_matrix writes it out in full for
 * devices that would rather multiply matrices.
 */
#ifndef FACEMILL_PREPARE_H
#define FACEMILL_PREPARE_H

#include "common/image/image.h"

enum resize_rule { RESIZE_TF1, RESIZE_PYTORCH, RESIZE_CLEAN, RESIZE_TRIANGLE }; /* the last: antialiased, for dlib's face cut */
#define RESIZE_RULES "tf1|pytorch|clean" /* in enum order, for CLI_CHOICE */

/* Target i of `size` is the sum over k < n[i] of weight[i*most + k] * source[first[i] + k]. */
struct prepare_axis {
    int in, size, most;
    int *first, *n; /* [size] */
    float *weight;  /* [size, most] */
};
/* Of the part from..to of `in` source pixels. tf1 and pytorch take the whole axis only (from = 0, to = in). */
void prepare_axis(struct prepare_axis *a, int in, double from, double to, int size, enum resize_rule rule);
void prepare_axis_free(struct prepare_axis *a);
/* out [in*channels, size*channels]: row-major, for [.., in*channels] x out; channels of one pixel stay apart. */
void prepare_matrix(const struct prepare_axis *a, int channels, float *out);

/* Scaling after resizing: out = scale * x + offset, x in 0..255. */
struct prepare {
    enum resize_rule rule;
    int side;
    float scale, offset;
};
/* For Inception: side 299 and the scaling that belongs to the rule. */
struct prepare prepare_inception(enum resize_rule rule);
const char *prepare_describe(const struct prepare *p, char *text, int room); /* in words, for reports and cache keys */

/* picture: 3 channels. out [side, side, 3]. */
void prepare_picture(const struct prepare *p, const struct image *picture, float *out);
/* The same for floats [height, width, 3] in 0..255. */
void prepare_float(const struct prepare *p, const float *picture, int width, int height, float *out);
/* Floats [height, width, 3] by two axes of one's own: out [y->size, x->size, 3]. */
void prepare_resize(const float *picture, int width, const struct prepare_axis *x, const struct prepare_axis *y, float *out);

#endif
