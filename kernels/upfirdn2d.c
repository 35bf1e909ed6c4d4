/* upfirdn2d.c - zero-insertion upsampling, FIR filter, decimation on the CPU. One output row a piece. */
#include "kernels/upfirdn2d.h"

#include "kernels/cpu.h"

static enum status prepare(void *context, struct kernel_call *c, struct error *e)
{
    (void)context;
    return cpu_need_f32(c, e);
}

static void run(void *context, const struct kernel_call *c)
{
    const struct operand *x = &c->in[0], *f = &c->in[1], *y = &c->out[0];
    const int64_t *a = c->a.i, H = x->dim[1], W = x->dim[2], C = x->dim[3], N = y->dim[0], P = y->dim[1], Q = y->dim[2];
    const int64_t fh = f->dim[f->ndim - 2], fw = f->dim[f->ndim - 1];
    bool flip = a[8];
#pragma omp parallel for schedule(static) num_threads(cpu_threads(context))
    for (int64_t np = 0; np < N * P; np++) {
        int64_t n = np / P, p = np % P;
        const float *fn = (const float *)f->data + (f->ndim == 3 && f->dim[0] > 1 ? n * fh * fw : 0);
        const float *xn = (const float *)x->data + n * H * W * C;
        float *row = (float *)y->data + np * Q * C;
        memset(row, 0, (size_t)(Q * C) * sizeof *row);
        for (int64_t i = 0; i < fh; i++) {
            int64_t uy = p * a[2] + i - a[4];
            if (uy < 0 || uy % a[0] || uy / a[0] >= H)
                continue;
            for (int64_t q = 0; q < Q; q++)
                for (int64_t j = 0; j < fw; j++) {
                    int64_t ux = q * a[3] + j - a[6];
                    if (ux < 0 || ux % a[1] || ux / a[1] >= W)
                        continue;
                    float weight = c->a.f[0] * (flip ? fn[i * fw + j] : fn[(fh - 1 - i) * fw + fw - 1 - j]);
                    const float *from = xn + (uy / a[0] * W + ux / a[1]) * C;
                    for (int64_t k = 0; k < C; k++)
                        row[q * C + k] += weight * from[k];
                }
        }
    }
}

const struct kernel kernel_upfirdn2d_cpu = {prepare, run, NULL};
