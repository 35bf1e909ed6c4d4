/* reflect_pad2d.cu - see reflect_pad2d.h. */
#include "kernels/cuda.h"

__device__ static int mirror(int i, int L) { return i < 0 ? -i : i < L ? i : 2 * (L - 1) - i; }

/* One thread an element of row (p, b) of Q*C elements. */
template <typename T> __global__ static void pad_kernel(const T *x, T *y, int H, int W, int C, int P, int Q, int y0, int x0) {
    int i = blockIdx.x * blockDim.x + threadIdx.x, p = blockIdx.y, b = blockIdx.z;
    if (i >= Q * C)
        return;
    int q = i / C, c = i - q * C;
    y[((int64_t)b * P + p) * Q * C + i] = x[(((int64_t)b * H + mirror(p - y0, H)) * W + mirror(q - x0, W)) * C + c];
}

template <typename T> static void launch(struct cuda_context *c, const struct kernel_call *k) {
    const struct operand *x = &k->in[0], *y = &k->out[0];
    dim3 grid(cuda_grid(y->dim[2] * y->dim[3]), (unsigned)y->dim[1], (unsigned)y->dim[0]);
    if (!operand_count(y))
        return;
    pad_kernel<<<grid, CUDA_BLOCK, 0, c->stream>>>((const T *)x->data, (T *)y->data, (int)x->dim[1], (int)x->dim[2], (int)x->dim[3],
                                                   (int)y->dim[1], (int)y->dim[2], (int)k->a.i[0], (int)k->a.i[2]);
    CUDA_CHECK(cudaGetLastError());
}

static void run(void *context, const struct kernel_call *c) { CUDA_BY_TYPE(c->in[0].dtype, launch, cuda(context), c); }

extern "C" const struct kernel kernel_reflect_pad2d_cuda = {NULL, run, NULL};
