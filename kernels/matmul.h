/* matmul.h - matrix product, two-dimensional or batched.
 *
 * in[0] a [M,K] ([K,M] when ta), in[1] b [K,N] ([N,K] when tb), out[0] y [M,N]; a.i[0] = ta, [1] = tb.
 *     y[m,n] = sum over k of a[m,k] * b[k,n]
 * Three dimensions: batched over the first; an operand whose first dimension is 1 is shared by all products.
 */
#ifndef FACEMILL_KERNELS_MATMUL_H
#define FACEMILL_KERNELS_MATMUL_H

#include "kernels/backend.h"

extern const struct kernel kernel_matmul_cpu, kernel_matmul_cuda;

#endif
