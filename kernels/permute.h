/* permute.h - dimensions in another order.
 *
 * in[0] x, out[0] y; a.i[0..ndim-1] = order: y's dimension i is x's dimension order[i]. Any element type.
 */
#ifndef FACEMILL_KERNELS_PERMUTE_H
#define FACEMILL_KERNELS_PERMUTE_H

#include "kernels/backend.h"

extern const struct kernel kernel_permute_cpu, kernel_permute_cuda;

#endif
