/* affine_sample.cu - see affine_sample.h. */
#include "kernels/cuda.h"
#include "kernels/affine_position.h"

template <typename T> __global__ static void sample_kernel(const T *x, const float *theta, T *y, int64_t H, int64_t W, int64_t C, int64_t P, int64_t Q, int64_t n) {
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n)
        return;
    int64_t c = i % C, q = i / C % Q, p = i / (C * Q) % P, b = i / (C * Q * P);
    struct corners k = affine_corners(theta + 6 * b, p, q, P, Q, H, W);
    float sum = 0;
    for (int j = 0; j < 4; j++)
        if (k.weight[j] != 0)
            sum = fmaf(k.weight[j], to_float(x[(b * H * W + k.pixel[j]) * C + c]), sum);
    y[i] = from_float<T>(sum);
}

template <typename T> static void launch(struct cuda_context *c, const struct kernel_call *k) {
    const struct operand *x = &k->in[0], *y = &k->out[0];
    int64_t n = operand_count(y);
    sample_kernel<<<cuda_grid(n), CUDA_BLOCK, 0, c->stream>>>((const T *)x->data, (const float *)k->in[1].data, (T *)y->data, x->dim[1],
                                                             x->dim[2], x->dim[3], y->dim[1], y->dim[2], n);
    CUDA_CHECK(cudaGetLastError());
}

static void run(void *context, const struct kernel_call *c) { CUDA_BY_TYPE(c->in[0].dtype, launch, cuda(context), c); }

extern "C" const struct kernel kernel_affine_sample_cuda = {NULL, run, NULL};
