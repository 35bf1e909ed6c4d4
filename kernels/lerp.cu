/* lerp.cu - see lerp.h. */
#include "kernels/cuda.h"

__global__ static void lerp_kernel(float *view, const float *to, const float *t, int64_t n) {
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        view[i] = to[i] + *t * (view[i] - to[i]);
}

static void run(void *context, const struct kernel_call *c) {
    int64_t n = operand_count(&c->in[0]);
    lerp_kernel<<<cuda_grid(n), CUDA_BLOCK, 0, cuda(context)->stream>>>((float *)c->in[0].data, (const float *)c->in[1].data,
                                                                       (const float *)c->in[2].data, n);
    CUDA_CHECK(cudaGetLastError());
}

extern "C" const struct kernel kernel_lerp_cuda = {NULL, run, NULL};
