/* philox.h - Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): random numbers as a
 * pure function of (seed, stream, position), so that no result depends on threads, batch split or rank.
 *
 * Convention of this project: key = seed (64 bits); counter = {block, use, index low, index high}. `index` is the image index
 * (or step), `use` says what the numbers are for (enum in the module that draws them), `block` counts groups of four.
 * CUDA kernels use the same header-only core, so both backends draw the same bits.
 */
#ifndef FACEMILL_PHILOX_H
#define FACEMILL_PHILOX_H

#include <stdint.h>

#ifdef __CUDACC__
#define PHILOX_FN __host__ __device__ static inline
#else
#define PHILOX_FN static inline
#endif

PHILOX_FN void philox4x32(uint64_t seed, uint64_t index, uint32_t use, uint32_t block, uint32_t out[4]) {
    uint32_t c0 = block, c1 = use, c2 = (uint32_t)index, c3 = (uint32_t)(index >> 32);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

/* In (0, 1): never 0 and never 1. 23 bits and a half, the most that float32 holds without rounding up to 1. */
PHILOX_FN float philox_unit(uint32_t bits) { return ((float)(bits >> 9) + 0.5f) * (1.0f / 8388608.0f); }

#ifndef __CUDACC__
/* n numbers of (seed, index, use), block 0 onwards. Normal by Box-Muller in float64, so CPU results do not depend on libm's
 * float variants. */
void philox_fill_uniform(uint64_t seed, uint64_t index, uint32_t use, float *out, int64_t n);
void philox_fill_normal(uint64_t seed, uint64_t index, uint32_t use, float *out, int64_t n);
#endif

#endif
