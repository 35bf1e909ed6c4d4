/* affine_sample_adj.cu - see affine_sample_adj.h. Gather form, so that no atomics are needed and the order is fixed: pixel (h,w) was
 * read by the outputs whose position lies within one pixel of it, a parallelogram in (p,q) found by inverting the affine map. Its
 * bounding box, widened by half a pixel against rounding, is looked through by two multiply-adds an output, and those that are near (four
 * of nine to sixteen) are placed by the very function that sampled.
 *
 * One thread a column of four pixels. Most pixels of a padded, upsampled picture are read by nobody: the box misses the output, and they
 * keep the zeros that the picture is filled with first. A map without area (all zeros, say) has no inverse: pixels that its image comes
 * near search everything. */
#include "kernels/cuda.h"
#include "kernels/affine_position.h"

#define CHANNELS 4 /* summed at a time: the search is the dear part */

/* May column (or row) b + s q + t p come within 1.5 of v, for q in 0 .. Q-1 and p in 0 .. P-1? */
__device__ static bool comes_near(float b, float s, float t, int Q, int P, float v) {
    float low = b + fminf(s * (float)(Q - 1), 0.0f) + fminf(t * (float)(P - 1), 0.0f);
    float high = b + fmaxf(s * (float)(Q - 1), 0.0f) + fmaxf(t * (float)(P - 1), 0.0f);
    return v > low - 1.5f && v < high + 1.5f;
}

#define PIXELS 4 /* of a thread, down a column */
#define NEAR 1.01f /* positions by multiply-adds are off by less than a hundredth of a pixel */

struct adj_map { /* column = a00 q + a01 p + b0, row = a10 q + a11 p + b1 */
    float a00, a01, a10, a11, b0, b1;
};

/* The weight of pixel (h,w) in output (p,q), as affine_corners has it. */
__device__ static float weight_in(const float t[6], int p, int q, int P, int Q, int H, int W, int h, int w) {
    float column, row;
    affine_place(t, p, q, P, Q, H, W, &column, &row);
    float left = floorf(column), top = floorf(row), fx = column - left, fy = row - top;
    float x = left == (float)w ? 1.0f - fx : left + 1.0f == (float)w ? fx : 0.0f;
    float y = top == (float)h ? 1.0f - fy : top + 1.0f == (float)h ? fy : 0.0f;
    return x * y;
}
__device__ static bool is_near(const adj_map &m, int p, int q, int h, int w) {
    float fq = (float)q, fp = (float)p;
    return fabsf(fmaf(m.a00, fq, fmaf(m.a01, fp, m.b0 - (float)w))) < NEAR && fabsf(fmaf(m.a10, fq, fmaf(m.a11, fp, m.b1 - (float)h))) < NEAR;
}

template <typename T> __device__ static void add_output(float (&sum)[CHANNELS], float weight, const T *from, int c0, int C) {
    if (weight == 0) /* what was not read does not count, whatever it is */
        return;
#pragma unroll
    for (int c = 0; c < CHANNELS; c++)
        if (c0 + c < C)
            sum[c] = fmaf(weight, to_float(from[c0 + c]), sum[c]);
}

template <typename T> __global__ static void sample_adj_kernel(const T *dy, const float *theta, T *dx, int H, int W, int C, int P, int Q) {
    int w = blockIdx.x * blockDim.x + threadIdx.x, b = blockIdx.z;
    if (w >= W)
        return;
    float t[6];
#pragma unroll
    for (int i = 0; i < 6; i++)
        t[i] = theta[6 * b + i];
    adj_map m;
    m.a00 = t[0] * (float)W / (float)Q, m.a01 = t[1] * (float)W / (float)P, m.a10 = t[3] * (float)H / (float)Q, m.a11 = t[4] * (float)H / (float)P;
    m.b0 = ((t[0] * (1.0f / (float)Q - 1) + t[1] * (1.0f / (float)P - 1) + t[2] + 1) * (float)W - 1) * 0.5f;
    m.b1 = ((t[3] * (1.0f / (float)Q - 1) + t[4] * (1.0f / (float)P - 1) + t[5] + 1) * (float)H - 1) * 0.5f;
    float det = m.a00 * m.a11 - m.a01 * m.a10, inverse = 1.0f / det;
    bool invertible = fabsf(det) > 1e-6f;
    float eq = (fabsf(m.a11) + fabsf(m.a01)) * fabsf(inverse) + 0.5f, ep = (fabsf(m.a00) + fabsf(m.a10)) * fabsf(inverse) + 0.5f;
    dy += (int64_t)b * P * Q * C;
    dx += (int64_t)b * H * W * C;
    for (int h = blockIdx.y * PIXELS, end = min(h + PIXELS, H); h < end; h++) {
        int p0 = 0, p1 = P - 1, q0 = 0, q1 = Q - 1;
        if (invertible) {
            float dc = (float)w - m.b0, dr = (float)h - m.b1, q = (m.a11 * dc - m.a01 * dr) * inverse, p = (m.a00 * dr - m.a10 * dc) * inverse;
            p0 = (int)ceilf(fminf(fmaxf(p - ep, 0.0f), (float)P)), p1 = (int)floorf(fmaxf(fminf(p + ep, (float)(P - 1)), -1.0f));
            q0 = (int)ceilf(fminf(fmaxf(q - eq, 0.0f), (float)Q)), q1 = (int)floorf(fmaxf(fminf(q + eq, (float)(Q - 1)), -1.0f));
        } else if (!comes_near(m.b0, m.a00, m.a01, Q, P, (float)w) || !comes_near(m.b1, m.a10, m.a11, Q, P, (float)h)) {
            continue;
        }
        if (p0 > p1 || q0 > q1)
            continue;
        /* A box of up to 8 x 8 outputs: first which are near, then only those, so that a warp's threads are all at one of theirs. */
        bool small = p1 - p0 < 8 && q1 - q0 < 8;
        unsigned long long near = 0;
        if (small)
            for (int p = p0; p <= p1; p++)
                for (int q = q0; q <= q1; q++)
                    near |= (unsigned long long)is_near(m, p, q, h, w) << ((p - p0) * 8 + q - q0);
        for (int c0 = 0; c0 < C; c0 += CHANNELS) {
            float sum[CHANNELS] = {0};
            for (unsigned long long rest = near; rest; rest &= rest - 1) {
                int at = __ffsll((long long)rest) - 1, p = p0 + at / 8, q = q0 + at % 8;
                add_output(sum, weight_in(t, p, q, P, Q, H, W, h, w), dy + ((int64_t)p * Q + q) * C, c0, C);
            }
            for (int p = p0; p <= p1 && !small; p++)
                for (int q = q0; q <= q1; q++)
                    if (is_near(m, p, q, h, w))
                        add_output(sum, weight_in(t, p, q, P, Q, H, W, h, w), dy + ((int64_t)p * Q + q) * C, c0, C);
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
