/* maxpool2d.c - max pooling on the CPU. One output row a piece. */
#include "kernels/maxpool2d.h"

#include <math.h>

#include "kernels/cpu.h"

static enum status prepare(void *context, struct kernel_call *c, struct error *e)
{
    (void)context;
    return cpu_need_f32(c, e);
}

static void run(void *context, const struct kernel_call *c)
{
    const struct operand *x = &c->in[0], *y = &c->out[0];
    const int64_t H = x->dim[1], W = x->dim[2], C = x->dim[3], P = y->dim[1], Q = y->dim[2];
    const int64_t size = c->a.i[0], stride = c->a.i[1], pad = c->a.i[2];
#pragma omp parallel for schedule(static) num_threads(cpu_threads(context))
    for (int64_t np = 0; np < y->dim[0] * P; np++) {
        const float *xn = (const float *)x->data + np / P * H * W * C;
        for (int64_t q = 0; q < Q; q++) {
            float *to = (float *)y->data + (np * Q + q) * C;
#pragma omp simd
            for (int64_t i = 0; i < C; i++)
                to[i] = -INFINITY;
            for (int64_t r = 0; r < size; r++) {
                int64_t h = np % P * stride + r - pad;
                for (int64_t s = 0; s < size && h >= 0 && h < H; s++) {
                    int64_t w = q * stride + s - pad;
                    if (w < 0 || w >= W)
                        continue;
                    const float *from = xn + (h * W + w) * C;
#pragma omp simd
                    for (int64_t i = 0; i < C; i++)
                        to[i] = from[i] > to[i] ? from[i] : to[i];
                }
            }
        }
    }
}

const struct kernel kernel_maxpool2d_cpu = {prepare, run, NULL};
