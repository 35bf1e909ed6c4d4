/* pad.h - zeros before and after along one dimension.
 *
 * in[0] x, out[0] y; a.i = {axis, before, after}, both >= 0: y[.., before + i, ..] = x[.., i, ..], else 0. Any element type.
 */
#ifndef FACEMILL_KERNELS_PAD_H
#define FACEMILL_KERNELS_PAD_H

#include "kernels/backend.h"

extern const struct kernel kernel_pad_cpu, kernel_pad_cuda;

#endif
