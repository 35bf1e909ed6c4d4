/* lerp.c - the CPU's running average. See lerp.h. */
#include "kernels/lerp.h"

#include "kernels/cpu.h"

static void run(void *context, const struct kernel_call *c) {
    float *x = c->in[0].data;
    const float *to = c->in[1].data, t = *(const float *)c->in[2].data;
    int64_t n = 1;
    for (int d = 0; d < c->in[0].ndim; d++)
        n *= c->in[0].dim[d];
    int threads = cpu_threads(context);
#pragma omp parallel for simd num_threads(threads) schedule(static) if (n > 32768)
    for (int64_t i = 0; i < n; i++)
        x[i] = to[i] + t * (x[i] - to[i]);
}

const struct kernel kernel_lerp_cpu = {.run = run};
