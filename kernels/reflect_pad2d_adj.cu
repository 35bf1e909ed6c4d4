/* reflect_pad2d_adj.cu - see reflect_pad2d_adj.h. Each pixel gathers the at most 3 x 3 places it was copied to. */
#include "kernels/cuda.h"

/* Places p in [0, P) whose mirror image is h. */
__device__ static int places(int h, int L, int before, int P, int out[3]) {
    int n = 0;
    out[n++] = before + h;
    if (h > 0 && before - h >= 0)
        out[n++] = before - h;
    int far = before + 2 * (L - 1) - h;
    if (h < L - 1 && far < P)
        out[n++] = far;
    return n;
}

/* One thread an element of row (h, b) of W*C elements. */
template <typename T> __global__ static void pad_adj_kernel(const T *dy, T *dx, int H, int W, int C, int P, int Q, int y0, int x0) {
    int i = blockIdx.x * blockDim.x + threadIdx.x, h = blockIdx.y, b = blockIdx.z, ps[3], qs[3];
    if (i >= W * C)
        return;
    int w = i / C, c = i - w * C, np = places(h, H, y0, P, ps), nq = places(w, W, x0, Q, qs);
    float sum = 0;
    for (int j = 0; j < np; j++)
        for (int k = 0; k < nq; k++)
            sum += to_float(dy[(((int64_t)b * P + ps[j]) * Q + qs[k]) * C + c]);
    dx[((int64_t)b * H + h) * W * C + i] = from_float<T>(sum);
}

template <typename T> static void launch(struct cuda_context *c, const struct kernel_call *k) {
    const struct operand *y = &k->in[0], *x = &k->out[0];
    dim3 grid(cuda_grid(x->dim[2] * x->dim[3]), (unsigned)x->dim[1], (unsigned)x->dim[0]);
    if (!operand_count(x))
        return;
    pad_adj_kernel<<<grid, CUDA_BLOCK, 0, c->stream>>>((const T *)y->data, (T *)x->data, (int)x->dim[1], (int)x->dim[2], (int)x->dim[3],
                                                       (int)y->dim[1], (int)y->dim[2], (int)k->a.i[0], (int)k->a.i[2]);
    CUDA_CHECK(cudaGetLastError());
}

static void run(void *context, const struct kernel_call *c) { CUDA_BY_TYPE(c->in[0].dtype, launch, cuda(context), c); }

extern "C" const struct kernel kernel_reflect_pad2d_adj_cuda = {NULL, run, NULL};
