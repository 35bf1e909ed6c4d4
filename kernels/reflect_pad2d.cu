/* reflect_pad2d.cu - see reflect_pad2d.h. */
#include "kernels/cuda.h"

__device__ static int64_t mirror(int64_t i, int64_t L) { return i < 0 ? -i : i < L ? i : 2 * (L - 1) - i; }

template <typename T> __global__ static void pad_kernel(const T *x, T *y, int64_t H, int64_t W, int64_t C, int64_t P, int64_t Q, int y0, int x0, int64_t n) {
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n)
        return;
    int64_t c = i % C, q = i / C % Q, p = i / (C * Q) % P, b = i / (C * Q * P);
    y[i] = x[((b * H + mirror(p - y0, H)) * W + mirror(q - x0, W)) * C + c];
}

template <typename T> static void launch(struct cuda_context *c, const struct kernel_call *k) {
    const struct operand *x = &k->in[0], *y = &k->out[0];
    int64_t n = operand_count(y);
    pad_kernel<<<cuda_grid(n), CUDA_BLOCK, 0, c->stream>>>((const T *)x->data, (T *)y->data, x->dim[1], x->dim[2], x->dim[3], y->dim[1],
                                                          y->dim[2], (int)k->a.i[0], (int)k->a.i[2], n);
    CUDA_CHECK(cudaGetLastError());
}

static void run(void *context, const struct kernel_call *c) { CUDA_BY_TYPE(c->in[0].dtype, launch, cuda(context), c); }

extern "C" const struct kernel kernel_reflect_pad2d_cuda = {NULL, run, NULL};
