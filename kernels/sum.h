/* sum.h - sums over some dimensions.
 *
 * in[0] x (F32, F16 or BF16; the CPU: F32), out[0] y F32, x's shape with 1 in the dimensions of the mask a.i[0].
 *     y[kept] = sum over the dimensions in the mask of x
 * Accumulated in float64 (CPU), in an order that depends on the shape alone.
 */
#ifndef FACEMILL_KERNELS_SUM_H
#define FACEMILL_KERNELS_SUM_H

#include "kernels/backend.h"

extern const struct kernel kernel_sum_cpu, kernel_sum_cuda;

#endif
