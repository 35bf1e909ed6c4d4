/* slice.h - a range of one dimension.
 *
 * in[0] x, out[0] y; a.i = {axis, start, length}: y[.., i, ..] = x[.., start + i, ..]. Any element type.
 */
#ifndef FACEMILL_KERNELS_SLICE_H
#define FACEMILL_KERNELS_SLICE_H

#include "kernels/backend.h"

extern const struct kernel kernel_slice_cpu, kernel_slice_cuda;

#endif
