/* affine_sample_adj.c - adjoint of affine_sample on the CPU: scatter, one image a piece, so that sums have one order. */
#include "kernels/affine_sample_adj.h"

#include "kernels/affine_position.h"
#include "kernels/cpu.h"

static enum status prepare(void *context, struct kernel_call *c, struct error *e)
{
    (void)context;
    return cpu_need_f32(c, e);
}

static void run(void *context, const struct kernel_call *c)
{
    const struct operand *dy = &c->in[0], *dx = &c->out[0];
    const int64_t P = dy->dim[1], Q = dy->dim[2], H = dx->dim[1], W = dx->dim[2], C = dx->dim[3];
#pragma omp parallel for schedule(static) num_threads(cpu_threads(context))
    for (int64_t n = 0; n < dx->dim[0]; n++) {
        const float *theta = (const float *)c->in[1].data + n * 6, *from = (const float *)dy->data + n * P * Q * C;
        float *image = (float *)dx->data + n * H * W * C;
        memset(image, 0, (size_t)(H * W * C) * sizeof *image);
        for (int64_t p = 0; p < P; p++)
            for (int64_t q = 0; q < Q; q++, from += C) {
                struct corners k = affine_corners(theta, p, q, P, Q, H, W);
                for (int j = 0; j < 4; j++) {
                    if (k.weight[j] == 0.0f)
                        continue;
                    float *to = image + k.pixel[j] * C;
                    add_pixel(to, k.weight[j], from, C);
                }
            }
    }
}

const struct kernel kernel_affine_sample_adj_cpu = {prepare, run, NULL};
