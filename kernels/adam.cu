/* adam.cu - see adam.h. 28 bytes of traffic a parameter: memory bound. */
#include "kernels/cuda.h"

__global__ static void adam_kernel(float *p, const float *g, float *m, float *v, const float *h, int64_t n, float limit, float factor) {
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n)
        return;
    float lr = h[0], b1 = h[1], b2 = h[2], eps = h[3], c1 = h[4], c2 = h[5], gi = g[i];
    gi = factor ? factor * gi : gi;
    gi = !limit ? gi : gi != gi ? 0.0f : isinf(gi) ? (gi > 0 ? limit : -limit) : gi;
    float mi = b1 * m[i] + (1 - b1) * gi, vi = b2 * v[i] + (1 - b2) * gi * gi;
    m[i] = mi;
    v[i] = vi;
    p[i] -= lr * (mi / c1) / (sqrtf(vi / c2) + eps);
}

static void run(void *context, const struct kernel_call *c) {
    int64_t n = operand_count(&c->in[0]);
    adam_kernel<<<cuda_grid(n), CUDA_BLOCK, 0, cuda(context)->stream>>>((float *)c->in[0].data, (const float *)c->in[1].data,
                                                                       (float *)c->in[2].data, (float *)c->in[3].data,
                                                                       (const float *)c->in[4].data, n, c->a.f[0], c->a.f[1]);
    CUDA_CHECK(cudaGetLastError());
}

extern "C" const struct kernel kernel_adam_cuda = {NULL, run, NULL};
