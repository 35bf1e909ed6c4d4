/* affine_sample_adj.cu - see affine_sample_adj.h. Gather form, so that no atomics are needed and the order is fixed: pixel (h,w) was
 * read by the outputs whose position lies within one pixel of it, a parallelogram in (p,q) found by inverting the affine map. Its
 * bounding box, widened by half a pixel against rounding, is searched; the weights come from the very function that sampled. */
#include "kernels/cuda.h"
#include "kernels/affine_position.h"

template <typename T> __global__ static void sample_adj_kernel(const T *dy, const float *theta, T *dx, int64_t H, int64_t W, int64_t C, int64_t P, int64_t Q, int64_t n) {
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n)
        return;
    int64_t w = i % W, h = i / W % H, b = i / (W * H);
    const float *t = theta + 6 * b;
    /* column = a00 q + a01 p + b0, row = a10 q + a11 p + b1 */
    float a00 = t[0] * (float)W / (float)Q, a01 = t[1] * (float)W / (float)P, a10 = t[3] * (float)H / (float)Q, a11 = t[4] * (float)H / (float)P;
    float b0 = ((t[0] * (1.0f / (float)Q - 1) + t[1] * (1.0f / (float)P - 1) + t[2] + 1) * (float)W - 1) * 0.5f;
    float b1 = ((t[3] * (1.0f / (float)Q - 1) + t[4] * (1.0f / (float)P - 1) + t[5] + 1) * (float)H - 1) * 0.5f;
    float det = a00 * a11 - a01 * a10, dc = (float)w - b0, dr = (float)h - b1;
    int64_t p0 = 0, p1 = P - 1, q0 = 0, q1 = Q - 1;
    if (fabsf(det) > 1e-6f) { /* else the map is flat: look everywhere */
        float q = (a11 * dc - a01 * dr) / det, p = (a00 * dr - a10 * dc) / det;
        float eq = (fabsf(a11) + fabsf(a01)) / fabsf(det) + 0.5f, ep = (fabsf(a00) + fabsf(a10)) / fabsf(det) + 0.5f;
        p0 = (int64_t)ceilf(fmaxf(p - ep, 0.0f)), p1 = (int64_t)floorf(fminf(p + ep, (float)(P - 1)));
        q0 = (int64_t)ceilf(fmaxf(q - eq, 0.0f)), q1 = (int64_t)floorf(fminf(q + eq, (float)(Q - 1)));
    }
    for (int64_t c0 = 0; c0 < C; c0 += 4) { /* four channels at a time: the search is the dear part */
        float sum[4] = {0, 0, 0, 0};
        for (int64_t p = p0; p <= p1; p++)
            for (int64_t q = q0; q <= q1; q++) {
                struct corners k = affine_corners(t, p, q, P, Q, H, W);
                for (int j = 0; j < 4; j++)
                    if (k.weight[j] != 0 && k.pixel[j] == h * W + w)
                        for (int c = 0; c < 4 && c0 + c < C; c++)
                            sum[c] = fmaf(k.weight[j], to_float(dy[((b * P + p) * Q + q) * C + c0 + c]), sum[c]);
            }
        for (int c = 0; c < 4 && c0 + c < C; c++)
            dx[i * C + c0 + c] = from_float<T>(sum[c]);
    }
}

template <typename T> static void launch(struct cuda_context *c, const struct kernel_call *k) {
    const struct operand *y = &k->in[0], *x = &k->out[0];
    int64_t n = x->dim[0] * x->dim[1] * x->dim[2];
    sample_adj_kernel<<<cuda_grid(n), CUDA_BLOCK, 0, c->stream>>>((const T *)y->data, (const float *)k->in[1].data, (T *)x->data, x->dim[1],
                                                                 x->dim[2], x->dim[3], y->dim[1], y->dim[2], n);
    CUDA_CHECK(cudaGetLastError());
}

static void run(void *context, const struct kernel_call *c) { CUDA_BY_TYPE(c->in[0].dtype, launch, cuda(context), c); }

extern "C" const struct kernel kernel_affine_sample_adj_cuda = {NULL, run, NULL};
