/* reflect_pad2d_adj.c - adjoint of mirror padding on the CPU, in gather form: one row of the result a piece. */
#include "kernels/reflect_pad2d_adj.h"

#include "kernels/cpu.h"

static enum status prepare(void *context, struct kernel_call *c, struct error *e)
{
    (void)context;
    return cpu_need_f32(c, e);
}

/* The padded positions that were copied from i: at most three (itself and one mirror image at each side). */
static int sources(int64_t i, int64_t length, int64_t before, int64_t after, int64_t at[3])
{
    int n = 0;
    if (i > 0 && i <= before)
        at[n++] = before - i;
    at[n++] = before + i;
    if (i < length - 1 && length - 1 - i <= after)
        at[n++] = before + 2 * (length - 1) - i;
    return n;
}

static void run(void *context, const struct kernel_call *c)
{
    const struct operand *dy = &c->in[0], *dx = &c->out[0];
    const int64_t *a = c->a.i, P = dy->dim[1], Q = dy->dim[2], H = dx->dim[1], W = dx->dim[2], C = dx->dim[3];
#pragma omp parallel for schedule(static) num_threads(cpu_threads(context))
    for (int64_t nh = 0; nh < dx->dim[0] * H; nh++) {
        float *to = (float *)dx->data + nh * W * C;
        int64_t p[3], q[3];
        int rows = sources(nh % H, H, a[0], a[1], p);
        for (int r = 0; r < rows; r++) {
            const float *from = (const float *)dy->data + (nh / H * P + p[r]) * Q * C;
#pragma omp simd
            for (int64_t i = 0; i < W * C; i++)
                to[i] = from[a[2] * C + i] + (r ? to[i] : 0.0f);
            for (int64_t w = 0; w < W; w++) {
                int columns = sources(w, W, a[2], a[3], q);
                for (int s = 0; s < columns; s++)
                    for (int64_t k = 0; q[s] != a[2] + w && k < C; k++)
                        to[w * C + k] += from[q[s] * C + k];
            }
        }
    }
}

const struct kernel kernel_reflect_pad2d_adj_cpu = {prepare, run, NULL};
