/* affine_position.h - where affine_sample reads: one function for the kernel and its adjoint, so that they agree to the bit. */
#ifndef FACEMILL_KERNELS_AFFINE_POSITION_H
#define FACEMILL_KERNELS_AFFINE_POSITION_H

#include <math.h>
#include <stdint.h>

struct corners {
    int64_t pixel[4]; /* h*W + w; meaningful where the weight is not zero */
    float weight[4];  /* 0 outside the picture */
};

#ifdef __CUDACC__
#define AFFINE_FN __device__ static inline
#else
#define AFFINE_FN static inline
#endif

/* Where output (p,q) reads: between pixels. */
AFFINE_FN void affine_place(const float theta[6], int64_t p, int64_t q, int64_t P, int64_t Q, int64_t H, int64_t W, float *column, float *row)
{
    float u = (float)(2 * q + 1) / (float)Q - 1.0f, v = (float)(2 * p + 1) / (float)P - 1.0f;
    *column = ((theta[0] * u + theta[1] * v + theta[2] + 1.0f) * (float)W - 1.0f) * 0.5f;
    *row = ((theta[3] * u + theta[4] * v + theta[5] + 1.0f) * (float)H - 1.0f) * 0.5f;
}

AFFINE_FN struct corners affine_corners(const float theta[6], int64_t p, int64_t q, int64_t P, int64_t Q, int64_t H, int64_t W)
{
    struct corners k = {{0}, {0}};
    float column, row;
    affine_place(theta, p, q, P, Q, H, W, &column, &row);
    if (!(fabsf(column) < 1e6f && fabsf(row) < 1e6f)) /* also catches NaN: the casts below are defined */
        return k;
    float left = floorf(column), top = floorf(row), fx = column - left, fy = row - top;
    int64_t w = (int64_t)left, h = (int64_t)top;
    if (h >= 0 && h + 1 < H && w >= 0 && w + 1 < W) { /* nearly always */
        k.pixel[0] = h * W + w, k.pixel[1] = k.pixel[0] + 1, k.pixel[2] = k.pixel[0] + W, k.pixel[3] = k.pixel[2] + 1;
        k.weight[0] = (1.0f - fy) * (1.0f - fx), k.weight[1] = (1.0f - fy) * fx;
        k.weight[2] = fy * (1.0f - fx), k.weight[3] = fy * fx;
        return k;
    }
    for (int j = 0; j < 4; j++) {
        int64_t hj = h + (j >> 1), wj = w + (j & 1);
        if (hj < 0 || hj >= H || wj < 0 || wj >= W)
            continue;
        k.pixel[j] = hj * W + wj;
        k.weight[j] = (j >> 1 ? fy : 1.0f - fy) * (j & 1 ? fx : 1.0f - fx);
    }
    return k;
}

static inline void add_pixel(float *to, float weight, const float *from, int64_t C)
{
    if (C == 3) { /* the case that counts */
        to[0] += weight * from[0], to[1] += weight * from[1], to[2] += weight * from[2];
        return;
    }
#pragma omp simd
    for (int64_t i = 0; i < C; i++)
        to[i] += weight * from[i];
}

#endif
