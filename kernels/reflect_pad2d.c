/* reflect_pad2d.c - mirror padding on the CPU: rows of memcpy, one output row a piece. */
#include "kernels/reflect_pad2d.h"

#include "kernels/cpu.h"

static enum status prepare(void *context, struct kernel_call *c, struct error *e)
{
    (void)context;
    return cpu_need_f32(c, e);
}

static int64_t mirror(int64_t i, int64_t length)
{
    return i < 0 ? -i : i < length ? i : 2 * (length - 1) - i;
}

static void run(void *context, const struct kernel_call *c)
{
    const struct operand *x = &c->in[0], *y = &c->out[0];
    const int64_t H = x->dim[1], W = x->dim[2], C = x->dim[3], P = y->dim[1], Q = y->dim[2], y0 = c->a.i[0], x0 = c->a.i[2];
#pragma omp parallel for schedule(static) num_threads(cpu_threads(context))
    for (int64_t np = 0; np < y->dim[0] * P; np++) {
        const float *from = (const float *)x->data + (np / P * H + mirror(np % P - y0, H)) * W * C;
        float *to = (float *)y->data + np * Q * C;
        for (int64_t q = 0; q < x0; q++)
            memcpy(to + q * C, from + (x0 - q) * C, (size_t)C * sizeof *to);
        memcpy(to + x0 * C, from, (size_t)(W * C) * sizeof *to);
        for (int64_t q = x0 + W; q < Q; q++)
            memcpy(to + q * C, from + mirror(q - x0, W) * C, (size_t)C * sizeof *to);
    }
}

const struct kernel kernel_reflect_pad2d_cpu = {prepare, run, NULL};
