/* affine_sample_adj.cu - see affine_sample_adj.h. Gather form, so that no atomics are needed and the order is fixed: pixel (h,w) was
 * read by the outputs whose position lies within one pixel of it, a parallelogram in (p,q) found by inverting the affine map. Its
 * bounding box, widened by half a pixel against rounding, is searched; the weights come from the very function that sampled.
 *
 * One thread a pixel. Most pixels of a padded, upsampled picture are read by nobody: the box misses the output, and they keep the
 * zeros that the picture is filled with first. A map without area (all zeros, say) has no inverse: pixels that its image comes near search everything. */
#include "kernels/cuda.h"
#include "kernels/affine_position.h"

#define CHANNELS 4 /* summed at a time: the search is the dear part */

/* May column (or row) b + s q + t p come within 1.5 of v, for q in 0 .. Q-1 and p in 0 .. P-1? */
__device__ static bool comes_near(float b, float s, float t, int Q, int P, float v) {
    float low = b + fminf(s * (float)(Q - 1), 0.0f) + fminf(t * (float)(P - 1), 0.0f);
    float high = b + fmaxf(s * (float)(Q - 1), 0.0f) + fmaxf(t * (float)(P - 1), 0.0f);
    return v > low - 1.5f && v < high + 1.5f;
}

template <typename T> __global__ static void sample_adj_kernel(const T *dy, const float *theta, T *dx, int H, int W, int C, int P, int Q) {
    int w = blockIdx.x * blockDim.x + threadIdx.x, h = blockIdx.y, b = blockIdx.z;
    if (w >= W)
        return;
    float t[6];
#pragma unroll
    for (int i = 0; i < 6; i++)
        t[i] = theta[6 * b + i];
    /* column = a00 q + a01 p + b0, row = a10 q + a11 p + b1 */
    float a00 = t[0] * (float)W / (float)Q, a01 = t[1] * (float)W / (float)P, a10 = t[3] * (float)H / (float)Q, a11 = t[4] * (float)H / (float)P;
    float b0 = ((t[0] * (1.0f / (float)Q - 1) + t[1] * (1.0f / (float)P - 1) + t[2] + 1) * (float)W - 1) * 0.5f;
    float b1 = ((t[3] * (1.0f / (float)Q - 1) + t[4] * (1.0f / (float)P - 1) + t[5] + 1) * (float)H - 1) * 0.5f;
    float det = a00 * a11 - a01 * a10, dc = (float)w - b0, dr = (float)h - b1;
    int p0 = 0, p1 = P - 1, q0 = 0, q1 = Q - 1;
    if (fabsf(det) > 1e-6f) {
        float q = (a11 * dc - a01 * dr) / det, p = (a00 * dr - a10 * dc) / det;
        float eq = (fabsf(a11) + fabsf(a01)) / fabsf(det) + 0.5f, ep = (fabsf(a00) + fabsf(a10)) / fabsf(det) + 0.5f;
        p0 = (int)ceilf(fminf(fmaxf(p - ep, 0.0f), (float)P)), p1 = (int)floorf(fmaxf(fminf(p + ep, (float)(P - 1)), -1.0f));
        q0 = (int)ceilf(fminf(fmaxf(q - eq, 0.0f), (float)Q)), q1 = (int)floorf(fmaxf(fminf(q + eq, (float)(Q - 1)), -1.0f));
    } else if (!comes_near(b0, a00, a01, Q, P, (float)w) || !comes_near(b1, a10, a11, Q, P, (float)h)) {
        p1 = -1;
    }
    if (p0 > p1 || q0 > q1)
        return;
    dy += (int64_t)b * P * Q * C;
    dx += (((int64_t)b * H + h) * W + w) * C;
    for (int c0 = 0; c0 < C; c0 += CHANNELS) {
        float sum[CHANNELS] = {0};
        for (int p = p0; p <= p1; p++)
            for (int q = q0; q <= q1; q++) {
                struct corners k = affine_corners(t, p, q, P, Q, H, W);
                float weight = 0;
#pragma unroll
                for (int j = 0; j < 4; j++) /* the four are different pixels */
                    if (k.weight[j] != 0 && k.pixel[j] == (int64_t)h * W + w)
                        weight = k.weight[j];
                if (weight == 0)
                    continue;
#pragma unroll
                for (int c = 0; c < CHANNELS; c++)
                    if (c0 + c < C)
                        sum[c] = fmaf(weight, to_float(dy[((int64_t)p * Q + q) * C + c0 + c]), sum[c]);
            }
#pragma unroll
        for (int c = 0; c < CHANNELS; c++)
            if (c0 + c < C)
                dx[c0 + c] = from_float<T>(sum[c]);
    }
}

template <typename T> static void launch(struct cuda_context *c, const struct kernel_call *k) {
    const struct operand *y = &k->in[0], *x = &k->out[0];
    dim3 grid(cuda_grid(x->dim[2], 128), (unsigned)x->dim[1], (unsigned)x->dim[0]);
    if (!operand_count(x))
        return;
    CUDA_CHECK(cudaMemsetAsync(x->data, 0, (size_t)operand_count(x) * sizeof(T), c->stream));
    sample_adj_kernel<<<grid, 128, 0, c->stream>>>((const T *)y->data, (const float *)k->in[1].data, (T *)x->data, (int)x->dim[1],
                                                   (int)x->dim[2], (int)x->dim[3], (int)y->dim[1], (int)y->dim[2]);
    CUDA_CHECK(cudaGetLastError());
}

static void run(void *context, const struct kernel_call *c) { CUDA_BY_TYPE(c->in[0].dtype, launch, cuda(context), c); }

extern "C" const struct kernel kernel_affine_sample_adj_cuda = {NULL, run, NULL};
