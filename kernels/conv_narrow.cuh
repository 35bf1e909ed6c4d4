/* conv_narrow.cuh - 1x1 convolutions between a wide tensor and one of at most 4 channels (pictures): from RGB, to RGB, and their
 * gradients. The wide tensor is read or written once, 16 bytes a thread; cuDNN takes four to six times as long for these (0.2 ms for
 * 128 channels of 32 pictures of 128x128, which copying would pass in 0.035).
 *
 * Let n [M,t] be the narrow side, v [M,W] the wide one, and w(t,j) the weight between their channels:
 *     expand   v[m,j] = sum over t of n[m,t] w(t,j)      shrink   n[m,t] = sum over j of v[m,j] w(t,j)
 *     relate   dw(t,j) = sum over m of n[m,t] v[m,j]     (float32, in an order fixed by the shape)
 */
#ifndef FACEMILL_CONV_NARROW_CUH
#define FACEMILL_CONV_NARROW_CUH

#include "kernels/cuda.h"

#define NARROW_MAX 4
#define NARROW_THREADS 256
#define NARROW_LANES 16   /* threads that share a pixel in `shrink` */
#define NARROW_CHUNKS 4   /* 16-byte groups of channels a thread has there: W up to 512 in 16 bit */
#define NARROW_BLOCKS 528 /* of `relate`: partial sums */

struct narrow {
    int64_t M;
    int t, W, stride_t, stride_j; /* of w */
};

/* a, b: what stands left and right of w [K,1,1,C]: channels C and K. False where cuDNN has to do it. */
static inline bool narrow_of(const struct kernel_call *c, const struct operand *x, const struct operand *y, const struct operand *w,
                             struct narrow *n) {
    int C = (int)w->dim[3], K = (int)w->dim[0], V = 16 / dtype_size(x->dtype);
    if (w->dim[1] != 1 || w->dim[2] != 1 || c->a.i[0] != 1 || c->a.i[1] || c->a.i[2] || (C > NARROW_MAX) == (K > NARROW_MAX))
        return false;
    bool in = C <= NARROW_MAX;
    n->M = x->dim[0] * x->dim[1] * x->dim[2];
    n->t = in ? C : K, n->W = in ? K : C;
    n->stride_t = in ? 1 : C, n->stride_j = in ? C : 1;
    (void)y;
    return n->M > 0 && n->W % V == 0 && n->W <= NARROW_LANES * NARROW_CHUNKS * V && n->W / V <= NARROW_THREADS;
}

template <typename T> struct alignas(16) narrow_group {
    T x[16 / sizeof(T)];
};
/* A caller's window may lie anywhere. */
template <typename T> __device__ static narrow_group<T> narrow_load(const T *p) {
    narrow_group<T> g;
    if ((uintptr_t)p % 16 == 0)
        *(uint4 *)&g = __ldg((const uint4 *)p);
    else
        for (int k = 0; k < (int)(16 / sizeof(T)); k++)
            g.x[k] = p[k];
    return g;
}
template <typename T> __device__ static void narrow_store(T *p, const narrow_group<T> &g) {
    if ((uintptr_t)p % 16 == 0)
        *(uint4 *)p = *(const uint4 *)&g;
    else
        for (int k = 0; k < (int)(16 / sizeof(T)); k++)
            p[k] = g.x[k];
}

template <typename T, int N> __global__ static void __launch_bounds__(NARROW_THREADS) narrow_expand(const T *n, const T *w, T *v, const narrow a) {
    const int V = 16 / sizeof(T);
    int groups = a.W / V, rows = NARROW_THREADS / groups, g = threadIdx.x % groups, row = threadIdx.x / groups;
    if (row >= rows)
        return;
    float weight[N][V];
#pragma unroll
    for (int t = 0; t < N; t++)
#pragma unroll
        for (int k = 0; k < V; k++)
            weight[t][k] = to_float(w[t * a.stride_t + (g * V + k) * a.stride_j]);
#pragma unroll 4
    for (int64_t m = (int64_t)blockIdx.x * rows + row; m < a.M; m += (int64_t)gridDim.x * rows) {
        float sum[V] = {0};
#pragma unroll
        for (int t = 0; t < N; t++) {
            float e = to_float(n[m * N + t]);
#pragma unroll
            for (int k = 0; k < V; k++)
                sum[k] = fmaf(e, weight[t][k], sum[k]);
        }
        narrow_group<T> out;
#pragma unroll
        for (int k = 0; k < V; k++)
            out.x[k] = from_float<T>(sum[k]);
        narrow_store(v + m * a.W + g * V, out);
    }
}

