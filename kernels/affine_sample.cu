/* affine_sample.cu - see affine_sample.h. One thread an output pixel with all its channels: the position is computed once. */
#include "kernels/cuda.h"
#include "kernels/affine_position.h"

template <typename T> __global__ static void sample_kernel(const T *x, const float *theta, T *y, int H, int W, int C, int P, int Q) {
    int q = blockIdx.x * blockDim.x + threadIdx.x, p = blockIdx.y, b = blockIdx.z;
    if (q >= Q)
        return;
    struct corners k = affine_corners(theta + 6 * b, p, q, P, Q, H, W);
    x += (int64_t)b * H * W * C;
    y += (((int64_t)b * P + p) * Q + q) * C;
    for (int c = 0; c < C; c++) {
        float sum = 0;
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (k.weight[j] != 0)
                sum = fmaf(k.weight[j], to_float(x[k.pixel[j] * C + c]), sum);
        y[c] = from_float<T>(sum);
    }
}

template <typename T> static void launch(struct cuda_context *c, const struct kernel_call *k) {
    const struct operand *x = &k->in[0], *y = &k->out[0];
    dim3 grid(cuda_grid(y->dim[2], 128), (unsigned)y->dim[1], (unsigned)y->dim[0]);
    if (!operand_count(y))
        return;
    sample_kernel<<<grid, 128, 0, c->stream>>>((const T *)x->data, (const float *)k->in[1].data, (T *)y->data, (int)x->dim[1], (int)x->dim[2],
                                               (int)x->dim[3], (int)y->dim[1], (int)y->dim[2]);
    CUDA_CHECK(cudaGetLastError());
}

static void run(void *context, const struct kernel_call *c) { CUDA_BY_TYPE(c->in[0].dtype, launch, cuda(context), c); }

extern "C" const struct kernel kernel_affine_sample_cuda = {NULL, run, NULL};
