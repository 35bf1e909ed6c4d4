/* affine_sample.c - bilinear sampling at affine positions on the CPU. One output row a piece. */
#include "kernels/affine_sample.h"

#include <math.h>

#include "kernels/affine_position.h"
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
#pragma omp parallel for schedule(static) num_threads(cpu_threads(context))
    for (int64_t np = 0; np < y->dim[0] * P; np++) {
        const float *theta = (const float *)c->in[1].data + np / P * 6, *xn = (const float *)x->data + np / P * H * W * C;
        float *row = (float *)y->data + np * Q * C;
        for (int64_t q = 0; q < Q; q++) {
            struct corners k = affine_corners(theta, np % P, q, P, Q, H, W);
            float *to = row + q * C;
            memset(to, 0, (size_t)C * sizeof *to);
            for (int j = 0; j < 4; j++) {
                if (k.weight[j] == 0.0f)
                    continue;
                const float *from = xn + k.pixel[j] * C;
                add_pixel(to, k.weight[j], from, C);
            }
        }
    }
}

const struct kernel kernel_affine_sample_cpu = {prepare, run, NULL};