template <typename T, int N, int CHUNKS> __global__ static void __launch_bounds__(NARROW_THREADS) narrow_shrink(const T *v, const T *w, T *n, const narrow a) {
    const int V = 16 / sizeof(T), ROWS = NARROW_THREADS / NARROW_LANES;
    int lane = threadIdx.x % NARROW_LANES, row = threadIdx.x / NARROW_LANES;
    float weight[CHUNKS][N][V];
#pragma unroll
    for (int i = 0; i < CHUNKS; i++)
#pragma unroll
        for (int t = 0; t < N; t++)
#pragma unroll
            for (int k = 0; k < V; k++) {
                int j = (i * NARROW_LANES + lane) * V + k;
                weight[i][t][k] = j < a.W ? to_float(w[t * a.stride_t + j * a.stride_j]) : 0;
            }
    /* all threads of a warp go around alike, for the exchange below */
    for (int64_t base = (int64_t)blockIdx.x * ROWS; base < a.M; base += (int64_t)gridDim.x * ROWS) {
        int64_t m = base + row;
        float sum[N] = {0};
#pragma unroll
        for (int i = 0; i < CHUNKS; i++) {
            int j = (i * NARROW_LANES + lane) * V;
            if (m >= a.M || j >= a.W)
                continue;
            narrow_group<T> in = narrow_load(v + m * a.W + j);
#pragma unroll
            for (int k = 0; k < V; k++) {
                float e = to_float(in.x[k]);
#pragma unroll
                for (int t = 0; t < N; t++)
                    sum[t] = fmaf(e, weight[i][t][k], sum[t]);
            }
        }
#pragma unroll
        for (int t = 0; t < N; t++)
#pragma unroll
            for (int o = NARROW_LANES / 2; o; o >>= 1)
                sum[t] += __shfl_xor_sync(0xffffffffu, sum[t], o);
        if (lane == 0 && m < a.M)
#pragma unroll
            for (int t = 0; t < N; t++)
                n[m * N + t] = from_float<T>(sum[t]);
    }
}

/* partial [blocks][N][W] */
template <typename T, int N> __global__ static void __launch_bounds__(NARROW_THREADS) narrow_relate(const T *n, const T *v, float *partial, const narrow a) {
    const int V = 16 / sizeof(T);
    __shared__ float shared[NARROW_THREADS * V];
    int groups = a.W / V, rows = NARROW_THREADS / groups, g = threadIdx.x % groups, row = threadIdx.x / groups;
    float sum[N][V] = {{0}};
    if (row < rows) {
#pragma unroll 4
        for (int64_t m = (int64_t)blockIdx.x * rows + row; m < a.M; m += (int64_t)gridDim.x * rows) {
            narrow_group<T> in = narrow_load(v + m * a.W + g * V);
#pragma unroll
            for (int t = 0; t < N; t++) {
                float e = to_float(n[m * N + t]);
#pragma unroll
                for (int k = 0; k < V; k++)
                    sum[t][k] = fmaf(e, to_float(in.x[k]), sum[t][k]);
            }
        }
    }
    for (int t = 0; t < N; t++) {
        __syncthreads();
        if (row < rows)
            for (int k = 0; k < V; k++)
                shared[row * a.W + g * V + k] = sum[t][k];
        __syncthreads();
        for (int j = threadIdx.x; j < a.W; j += NARROW_THREADS) {
            float total = 0;
            for (int r = 0; r < rows; r++)
                total += shared[r * a.W + j];
            partial[((int64_t)blockIdx.x * N + t) * a.W + j] = total;
        }
    }
}
__global__ static void narrow_total(const float *partial, int blocks, float *dw, const narrow a) {
    int i = blockIdx.x * blockDim.x + threadIdx.x, all = a.t * a.W;
    if (i >= all)
        return;
    float total = 0;
#pragma unroll 8
    for (int b = 0; b < blocks; b++)
        total += partial[(int64_t)b * all + i];
    dw[i / a.W * a.stride_t + i % a.W * a.stride_j] = total;
}

