/* random.cuh - the common part of random_normal and random_uniform: one thread a Philox block of four numbers. */
#ifndef FACEMILL_RANDOM_CUH
#define FACEMILL_RANDOM_CUH

#include "common/rng/philox.h"
#include "kernels/cuda.h"

/* Box-Muller in float64, as philox_fill_normal does: the CPU's numbers to the last bit or one beside it. */
template <bool NORMAL> __global__ static void random_kernel(const uint64_t *key, bool own, uint32_t use, float *y, int64_t rows, int64_t n) {
    int64_t blocks = (n + 3) / 4, i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= rows * blocks)
        return;
    int64_t row = i / blocks, block = i % blocks;
    uint32_t bits[4];
    float x[4];
    philox4x32(key[own ? 2 * row : 0], own ? key[2 * row + 1] : key[1] + (uint64_t)row, use, (uint32_t)block, bits);
    for (int k = 0; k < 4; k += 2) {
        float u = philox_unit(bits[k]), v = philox_unit(bits[k + 1]);
        if (NORMAL) {
            double r = sqrt(-2 * log((double)u)), s, c;
            sincos(6.283185307179586 * v, &s, &c);
            x[k] = (float)(r * c);
            x[k + 1] = (float)(r * s);
        } else {
            x[k] = u;
            x[k + 1] = v;
        }
    }
    for (int k = 0; k < 4 && block * 4 + k < n; k++)
        y[row * n + block * 4 + k] = x[k];
}

template <bool NORMAL> static void random_run(void *context, const struct kernel_call *c) {
    int64_t rows = c->out[0].dim[0], n = rows ? operand_count(&c->out[0]) / rows : 0;
    if (!n)
        return;
    random_kernel<NORMAL><<<cuda_grid(rows * ((n + 3) / 4)), CUDA_BLOCK, 0, cuda(context)->stream>>>(
        (const uint64_t *)c->in[0].data, c->in[0].ndim == 2 && c->in[0].dim[0] > 1, (uint32_t)c->a.i[0], (float *)c->out[0].data, rows, n);
    CUDA_CHECK(cudaGetLastError());
}

#endif
