/* to_u8.cu - see to_u8.h. Four values a thread; the product and the sum are rounded apart, as on the CPU. */
#include "kernels/cuda.h"

__device__ static uint8_t byte_of(float x) { return (uint8_t)fminf(fmaxf(__fadd_rn(__fmul_rn(x, 127.5f), 128.0f), 0.0f), 255.0f); }

template <typename T> __global__ static void to_u8_kernel(const T *x, uint8_t *y, int64_t n) {
    int64_t i = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * 4;
    if (i + 4 <= n && (uintptr_t)y % 4 == 0)
        *(uchar4 *)(y + i) = make_uchar4(byte_of(to_float(x[i])), byte_of(to_float(x[i + 1])), byte_of(to_float(x[i + 2])), byte_of(to_float(x[i + 3])));
    else
        for (int k = 0; k < 4 && i + k < n; k++)
            y[i + k] = byte_of(to_float(x[i + k]));
}

template <typename T> static void launch(struct cuda_context *c, const struct kernel_call *k) {
    int64_t n = operand_count(&k->in[0]);
    if (!n)
        return;
    to_u8_kernel<<<cuda_grid((n + 3) / 4), CUDA_BLOCK, 0, c->stream>>>((const T *)k->in[0].data, (uint8_t *)k->out[0].data, n);
    CUDA_CHECK(cudaGetLastError());
}

static void run(void *context, const struct kernel_call *c) { CUDA_BY_TYPE(c->in[0].dtype, launch, cuda(context), c); }

extern "C" const struct kernel kernel_to_u8_cuda = {NULL, run, NULL};
