/* mirror_sample_adj.cu - see mirror_sample_adj.h. A block makes 16 x 16 pixels of the picture. Each of the nine mirror images of this tile
 * lies under 42 x 42 enlarged pixels; where outputs may have read any of them, they are gathered in shared memory (affine_gather.cuh),
 * filtered along rows, then down columns, and added to the thread's pixel, mirror image after mirror image: no atomics, one order.
 * Nearly always eight of nine are not read and cost a test.
 *
 * 32 pictures of 128x128: 4 million enlarged pixels gathered (2.3 million, and those under two tiles) of nine to sixteen tests and four
 * sums each; 0.31 ms where the adjoints of sampling, enlarging and padding took 0.5. */
#include "kernels/affine_gather.cuh"

#define TILE 16
#define THREADS (TILE * TILE)
#define TAPS 12
#define SPAN (2 * (TILE - 1) + TAPS) /* enlarged pixels along a tile: 2k-5 .. 2k+6 are what pixel k has a part of */

/* The first place of the mirrored picture in mirror image 0 (itself), 1 (before it) or 2 (behind it) of pixels i0 .. i0+15. */
__device__ static inline int image_start(int image, int i0, int length) {
    return image == 0 ? length - 1 + i0 : (image == 1 ? 1 : 3) * (length - 1) - i0 - (TILE - 1);
}
/* Does the mirrored picture have it? The pixel at the edge is the mirror. */
__device__ static inline bool image_has(int image, int i, int length) {
    return i < length && (image == 0 || (image == 1 ? i > 0 : i < length - 1));
}

template <typename T, int CHANNELS>
__global__ static void __launch_bounds__(THREADS, 3) mirror_adj_kernel(const T *dy, const float *theta, const float *f, T *dx, int H, int W, int C,
                                                                    int P, int Q) {
    __shared__ float z[SPAN][SPAN * CHANNELS], across[SPAN][TILE * CHANNELS], tap[TAPS];
    const int thread = (int)threadIdx.x, tx = thread % TILE, ty = thread / TILE, b = (int)blockIdx.z;
    const int w0 = (int)blockIdx.x * TILE, h0 = (int)blockIdx.y * TILE, w = w0 + tx, h = h0 + ty;
    const affine_map m = affine_map_of(theta + 6 * b, 6 * H - 4, 6 * W - 4, P, Q);
    if (thread < TAPS)
        tap[thread] = 2 * f[thread];
    dy += (int64_t)b * P * Q * C;
    for (int c0 = 0; c0 < C; c0 += CHANNELS) {
        float sum[CHANNELS] = {0};
        for (int image = 0; image < 9; image++) {
            const int vertical = image / 3, horizontal = image % 3;
            const int row0 = 2 * image_start(vertical, h0, H) - 5, column0 = 2 * image_start(horizontal, w0, W) - 5;
            const float middle = 0.5f * (SPAN - 1);
            outputs o;
            if (!affine_outputs(m, (float)row0 + middle, (float)column0 + middle, middle + 1, &o) ||
                !image_comes_near(m, (float)row0 + middle, (float)column0 + middle, middle + 1))
                continue; /* the whole block */
            __syncthreads();
            for (int i = thread; i < SPAN * SPAN; i += THREADS) {
                int r = i / SPAN, s = i % SPAN, row = row0 + r, column = column0 + s;
                float pixel[CHANNELS] = {0};
                if (row >= 0 && row < m.H && column >= 0 && column < m.W && affine_outputs(m, (float)row, (float)column, 1, &o))
                    affine_gather(m, o, row, column, dy, c0, C, pixel);
#pragma unroll
                for (int c = 0; c < CHANNELS; c++)
                    z[r][s * CHANNELS + c] = pixel[c];
            }
            __syncthreads();
            for (int i = thread; i < SPAN * TILE * CHANNELS; i += THREADS) {
                int r = i / (TILE * CHANNELS), s = i % (TILE * CHANNELS);
                const float *from = z[r] + s / CHANNELS * 2 * CHANNELS + s % CHANNELS;
                float v = 0;
#pragma unroll
                for (int j = 0; j < TAPS; j++)
                    v = fmaf(tap[j], from[j * CHANNELS], v);
                across[r][s] = v;
            }
            __syncthreads();
            if (image_has(vertical, h, H) && image_has(horizontal, w, W)) {
                const float *from = across[2 * (vertical ? TILE - 1 - ty : ty)] + (horizontal ? TILE - 1 - tx : tx) * CHANNELS;
#pragma unroll
                for (int j = 0; j < TAPS; j++)
#pragma unroll
                    for (int c = 0; c < CHANNELS; c++)
                        sum[c] = fmaf(tap[j], from[j * TILE * CHANNELS + c], sum[c]);
            }
        }
        if (h < H && w < W) {
            T *to = dx + (((int64_t)b * H + h) * W + w) * C + c0;
#pragma unroll
            for (int c = 0; c < CHANNELS; c++)
                if (c0 + c < C)
                    to[c] = from_float<T>(sum[c]);
        }
    }
}

template <typename T> static void launch(struct cuda_context *c, const struct kernel_call *k) {
    const struct operand *y = &k->in[0], *x = &k->out[0];
    const T *dy = (const T *)y->data;
    const float *theta = (const float *)k->in[1].data, *f = (const float *)k->in[2].data;
    T *dx = (T *)x->data;
    int H = (int)x->dim[1], W = (int)x->dim[2], C = (int)x->dim[3], P = (int)y->dim[1], Q = (int)y->dim[2];
    dim3 grid(cuda_grid(W, TILE), cuda_grid(H, TILE), (unsigned)x->dim[0]);
    if (!operand_count(x))
        return;
    if (C == 3)
        mirror_adj_kernel<T, 3><<<grid, THREADS, 0, c->stream>>>(dy, theta, f, dx, H, W, C, P, Q);
    else
        mirror_adj_kernel<T, 4><<<grid, THREADS, 0, c->stream>>>(dy, theta, f, dx, H, W, C, P, Q);
    CUDA_CHECK(cudaGetLastError());
}

static void run(void *context, const struct kernel_call *c) { CUDA_BY_TYPE(c->in[0].dtype, launch, cuda(context), c); }

extern "C" const struct kernel kernel_mirror_sample_adj_cuda = {NULL, run, NULL};
