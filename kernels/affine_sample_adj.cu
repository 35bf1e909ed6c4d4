/* affine_sample_adj.cu - see affine_sample_adj.h and affine_gather.cuh. One thread a column of four pixels. Most pixels may be read by
 * nobody: their box of outputs is empty, and they keep the zeros that the picture is filled with first. */
#include "kernels/affine_gather.cuh"

#define CHANNELS 4 /* summed at a time: the search is the dear part */
#define PIXELS 4   /* of a thread, down a column */

template <typename T> __global__ static void sample_adj_kernel(const T *dy, const float *theta, T *dx, int H, int W, int C, int P, int Q) {
    int w = blockIdx.x * blockDim.x + threadIdx.x, b = blockIdx.z;
    if (w >= W)
        return;
    affine_map m = affine_map_of(theta + 6 * b, H, W, P, Q);
    dy += (int64_t)b * P * Q * C;
    dx += (int64_t)b * H * W * C;
    for (int h = blockIdx.y * PIXELS, end = min(h + PIXELS, H); h < end; h++) {
        outputs o;
        if (!affine_outputs(m, (float)h, (float)w, 1, &o))
            continue;
        for (int c0 = 0; c0 < C; c0 += CHANNELS) {
            float sum[CHANNELS] = {0};
            affine_gather(m, o, h, w, dy, c0, C, sum);
#pragma unroll
            for (int c = 0; c < CHANNELS; c++)
                if (c0 + c < C)
                    dx[((int64_t)h * W + w) * C + c0 + c] = from_float<T>(sum[c]);
        }
    }
}

template <typename T> static void launch(struct cuda_context *c, const struct kernel_call *k) {
    const struct operand *y = &k->in[0], *x = &k->out[0];
    dim3 grid(cuda_grid(x->dim[2], 128), cuda_grid(x->dim[1], PIXELS), (unsigned)x->dim[0]);
    if (!operand_count(x))
        return;
    CUDA_CHECK(cudaMemsetAsync(x->data, 0, (size_t)operand_count(x) * sizeof(T), c->stream));
    sample_adj_kernel<<<grid, 128, 0, c->stream>>>((const T *)y->data, (const float *)k->in[1].data, (T *)x->data, (int)x->dim[1],
                                                   (int)x->dim[2], (int)x->dim[3], (int)y->dim[1], (int)y->dim[2]);
    CUDA_CHECK(cudaGetLastError());
}

static void run(void *context, const struct kernel_call *c) { CUDA_BY_TYPE(c->in[0].dtype, launch, cuda(context), c); }

extern "C" const struct kernel kernel_affine_sample_adj_cuda = {NULL, run, NULL};
