/* window_copy.cuh - copying between strided windows of any element type: the common part of slice, pad, concat and permute. */
#ifndef FACEMILL_WINDOW_COPY_CUH
#define FACEMILL_WINDOW_COPY_CUH

#include "kernels/cuda.h"

struct window {
    int ndim;
    int64_t dim[MAX_DIM];                           /* elements copied */
    int64_t in_stride[MAX_DIM], out_stride[MAX_DIM]; /* in elements */
};

template <typename T> __global__ static void window_copy_kernel(const T *in, T *out, const __grid_constant__ window w, int64_t n) {
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, from = 0, to = 0, rest = i;
    if (i >= n)
        return;
    for (int d = w.ndim - 1; d >= 0; d--) {
        int64_t at = d ? rest % w.dim[d] : rest;
        rest = d ? rest / w.dim[d] : 0;
        from += at * w.in_stride[d];
        to += at * w.out_stride[d];
    }
    out[to] = in[from];
}

/* Row-major strides of o. */
static inline void window_strides(const struct operand *o, int64_t *stride) {
    int64_t n = 1;
    for (int d = o->ndim - 1; d >= 0; n *= o->dim[d--])
        stride[d] = n;
}

/* in and out point at the window's first element. */
static inline void window_copy(struct cuda_context *c, const void *in, void *out, enum dtype dtype, const struct window *w) {
    int64_t n = 1;
    for (int d = 0; d < w->ndim; d++)
        n *= w->dim[d];
    if (!n)
        return;
    unsigned grid = cuda_grid(n);
    switch (dtype_size(dtype)) {
    case 1: window_copy_kernel<<<grid, CUDA_BLOCK, 0, c->stream>>>((const uint8_t *)in, (uint8_t *)out, *w, n); break;
    case 2: window_copy_kernel<<<grid, CUDA_BLOCK, 0, c->stream>>>((const uint16_t *)in, (uint16_t *)out, *w, n); break;
    case 4: window_copy_kernel<<<grid, CUDA_BLOCK, 0, c->stream>>>((const uint32_t *)in, (uint32_t *)out, *w, n); break;
    default: window_copy_kernel<<<grid, CUDA_BLOCK, 0, c->stream>>>((const uint64_t *)in, (uint64_t *)out, *w, n); break;
    }
    CUDA_CHECK(cudaGetLastError());
}

#endif
