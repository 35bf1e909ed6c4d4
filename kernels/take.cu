/* take.cu - see take.h. A thread 16 bytes where a plain picture allows it, else a pixel; 32 pictures of 128x128 are 1.5 MB, a few
 * microseconds beside an iteration of milliseconds, so nothing here is tuned further. */
#include "kernels/cuda.h"

__global__ static void take_kernel(const uint8_t *table, const int64_t *index, uint8_t *y, int64_t N, int64_t pixels, int W, int C, bool vectors) {
    int64_t number = index[blockIdx.y], i = number < 0 ? -1 - number : number, picture = pixels * C;
    int64_t first = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, stride = (int64_t)gridDim.x * blockDim.x;
    const uint8_t *x = table + (i < N ? i : 0) * picture;
    y += blockIdx.y * picture;
    if (number >= 0 && i < N && vectors) {
        for (int64_t k = first; k < picture / 16; k += stride)
            ((uint4 *)y)[k] = ((const uint4 *)x)[k];
        return;
    }
    for (int64_t p = first; p < pixels; p += stride) {
        int64_t w = p % W, from = number < 0 ? p - w + (W - 1 - w) : p;
        for (int c = 0; c < C; c++)
            y[p * C + c] = i < N ? x[from * C + c] : 0;
    }
}

static void run(void *context, const struct kernel_call *k) {
    const struct operand *table = &k->in[0], *y = &k->out[0];
    int64_t pixels = table->dim[1] * table->dim[2], B = y->dim[0], blocks = (pixels + CUDA_BLOCK - 1) / CUDA_BLOCK;
    if (!operand_count(y))
        return;
    bool vectors = pixels * table->dim[3] % 16 == 0 && (uintptr_t)table->data % 16 == 0 && (uintptr_t)y->data % 16 == 0;
    dim3 grid((unsigned)(blocks < 64 ? blocks : 64), (unsigned)B);
    take_kernel<<<grid, CUDA_BLOCK, 0, cuda(context)->stream>>>((const uint8_t *)table->data, (const int64_t *)k->in[1].data,
                                                                (uint8_t *)y->data, table->dim[0], pixels, (int)table->dim[2],
                                                                (int)table->dim[3], vectors);
    CUDA_CHECK(cudaGetLastError());
}

extern "C" const struct kernel kernel_take_cuda = {NULL, run, NULL};
