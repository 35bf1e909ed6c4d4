/* adam.c - the CPU's Adam step, one pass over the four arrays. See adam.h. */
#include "kernels/adam.h"

#include <math.h>

#include "kernels/cpu.h"

static void run(void *context, const struct kernel_call *c) {
    float *restrict p = c->in[0].data, *restrict m = c->in[2].data, *restrict v = c->in[3].data;
    const float *restrict g = c->in[1].data, *h = c->in[4].data;
    int64_t n = 1;
    for (int d = 0; d < c->in[0].ndim; d++)
        n *= c->in[0].dim[d];
    const float lr = h[0], b1 = h[1], b2 = h[2], eps = h[3], c1 = h[4], c2 = h[5], limit = c->a.f[0], factor = c->a.f[1];
    int threads = cpu_threads(context);
#pragma omp parallel for simd num_threads(threads) schedule(static) if (n > 32768)
    for (int64_t i = 0; i < n; i++) {
        float gi = factor ? factor * g[i] : g[i];
        gi = !limit ? gi : gi != gi ? 0.0f : gi == INFINITY ? limit : gi == -INFINITY ? -limit : gi;
        float mi = b1 * m[i] + (1 - b1) * gi, vi = b2 * v[i] + (1 - b2) * gi * gi;
        m[i] = mi;
        v[i] = vi;
        p[i] -= lr * (mi / c1) / (sqrtf(vi / c2) + eps);
    }
}

const struct kernel kernel_adam_cpu = {.run = run};
