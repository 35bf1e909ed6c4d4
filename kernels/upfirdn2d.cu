/* upfirdn2d.cu - see upfirdn2d.h. One thread an output element, channels innermost so that a warp reads whole lines; only the taps
 * that meet a sample (not an inserted zero) are visited: a quarter of them at up = 2. */
#include "kernels/cuda.h"

struct fir_args {
    int64_t H, W, C, P, Q, n; /* n = elements of y */
    int fh, fw, up_y, up_x, down_y, down_x, pad_y, pad_x;
    bool flip, per_sample;
    float gain;
};

template <typename T> __global__ static void fir_kernel(const T *x, const float *f, T *y, const __grid_constant__ fir_args a) {
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= a.n)
        return;
    int64_t c = i % a.C, q = i / a.C % a.Q, p = i / (a.C * a.Q) % a.P, n = i / (a.C * a.Q * a.P);
    if (a.per_sample)
        f += n * a.fh * a.fw;
    int64_t top = p * a.down_y - a.pad_y, left = q * a.down_x - a.pad_x; /* position of tap (0,0) in the upsampled picture */
    int first_i = (int)((a.up_y - top % a.up_y) % a.up_y), first_j = (int)((a.up_x - left % a.up_x) % a.up_x);
    float sum = 0;
    for (int k = first_i; k < a.fh; k += a.up_y) {
        int64_t h = (top + k) / a.up_y;
        if (top + k < 0 || h >= a.H)
            continue;
        for (int j = first_j; j < a.fw; j += a.up_x) {
            int64_t w = (left + j) / a.up_x;
            if (left + j < 0 || w >= a.W)
                continue;
            float g = a.flip ? f[k * a.fw + j] : f[(a.fh - 1 - k) * a.fw + a.fw - 1 - j];
            sum = fmaf(g, to_float(x[((n * a.H + h) * a.W + w) * a.C + c]), sum);
        }
    }
    y[i] = from_float<T>(a.gain * sum);
}

template <typename T> static void launch(struct cuda_context *c, const struct kernel_call *k, const struct fir_args *a) {
    fir_kernel<<<cuda_grid(a->n), CUDA_BLOCK, 0, c->stream>>>((const T *)k->in[0].data, (const float *)k->in[1].data, (T *)k->out[0].data, *a);
    CUDA_CHECK(cudaGetLastError());
}

static void run(void *context, const struct kernel_call *c) {
    const struct operand *x = &c->in[0], *f = &c->in[1], *y = &c->out[0];
    const int64_t *i = c->a.i;
    struct fir_args a;
    a.H = x->dim[1], a.W = x->dim[2], a.C = x->dim[3], a.P = y->dim[1], a.Q = y->dim[2], a.n = operand_count(y);
    a.fh = (int)f->dim[f->ndim - 2], a.fw = (int)f->dim[f->ndim - 1];
    a.up_y = (int)i[0], a.up_x = (int)i[1], a.down_y = (int)i[2], a.down_x = (int)i[3], a.pad_y = (int)i[4], a.pad_x = (int)i[6];
    a.flip = i[8] != 0, a.gain = c->a.f[0];
    a.per_sample = f->ndim == 3 && f->dim[0] > 1;
    if (a.n)
        CUDA_BY_TYPE(x->dtype, launch, cuda(context), c, &a);
}

extern "C" const struct kernel kernel_upfirdn2d_cuda = {NULL, run, NULL};
