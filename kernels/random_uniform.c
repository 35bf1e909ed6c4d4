/* random_uniform.c - the CPU's uniform numbers: every row is a stream of its own. See random_uniform.h. */
#include "kernels/random_uniform.h"

#include "common/rng/philox.h"
#include "kernels/cpu.h"

static void run(void *context, const struct kernel_call *c) {
    const uint64_t *key = c->in[0].data;
    float *y = c->out[0].data;
    int64_t rows = c->out[0].dim[0], n = 1;
    for (int d = 1; d < c->out[0].ndim; d++)
        n *= c->out[0].dim[d];
    bool own = c->in[0].ndim == 2 && c->in[0].dim[0] > 1; /* a key a row */
    int threads = cpu_threads(context);
#pragma omp parallel for num_threads(threads) schedule(static) if (rows * n > 4096)
    for (int64_t r = 0; r < rows; r++)
        philox_fill_uniform(key[own ? 2 * r : 0], own ? key[2 * r + 1] : key[1] + (uint64_t)r, (uint32_t)c->a.i[0], y + r * n, n);
}

const struct kernel kernel_random_uniform_cpu = {.run = run};