static inline int narrow_blocks(const struct narrow *a, int rows, int most) {
    int64_t n = (a->M + rows - 1) / rows;
    return (int)(n < most ? n : most);
}

template <typename T, int N> static void narrow_expand_n(cudaStream_t s, const T *n, const T *w, T *v, const struct narrow *a) {
    narrow_expand<T, N><<<narrow_blocks(a, NARROW_THREADS / (a->W / (16 / (int)sizeof(T))), 1056), NARROW_THREADS, 0, s>>>(n, w, v, *a);
}
template <typename T, int N> static void narrow_shrink_n(cudaStream_t s, const T *v, const T *w, T *n, const struct narrow *a) {
    int chunks = (a->W + NARROW_LANES * (16 / (int)sizeof(T)) - 1) / (NARROW_LANES * (16 / (int)sizeof(T)));
    int blocks = narrow_blocks(a, NARROW_THREADS / NARROW_LANES, 1056);
    if (chunks == 1)
        narrow_shrink<T, N, 1><<<blocks, NARROW_THREADS, 0, s>>>(v, w, n, *a);
    else if (chunks == 2)
        narrow_shrink<T, N, 2><<<blocks, NARROW_THREADS, 0, s>>>(v, w, n, *a);
    else
        narrow_shrink<T, N, 4><<<blocks, NARROW_THREADS, 0, s>>>(v, w, n, *a);
}
template <typename T, int N> static void narrow_relate_n(cudaStream_t s, const T *n, const T *v, float *partial, float *dw, const struct narrow *a) {
    int blocks = narrow_blocks(a, NARROW_THREADS / (a->W / (16 / (int)sizeof(T))), NARROW_BLOCKS);
    narrow_relate<T, N><<<blocks, NARROW_THREADS, 0, s>>>(n, v, partial, *a);
    narrow_total<<<cuda_grid((int64_t)a->t * a->W, 64), 64, 0, s>>>(partial, blocks, dw, *a);
}

#define NARROW_BY_COUNT(t, F, T, ...)                                                                                       \
    do {                                                                                                                    \
        switch (t) {                                                                                                        \
        case 1: F<T, 1>(__VA_ARGS__); break;                                                                                \
        case 2: F<T, 2>(__VA_ARGS__); break;                                                                                \
        case 3: F<T, 3>(__VA_ARGS__); break;                                                                                \
        default: F<T, 4>(__VA_ARGS__); break;                                                                               \
        }                                                                                                                   \
        CUDA_CHECK(cudaGetLastError());                                                                                     \
    } while (0)

/* in, out: either side; the narrower is known by `expands`. */
template <typename T> static void narrow_apply(struct cuda_context *c, const struct narrow *a, bool expands, const void *in, const void *w, void *out) {
    if (expands)
        NARROW_BY_COUNT(a->t, narrow_expand_n, T, c->stream, (const T *)in, (const T *)w, (T *)out, a);
    else
        NARROW_BY_COUNT(a->t, narrow_shrink_n, T, c->stream, (const T *)in, (const T *)w, (T *)out, a);
}
template <typename T> static void narrow_weight(struct cuda_context *c, const struct narrow *a, const void *n, const void *v, void *partial, void *dw) {
    NARROW_BY_COUNT(a->t, narrow_relate_n, T, c->stream, (const T *)n, (const T *)v, (float *)partial, (float *)dw, a);
}

#endif
