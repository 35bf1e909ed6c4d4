/* pool.cuh - the common part of maxpool2d and avgpool2d: one thread an output element. */
#ifndef FACEMILL_POOL_CUH
#define FACEMILL_POOL_CUH

#include "kernels/cuda.h"

template <bool MAX, typename T> __global__ static void pool_kernel(const T *x, T *y, int64_t H, int64_t W, int64_t C, int64_t P, int64_t Q, int size, int stride, int pad, int64_t n) {
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n)
        return;
    int64_t c = i % C, q = i / C % Q, p = i / (C * Q) % P, b = i / (C * Q * P);
    float v = MAX ? -INFINITY : 0;
    int count = 0;
    for (int r = 0; r < size; r++)
        for (int s = 0; s < size; s++) {
            int64_t h = p * stride + r - pad, w = q * stride + s - pad;
            if (h < 0 || h >= H || w < 0 || w >= W)
                continue;
            float e = to_float(x[((b * H + h) * W + w) * C + c]);
            v = MAX ? fmaxf(v, e) : v + e;
            count++;
        }
    y[i] = from_float<T>(MAX ? v : v / (float)count);
}

template <bool MAX, typename T> static void pool_launch(struct cuda_context *c, const struct kernel_call *k) {
    const struct operand *x = &k->in[0], *y = &k->out[0];
    int64_t n = operand_count(y);
    pool_kernel<MAX, T><<<cuda_grid(n), CUDA_BLOCK, 0, c->stream>>>((const T *)x->data, (T *)y->data, x->dim[1], x->dim[2], x->dim[3], y->dim[1],
                                                                   y->dim[2], (int)k->a.i[0], (int)k->a.i[1], (int)k->a.i[2], n);
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
