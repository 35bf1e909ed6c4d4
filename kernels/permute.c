/* permute.c - the CPU's permutation of dimensions. See permute.h.
 *
 * Used between the engine's [N,H,W,C] and the layouts of files, and for small tensors (minibatch statistics). Walks the output in
 * order; the two innermost output dimensions are a loop nest, cut into 32x32 tiles so that a transposition does not miss the
 * cache on every element.
 */
#include "kernels/permute.h"

#include "kernels/cpu.h"

#define TILE 32

/* y[i][j] = x[i*si + j*sj], m x n */
#define TRANSPOSE(type)                                                           \
    static void transpose_##type(type *y, const type *x, int64_t m, int64_t n,    \
                                 int64_t si, int64_t sj) {                        \
        for (int64_t i0 = 0; i0 < m; i0 += TILE)                                  \
            for (int64_t j0 = 0; j0 < n; j0 += TILE)                              \
                for (int64_t i = i0; i < m && i < i0 + TILE; i++)                 \
                    for (int64_t j = j0; j < n && j < j0 + TILE; j++)             \
                        y[i * n + j] = x[i * si + j * sj];                        \
    }
TRANSPOSE(uint8_t)
TRANSPOSE(uint16_t)
TRANSPOSE(uint32_t)
TRANSPOSE(uint64_t)

static void run(void *context, const struct kernel_call *c) {
    const struct operand *x = &c->in[0], *y = &c->out[0];
    int64_t in_stride[MAX_DIM], stride[MAX_DIM] = {0}, dim[MAX_DIM], n = 1;
    for (int d = x->ndim - 1; d >= 0; d--) {
        in_stride[d] = n;
        n *= x->dim[d];
    }
    int lead = MAX_DIM - y->ndim; /* right-aligned: dim[4] and dim[5] are the innermost two */
    for (int d = 0; d < MAX_DIM; d++) {
        dim[d] = d < lead ? 1 : y->dim[d - lead];
        stride[d] = d < lead ? 0 : in_stride[c->a.i[d - lead]];
    }
    const int64_t plane = dim[4] * dim[5], planes = n / plane;
    const int size = dtype_size(x->dtype), threads = cpu_threads(context);
#pragma omp parallel for num_threads(threads) schedule(static) if (n > 32768)
    for (int64_t p = 0; p < planes; p++) {
        int64_t at = 0, rest = p;
        for (int d = 3; d >= 0; d--) {
            at += rest % dim[d] * stride[d];
            rest /= dim[d];
        }
        char *to = (char *)y->data + p * plane * size;
        const char *from = (const char *)x->data + at * size;
        if (size == 4)
            transpose_uint32_t((uint32_t *)to, (const uint32_t *)from, dim[4], dim[5], stride[4], stride[5]);
        else if (size == 2)
            transpose_uint16_t((uint16_t *)to, (const uint16_t *)from, dim[4], dim[5], stride[4], stride[5]);
        else if (size == 8)
            transpose_uint64_t((uint64_t *)to, (const uint64_t *)from, dim[4], dim[5], stride[4], stride[5]);
        else
            transpose_uint8_t((uint8_t *)to, (const uint8_t *)from, dim[4], dim[5], stride[4], stride[5]);
    }
}

const struct kernel kernel_permute_cpu = {.run = run};
