/* random_normal.h - normal numbers, the same on every device (common/rng/philox.h).
 *
 * in[0] key U64 [2] = {seed, index of row 0}, out[0] y F32; a.i[0] = use. Row n of the first dimension is the stream (seed,
 * key[1] + n, use), or with a key [rows,2] the stream (key[n][0], key[n][1], use); blocks 0, 1, ...; block b gives elements
 * 4b .. 4b+3 of the row by Box-Muller on the pairs of words (0,1) and (2,3): r = sqrt(-2 ln u0), then r cos(2 pi u1),
 * r sin(2 pi u1).
 */
#ifndef FACEMILL_KERNELS_RANDOM_NORMAL_H
#define FACEMILL_KERNELS_RANDOM_NORMAL_H

#include "kernels/backend.h"

extern const struct kernel kernel_random_normal_cpu, kernel_random_normal_cuda;

#endif
