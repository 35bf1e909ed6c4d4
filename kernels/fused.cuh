/* fused.cuh - what the interpreter (fused.cu) and the kernels compiled ahead (written by kernels/gen/fused_gen.c) share: the arithmetic
 * of one operation, which is the same to the bit in both, and for the latter their arguments, loads and stores.
 */
#ifndef FACEMILL_FUSED_CUH
#define FACEMILL_FUSED_CUH

#include "kernels/cuda.h"

/* Formulas: common/engine/ops.def. The numerically stable forms of softplus, sigmoid and tanh are those of fused_math.h. The
 * intrinsics keep the compiler from contracting a product and a sum into one rounding where it happens to see both. */
__device__ static __forceinline__ float operate(int op, float a, float b, float x, float y, float z) {
    switch (op) {
    case OP_fill: return a;
    case OP_add: return __fadd_rn(x, y);
    case OP_sub: return __fsub_rn(x, y);
    case OP_mul: return __fmul_rn(x, y);
    case OP_fma: return __fmaf_rn(x, y, z);
    case OP_scale: return __fmaf_rn(a, x, b);
    case OP_exp: return expf(x);
    case OP_log: return logf(x);
    case OP_sqrt: return sqrtf(x);
    case OP_rsqrt: return 1.0f / sqrtf(x);
    case OP_recip: return 1.0f / x;
    case OP_square: return __fmul_rn(x, x);
    case OP_softplus: return __fadd_rn(x > 0 ? x : x != x ? x : 0.0f, log1pf(expf(-fabsf(x))));
    case OP_sigmoid: {
        float e = expf(-fabsf(x)), r = 1.0f / __fadd_rn(1.0f, e);
        return x < 0 ? __fmul_rn(e, r) : x != x ? x : r;
    }
    case OP_tanh: return tanhf(x);
    case OP_lrelu: return x < 0 ? __fmul_rn(a, x) : x;
    case OP_step: return x < 0 ? a : b;
    case OP_clamp: return x < a ? a : x > b ? b : x;
    case OP_clamp_mask: return x >= a && x <= b ? 1.0f : 0.0f;
    case OP_sanitize: return x != x ? 0.0f : isinf(x) ? (x > 0 ? a : -a) : x;
    case OP_nonfinite: return isfinite(x) ? 0.0f : 1.0f;
    case OP_cast:
        return (int)a == DT_F16    ? __half2float(__float2half_rn(x))
               : (int)a == DT_BF16 ? __bfloat162float(__float2bfloat16_rn(x))
                                   : x;
    }
    return 0;
}

/* ---- kernels compiled ahead ---- */
#define FUSED_BLOCK 256 /* threads */
#define FUSED_PARTS 8 /* source files they are spread over; the Makefile knows too */

struct fused_args {
    const void *in[MAX_IN];
    void *out[MAX_OUT];
    uint32_t groups;                                              /* elements / width */
    uint32_t dim[MAX_DIM], magic[MAX_DIM], shift[MAX_DIM];        /* division by dim: (umulhi(magic, n) + n) >> shift */
    uint32_t stride[MAX_IN][MAX_DIM];
    float number[2 * FUSED_MAX_OPS];
    /* with sums: block (s, a) walks rows s*slice .. of the segment of `rows` rows that begins at row a*rows, all of whose rows go to the
     * same sums; threads_x threads take one row. Its share of output k is partial[k][(a*slices + s)*channels ..]. */
    uint32_t rows, slice, threads_x, channels;
    float *partial[MAX_OUT];
};

/* One compiled kernel; parts end with text NULL. */
struct fused_entry {
    const char *text; /* of its pattern (fused_pattern.h) */
    const void *kernel;
};

/* Position of element `at` in the iteration space. */
template <int D> __device__ static __forceinline__ void fused_position(const fused_args &a, uint32_t at, uint32_t (&i)[D]) {
#pragma unroll
    for (int d = D - 1; d > 0; d--) {
        uint32_t q = (uint32_t)(((uint64_t)__umulhi(a.magic[d], at) + at) >> a.shift[d]);
        i[d] = at - q * a.dim[d];
        at = q;
    }
    i[0] = at;
}

template <int D> __device__ static __forceinline__ uint32_t fused_offset(const fused_args &a, int input, const uint32_t (&i)[D]) {
    uint32_t at = 0;
#pragma unroll
    for (int d = 0; d < D; d++)
        at += i[d] * a.stride[input][d];
    return at;
}

/* W neighbours, in accesses as wide as 16 bytes. */
template <typename T, int W> struct alignas(sizeof(T) * W < 16 ? sizeof(T) * W : 16) fused_pack {
    T x[W];
};

template <typename T, int W> __device__ static __forceinline__ void fused_load(float (&x)[W], const void *p, uint32_t at) {
    fused_pack<T, W> v = *(const fused_pack<T, W> *)((const T *)p + at);
#pragma unroll
    for (int j = 0; j < W; j++)
        x[j] = to_float(v.x[j]);
}

template <typename T, int W> __device__ static __forceinline__ void fused_load_one(float (&x)[W], const void *p, uint32_t at) {
    float v = to_float(((const T *)p)[at]);
#pragma unroll
    for (int j = 0; j < W; j++)
        x[j] = v;
}

/* Every element by its own position; the group begins at element `first`. */
template <typename T, int D, int W>
__device__ static __forceinline__ void fused_load_each(float (&x)[W], const fused_args &a, int input, uint32_t first) {
#pragma unroll
    for (int j = 0; j < W; j++) {
        uint32_t i[D];
        fused_position<D>(a, first + j, i);
        x[j] = to_float(((const T *)a.in[input])[fused_offset<D>(a, input, i)]);
    }
}

/* The block's threads hold sums of columns; each column's go to `partial` in a fixed order. */
template <int W> __device__ static void fused_sum_block(const fused_args &a, float *partial, const float (&x)[W]) {
    __shared__ float shared[FUSED_BLOCK * W]; /* [threads down][channels] */
    __syncthreads();
#pragma unroll
    for (int j = 0; j < W; j++)
        shared[threadIdx.x * W + j] = x[j];
    __syncthreads();
    for (uint32_t c = threadIdx.x; c < a.channels; c += FUSED_BLOCK) {
        float v = 0;
        for (uint32_t at = c; at < FUSED_BLOCK * W; at += a.channels)
            v += shared[at];
        partial[(blockIdx.y * gridDim.x + blockIdx.x) * a.channels + c] = v;
    }
}

template <typename T, int W> __device__ static __forceinline__ void fused_store(void *p, uint32_t at, const float (&x)[W]) {
    fused_pack<T, W> v;
#pragma unroll
    for (int j = 0; j < W; j++)
        v.x[j] = from_float<T>(x[j]);
    *(fused_pack<T, W> *)((T *)p + at) = v;
}

#endif
