/* window_copy.cuh - copying between strided windows of any element type: the common part of slice, pad, concat and permute.
 *
 * Dimensions that both sides walk as one are merged, and elements are widened to up to 16 bytes where both sides run along the last
 * dimension; what is left is one thread a (wide) element. Where the sides run along different dimensions (a transposition) a tile of
 * 32 x 32 elements goes through shared memory, so that reads and writes are whole lines.
 */
#ifndef FACEMILL_WINDOW_COPY_CUH
#define FACEMILL_WINDOW_COPY_CUH

#include "kernels/cuda.h"

struct window {
    int ndim;
    int64_t dim[MAX_DIM];                           /* elements copied */
    int64_t in_stride[MAX_DIM], out_stride[MAX_DIM]; /* in elements */
};

/* I: uint32_t when every count and offset fits, since 64-bit division is slow. */
template <typename T, typename I> __global__ static void window_copy_kernel(const T *in, T *out, const __grid_constant__ window w, I n) {
    I i = (I)blockIdx.x * blockDim.x + threadIdx.x, from = 0, to = 0, rest = i;
    if (i >= n)
        return;
#pragma unroll
    for (int d = MAX_DIM - 1; d >= 0; d--) {
        if (d >= w.ndim)
            continue;
        I at = rest, size = (I)w.dim[d];
        if (d) {
            rest = at / size;
            at -= rest * size;
        }
        from += at * (I)w.in_stride[d];
        to += at * (I)w.out_stride[d];
    }
    out[to] = in[from];
}

/* in runs along dimension r, out along the last; the other dimensions make blockIdx.z. Block 32 x 8. */
template <typename T> __global__ static void window_transpose_kernel(const T *in, T *out, const __grid_constant__ window w, int r) {
    __shared__ T tile[32][33];
    int last = w.ndim - 1;
    int64_t rest = blockIdx.z, from = 0, to = 0;
    for (int d = last - 1; d >= 0; d--)
        if (d != r) {
            int64_t at = rest % w.dim[d];
            rest /= w.dim[d];
            from += at * w.in_stride[d];
            to += at * w.out_stride[d];
        }
    int64_t a0 = (int64_t)blockIdx.x * 32, b0 = (int64_t)blockIdx.y * 32; /* along r, along last */
    for (int k = threadIdx.y; k < 32; k += 8)
        if (a0 + threadIdx.x < w.dim[r] && b0 + k < w.dim[last])
            tile[k][threadIdx.x] = in[from + (a0 + threadIdx.x) + (b0 + k) * w.in_stride[last]];
    __syncthreads();
    for (int k = threadIdx.y; k < 32; k += 8)
        if (a0 + k < w.dim[r] && b0 + threadIdx.x < w.dim[last])
            out[to + (a0 + k) * w.out_stride[r] + b0 + threadIdx.x] = tile[threadIdx.x][k];
}

/* Row-major strides of o. */
static inline void window_strides(const struct operand *o, int64_t *stride) {
    int64_t n = 1;
    for (int d = o->ndim - 1; d >= 0; n *= o->dim[d--])
        stride[d] = n;
}

static inline struct window window_merge(const struct window *w) {
    struct window m;
    m.ndim = 0;
    for (int d = 0; d < w->ndim; d++) {
        if (w->dim[d] == 1)
            continue;
        int n = m.ndim;
        if (n && m.in_stride[n - 1] == w->in_stride[d] * w->dim[d] && m.out_stride[n - 1] == w->out_stride[d] * w->dim[d])
            m.dim[n - 1] *= w->dim[d], n--;
        else
            m.dim[n] = w->dim[d], m.ndim++;
        m.in_stride[n] = w->in_stride[d], m.out_stride[n] = w->out_stride[d];
    }
    if (!m.ndim)
        m.ndim = 1, m.dim[0] = m.in_stride[0] = m.out_stride[0] = 1;
    return m;
}

template <typename T> static inline void window_launch(struct cuda_context *c, const void *in, void *out, const struct window *w) {
    int64_t n = 1, from = 0, to = 0, z = 1;
    int last = w->ndim - 1, r = -1;
    for (int d = 0; d <= last; d++) {
        n *= w->dim[d];
        from += (w->dim[d] - 1) * w->in_stride[d];
        to += (w->dim[d] - 1) * w->out_stride[d];
        if (w->in_stride[d] == 1 && d < last && w->dim[d] >= 16)
            r = d;
    }
    for (int d = 0; d < last; d++)
        z *= d == r ? 1 : w->dim[d];
    if (r >= 0 && sizeof(T) <= 4 && w->out_stride[last] == 1 && w->dim[last] >= 16 && z <= 65535 && w->dim[last] <= 32 * 65535) {
        dim3 grid(cuda_grid(w->dim[r], 32), cuda_grid(w->dim[last], 32), (unsigned)z);
        window_transpose_kernel<<<grid, dim3(32, 8), 0, c->stream>>>((const T *)in, (T *)out, *w, r);
    } else if (n < INT32_MAX && from < INT32_MAX && to < INT32_MAX) {
        window_copy_kernel<T, uint32_t><<<cuda_grid(n), CUDA_BLOCK, 0, c->stream>>>((const T *)in, (T *)out, *w, (uint32_t)n);
    } else {
        window_copy_kernel<T, int64_t><<<cuda_grid(n), CUDA_BLOCK, 0, c->stream>>>((const T *)in, (T *)out, *w, n);
    }
    CUDA_CHECK(cudaGetLastError());
}

/* in and out point at the window's first element. */
static inline void window_copy(struct cuda_context *c, const void *in, void *out, enum dtype dtype, const struct window *given) {
    struct window w = window_merge(given);
    int size = dtype_size(dtype), last = w.ndim - 1;
    for (int d = 0; d < w.ndim; d++)
        if (!w.dim[d])
            return;
    for (bool wider = w.in_stride[last] == 1 && w.out_stride[last] == 1; wider && size < 16;) {
        wider = w.dim[last] % 2 == 0 && ((uintptr_t)in | (uintptr_t)out) % (2 * size) == 0;
        for (int d = 0; d < last; d++)
            wider = wider && w.in_stride[d] % 2 == 0 && w.out_stride[d] % 2 == 0;
        if (!wider)
            break;
        size *= 2;
        w.dim[last] /= 2;
        for (int d = 0; d < last; d++)
            w.in_stride[d] /= 2, w.out_stride[d] /= 2;
    }
    switch (size) {
    case 1: window_launch<uint8_t>(c, in, out, &w); break;
    case 2: window_launch<uint16_t>(c, in, out, &w); break;
    case 4: window_launch<uint32_t>(c, in, out, &w); break;
    case 8: window_launch<uint64_t>(c, in, out, &w); break;
    default: window_launch<uint4>(c, in, out, &w); break;
    }
}

#endif
