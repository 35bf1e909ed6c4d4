/* reflect_pad2d_adj.cu - see reflect_pad2d_adj.h. Each pixel gathers the at most 3 x 3 places it was copied to. */
#include "kernels/cuda.h"

/* Places p in [0, P) whose mirror image is h. */
__device__ static int places(int64_t h, int64_t L, int before, int64_t P, int64_t out[3]) {
    int n = 0;
    out[n++] = before + h;
    if (h > 0 && before - h >= 0)
        out[n++] = before - h;
    int64_t far = before + 2 * (L - 1) - h;
    if (h < L - 1 && far < P)
        out[n++] = far;
    return n;
}

template <typename T> __global__ static void pad_adj_kernel(const T *dy, T *dx, int64_t H, int64_t W, int64_t C, int64_t P, int64_t Q, int y0, int x0, int64_t n) {
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n)
        return;
    int64_t c = i % C, w = i / C % W, h = i / (C * W) % H, b = i / (C * W * H), ps[3], qs[3];
    int np = places(h, H, y0, P, ps), nq = places(w, W, x0, Q, qs);
    float sum = 0;
    for (int j = 0; j < np; j++)
        for (int k = 0; k < nq; k++)
            sum += to_float(dy[((b * P + ps[j]) * Q + qs[k]) * C + c]);
    dx[i] = from_float<T>(sum);
}

template <typename T> static void launch(struct cuda_context *c, const struct kernel_call *k) {
    const struct operand *y = &k->in[0], *x = &k->out[0];
    int64_t n = operand_count(x);
    pad_adj_kernel<<<cuda_grid(n), CUDA_BLOCK, 0, c->stream>>>((const T *)y->data, (T *)x->data, x->dim[1], x->dim[2], x->dim[3], y->dim[1],
                                                              y->dim[2], (int)k->a.i[0], (int)k->a.i[2], n);
    CUDA_CHECK(cudaGetLastError());
}

static void run(void *context, const struct kernel_call *c) { CUDA_BY_TYPE(c->in[0].dtype, launch, cuda(context), c); }

extern "C" const struct kernel kernel_reflect_pad2d_adj_cuda = {NULL, run, NULL};
