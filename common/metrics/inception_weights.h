/* inception_weights.h - where Inception's weights come from, and what they are, whatever file holds them.
 *
 * Three kinds of file, told by content: the published PyTorch state dictionary (.pth), safetensors with the same names, and the
 * frozen TensorFlow graph of 2015-12-05 (.pb) that both go back to. Names here are PyTorch's ("Mixed_5b.branch1x1.conv.weight"); the
 * graph's nodes ("mixed/conv/conv2d_params") are found from them by rule, and its [height, width, in, out] become [out, in,
 * height, width]. Nothing in any of the files is executed.
 */
#ifndef FACEMILL_INCEPTION_WEIGHTS_H
#define FACEMILL_INCEPTION_WEIGHTS_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

struct inception_weights;

/* Where the weights are: `given` (--inception) or $FACEMILL_INCEPTION when set, else the published names (or those ending in
 * .safetensors) in $FACEMILL_MODELS, ./models or the installed models. ST_FAIL with one line that says what is missing and where it
 * is published. */
enum status inception_find(const char *given, char *path, size_t room, struct error *e);

enum status inception_weights_open(struct inception_weights **w, const char *path, struct error *e);
void inception_weights_close(struct inception_weights *w); /* NULL is fine */

/* Tensor NAME, which must have exactly the dimensions dim (0 = any of 1..8, which is filled in; -1 ends them), as floats that the
 * caller frees. NULL and an error when it is not so. */
float *inception_weights_get(const struct inception_weights *w, int64_t dim[4], struct error *e, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
