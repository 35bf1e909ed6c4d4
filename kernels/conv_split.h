/* conv_split.h - float32 products on tensor cores: a number as the sum of two that TF32 (11 significant bits, the exponent of float32)
 * holds exactly.
 *
 *     x = high + low + r, |r| <= 2^-23 |x|      x w = high high' + high low' + low high' + error, |error| <= 2^-21 |x w|
 *
 * A convolution is so three TF32 convolutions; laid side by side along what it sums over (input channels; output channels for the
 * input's gradient; pictures for the weights') they are one, which adds up in float32:
 *     a = (high, low, high) of one operand, b = (low, high, high) of the other
 * small terms first: tensor cores cut off what does not fit beside a sum, and a sum that is still small loses less.
 * Values from 2^127.99 on, infinities and NaNs give NaN. One source for the CUDA kernel and for the test on the CPU.
 */
#ifndef FACEMILL_KERNELS_CONV_SPLIT_H
#define FACEMILL_KERNELS_CONV_SPLIT_H

#include <stdint.h>
#include <string.h>

#ifdef __CUDACC__
#define SPLIT_FN __host__ __device__ static inline
#else
#define SPLIT_FN static inline
#endif

enum split_order { SPLIT_HLH, SPLIT_LHH };
/* Which of the three parts is the low one. */
SPLIT_FN int split_low(enum split_order order)
{
    return order == SPLIT_HLH ? 1 : 0;
}

/* To the nearest TF32 number, ties to even. */
SPLIT_FN float split_round(float x)
{
    uint32_t u;
    memcpy(&u, &x, 4);
    u = (u + 0xfffu + (u >> 13 & 1)) & ~0x1fffu;
    memcpy(&x, &u, 4);
    return x;
}

SPLIT_FN void split_two(float x, float *high, float *low)
{
    *high = split_round(x);
    *low = split_round(x - *high); /* the difference is exact */
}

#endif
