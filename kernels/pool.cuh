/* pool.cuh - the common part of maxpool2d and avgpool2d.
 *
 * Inception's windows are 3 x 3 at strides 1 and 2 over 8 to 147 pixels a side. Their cost is to be that of reading and writing once:
 * a thread takes 16 bytes of channels and a tile of outputs, TILE_P rows of TILE_Q, and walks down the input rows, so that a pixel it has
 * loaded serves every window of the tile; what neighbouring tiles share comes from the caches (2.7 loads an output at stride 1, of
 * which memory sees one). One thread an element with 64-bit divisions, as it was, ran at 186 GB/s: the divisions were the time. Other
 * windows, odd channel counts and odd addresses take one output a thread, vectors where they fit.
 *
 * Sums are float32 in the order of rows and columns, whatever the tile, and a mean is rounded once: every way gives the same bits.
 */
#ifndef FACEMILL_POOL_CUH
#define FACEMILL_POOL_CUH

#include <string.h>

#include "kernels/cuda.h"

#define TILE_P 4
#define TILE_Q 2

struct pool_shape {
    int N, H, W, C, P, Q; /* C, and what is counted in it, in elements */
    int size, stride, pad;
};

/* V elements that are loaded and stored at once. */
template <typename T, int V> struct alignas(sizeof(T) * V) pool_vector {
    T e[V];
};

template <bool MAX> __device__ static inline float pool_join(float v, float e) { return MAX ? fmaxf(v, e) : v + e; }

/* v / count, correctly rounded (Markstein: the remainder is exact and inverse the rounded reciprocal), in a third of a division's time. */
__device__ static inline float pool_mean(float v, float count, float inverse) {
    float q = v * inverse, rest = fmaf(-q, count, v);
    return rest == rest ? fmaf(rest, inverse, q) : q; /* infinities */
}

/* Pixels of a window at `first` that lie inside 0 .. n - 1. */
__device__ static inline int pool_inside(int first, int size, int n) { return min(first + size, n) - max(first, 0); }

template <bool MAX, typename T, int V> __device__ static inline void pool_store(T *y, const float *v, int count) {
    pool_vector<T, V> out;
    float inverse = 1.0f / (float)count;
#pragma unroll
    for (int k = 0; k < V; k++)
        out.e[k] = from_float<T>(MAX ? v[k] : pool_mean(v[k], (float)count, inverse));
    *(pool_vector<T, V> *)y = out;
}

/* Work item i: channels fastest, then tiles along the row, down the picture, pictures. Everything is unrolled, so `sum` stays in
 * registers, three rows of it at a time. Loads stand behind no condition, so that many are under way: outside the picture they take the
 * border, which every window that reaches there has in it and a maximum may see twice, and a mean takes 0 for it. */
template <bool MAX, typename T, int V, int SIZE, int STRIDE>
__device__ static inline void pool_tile(const T *x, T *y, const pool_shape &s, unsigned i) {
    static_assert(sizeof(T) * V == 16, "16 bytes are loaded");
    const int COLUMNS = (TILE_Q - 1) * STRIDE + SIZE, ROWS = (TILE_P - 1) * STRIDE + SIZE;
    unsigned vectors = s.C / V, across = (s.Q + TILE_Q - 1) / TILE_Q, down = (s.P + TILE_P - 1) / TILE_P;
    int c = (int)(i % vectors) * V, q0 = (int)(i / vectors % across) * TILE_Q;
    i /= vectors * across;
    int p0 = (int)(i % down) * TILE_P, h0 = p0 * STRIDE - s.pad, w0 = q0 * STRIDE - s.pad;
    x += (size_t)(i / down) * s.H * s.W * s.C + c;
    y += (size_t)(i / down) * s.P * s.Q * s.C + c;
    float sum[TILE_P][TILE_Q][V];
#pragma unroll
    for (int p = 0; p < TILE_P; p++)
#pragma unroll
        for (int q = 0; q < TILE_Q; q++)
#pragma unroll
            for (int k = 0; k < V; k++)
                sum[p][q][k] = MAX ? -INFINITY : 0;
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        int h = h0 + r;
        const T *row = x + min(max(h, 0), s.H - 1) * s.W * s.C;
        pool_vector<T, V> in[COLUMNS];
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) {
            uint4 bits = *(const uint4 *)(row + min(max(w0 + j, 0), s.W - 1) * s.C);
            if (!MAX) {
                bool there = h >= 0 && h < s.H && w0 + j >= 0 && w0 + j < s.W;
                bits = make_uint4(there ? bits.x : 0, there ? bits.y : 0, there ? bits.z : 0, there ? bits.w : 0);
            }
            memcpy(&in[j], &bits, 16);
        }
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) {
#pragma unroll
            for (int k = 0; k < V; k++) {
                float e = to_float(in[j].e[k]);
#pragma unroll
                for (int p = 0; p < TILE_P; p++)
#pragma unroll
                    for (int q = 0; q < TILE_Q; q++)
                        if (r >= p * STRIDE && r < p * STRIDE + SIZE && j >= q * STRIDE && j < q * STRIDE + SIZE)
                            sum[p][q][k] = pool_join<MAX>(sum[p][q][k], e);
            }
        }
