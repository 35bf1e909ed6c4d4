/* random_uniform.h - uniform numbers in (0, 1), the same on every device (common/rng/philox.h).
 *
 * in[0] key U64 [2] = {seed, index of row 0}, out[0] y F32; a.i[0] = use. Row n of the first dimension is the stream (seed,
 * key[1] + n, use), or with a key [rows,2] the stream (key[n][0], key[n][1], use); blocks 0, 1, ...; block b gives elements
 * 4b .. 4b+3 of the row.
 */
#ifndef FACEMILL_KERNELS_RANDOM_UNIFORM_H
#define FACEMILL_KERNELS_RANDOM_UNIFORM_H

#include "kernels/backend.h"

extern const struct kernel kernel_random_uniform_cpu, kernel_random_uniform_cuda;

#endif