#pragma unroll
        for (int p = 0; p < TILE_P; p++)
            if (r == p * STRIDE + SIZE - 1 && p0 + p < s.P)
#pragma unroll
                for (int q = 0; q < TILE_Q; q++)
                    if (q0 + q < s.Q)
                        pool_store<MAX, T, V>(y + ((p0 + p) * s.Q + q0 + q) * s.C, sum[p][q],
                                              pool_inside(h0 + p * STRIDE, SIZE, s.H) * pool_inside(w0 + q * STRIDE, SIZE, s.W));
    }
}

/* Any window: V channels of one output. I: uint32_t when every element can be counted in it, since 64-bit division is slow. */
template <bool MAX, typename T, int V, typename I> __device__ static inline void pool_one(const T *x, T *y, const pool_shape &s, I i) {
    I vectors = s.C / V, row = i / vectors;
    int c = (int)(i - row * vectors) * V, q = (int)(row % s.Q), p = (int)(row / s.Q % s.P);
    int h0 = p * s.stride - s.pad, w0 = q * s.stride - s.pad;
    x += (size_t)(row / s.Q / s.P) * s.H * s.W * s.C + c;
    float sum[V];
#pragma unroll
    for (int k = 0; k < V; k++)
        sum[k] = MAX ? -INFINITY : 0;
    for (int h = max(h0, 0); h < min(h0 + s.size, s.H); h++)
        for (int w = max(w0, 0); w < min(w0 + s.size, s.W); w++) {
            pool_vector<T, V> in = *(const pool_vector<T, V> *)(x + ((size_t)h * s.W + w) * s.C);
#pragma unroll
            for (int k = 0; k < V; k++)
                sum[k] = pool_join<MAX>(sum[k], to_float(in.e[k]));
        }
    pool_store<MAX, T, V>(y + (size_t)row * s.C + c, sum, pool_inside(h0, s.size, s.H) * pool_inside(w0, s.size, s.W));
}

template <bool MAX, typename T, int V, int SIZE, int STRIDE>
__global__ static void __launch_bounds__(CUDA_BLOCK, 2) pool_tile_kernel(const T *x, T *y, const __grid_constant__ pool_shape s, unsigned n) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        pool_tile<MAX, T, V, SIZE, STRIDE>(x, y, s, i);
}

template <bool MAX, typename T, int V, typename I>
__global__ static void pool_kernel(const T *x, T *y, const __grid_constant__ pool_shape s, I n) {
    I i = (I)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        pool_one<MAX, T, V, I>(x, y, s, i);
}

template <bool MAX, typename T> static void pool_launch(struct cuda_context *c, const struct kernel_call *k) {
    const int V = 16 / sizeof(T);
    const struct operand *in = &k->in[0], *out = &k->out[0];
    const T *x = (const T *)in->data;
    T *y = (T *)out->data;
    pool_shape s = {(int)in->dim[0], (int)in->dim[1], (int)in->dim[2], (int)in->dim[3], (int)out->dim[1], (int)out->dim[2],
                    (int)k->a.i[0], (int)k->a.i[1], (int)k->a.i[2]};
    int64_t n = operand_count(out), vectors = n / V;
    int64_t tiles = (int64_t)s.N * ((s.P + TILE_P - 1) / TILE_P) * ((s.Q + TILE_Q - 1) / TILE_Q) * (s.C / V);
    bool small = operand_count(in) < INT32_MAX && n < INT32_MAX;
    bool wide = s.C % V == 0 && ((uintptr_t)x | (uintptr_t)y) % 16 == 0;
    if (small && wide && s.size == 3 && s.stride == 1)
        pool_tile_kernel<MAX, T, V, 3, 1><<<cuda_grid(tiles), CUDA_BLOCK, 0, c->stream>>>(x, y, s, (unsigned)tiles);
    else if (small && wide && s.size == 3 && s.stride == 2)
        pool_tile_kernel<MAX, T, V, 3, 2><<<cuda_grid(tiles), CUDA_BLOCK, 0, c->stream>>>(x, y, s, (unsigned)tiles);
    else if (small && wide)
        pool_kernel<MAX, T, V, unsigned><<<cuda_grid(vectors), CUDA_BLOCK, 0, c->stream>>>(x, y, s, (unsigned)vectors);
    else if (small)
        pool_kernel<MAX, T, 1, unsigned><<<cuda_grid(n), CUDA_BLOCK, 0, c->stream>>>(x, y, s, (unsigned)n);
    else
        pool_kernel<MAX, T, 1, int64_t><<<cuda_grid(n), CUDA_BLOCK, 0, c->stream>>>(x, y, s, n);
    CUDA_CHECK(cudaGetLastError());
}

template <bool MAX> static void pool_run(void *context, const struct kernel_call *c) {
    switch (c->in[0].dtype) {
    case DT_F16: pool_launch<MAX, __half>(cuda(context), c); break;
    case DT_BF16: pool_launch<MAX, __nv_bfloat16>(cuda(context), c); break;
    default: pool_launch<MAX, float>(cuda(context), c); break;
    }
}

#endif
