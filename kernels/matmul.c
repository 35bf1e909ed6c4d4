/* matmul.c - matrix products on the CPU: oneDNN's sgemm on fixed pieces of the result, own loops for tiny matrices.
 *
 * Pieces are rows x columns of one product of the batch; every piece sums over the whole of K in one thread. Sizes met: mapping
 * network [1..64,512]x[512,512], demodulation [N,I]x[I,O], colour transform batched 3x3, features of Inception 2048 x 2048.
 */
#include "kernels/matmul.h"

#include "kernels/cpu.h"
#include "kernels/sgemm.h"

#define SIDE 256    /* rows and columns of a piece; */
#define LARGE 512   /* of products that have 16 pieces of this side: packing costs half */
#define TINY 4096   /* multiply-adds of one product below which calling a library costs more than the work */

struct view {
    const float *data;
    int64_t batch_step, row_step, column_step; /* of the operand as used, after ta or tb */
};

static struct view view_of(const struct operand *o, bool transposed)
{
    int64_t rows = o->dim[o->ndim - 2], columns = o->dim[o->ndim - 1];
    struct view v = {o->data, o->ndim == 3 && o->dim[0] > 1 ? rows * columns : 0, columns, 1};
    if (transposed) {
        v.row_step = 1;
        v.column_step = columns;
    }
    return v;
}

static void tiny(const float *a, struct view va, const float *b, struct view vb, float *y, int64_t M, int64_t N, int64_t K)
{
    for (int64_t m = 0; m < M; m++)
        for (int64_t n = 0; n < N; n++) {
            float sum = 0;
            for (int64_t k = 0; k < K; k++)
                sum += a[m * va.row_step + k * va.column_step] * b[k * vb.row_step + n * vb.column_step];
            y[m * N + n] = sum;
        }
}

struct plan {
    int64_t B, M, N, K, rows, columns; /* of the product and of a piece */
};

static struct plan plan_of(const struct kernel_call *c)
{
    const struct operand *o = &c->out[0];
    bool ta = c->a.i[0];
    struct plan p = {.B = o->ndim == 3 ? o->dim[0] : 1, .M = o->dim[o->ndim - 2], .N = o->dim[o->ndim - 1]};
    p.K = c->in[0].dim[c->in[0].ndim - (ta ? 2 : 1)];
    p.rows = p.columns = p.M * p.N >= 16 * LARGE * LARGE ? LARGE : SIDE;
    if (p.M <= SIDE / 2)
        p.columns = SIDE / 2; /* more pieces at the same rate; half as many columns again would halve it */
    return p;
}

static enum status prepare(void *context, struct kernel_call *c, struct error *e)
{
    (void)context;
    return cpu_need_f32(c, e);
}

static void run(void *context, const struct kernel_call *c)
{
    const struct plan p = plan_of(c);
    const int64_t B = p.B, M = p.M, N = p.N, K = p.K;
    bool ta = c->a.i[0], tb = c->a.i[1];
    struct view a = view_of(&c->in[0], ta), b = view_of(&c->in[1], tb);
    float *y = c->out[0].data;
    if (M * N * K <= TINY) {
#pragma omp parallel for schedule(static) num_threads(cpu_threads(context)) if (B * M * N * K > 4 * TINY)
        for (int64_t i = 0; i < B; i++)
            tiny(a.data + i * a.batch_step, a, b.data + i * b.batch_step, b, y + i * M * N, M, N, K);
        return;
    }
    int64_t across = (N + p.columns - 1) / p.columns, down = (M + p.rows - 1) / p.rows;
    int64_t lda = ta ? a.column_step : a.row_step, ldb = tb ? b.column_step : b.row_step;
#pragma omp parallel num_threads(cpu_threads(context))
    {
        omp_set_num_threads(1); /* of this thread only: oneDNN must not start threads of its own */
#pragma omp for schedule(static)
        for (int64_t piece = 0; piece < B * down * across; piece++) {
            int64_t i = piece / (down * across), m = piece / across % down * p.rows, n = piece % across * p.columns;
            int64_t rows = M - m < p.rows ? M - m : p.rows, columns = N - n < p.columns ? N - n : p.columns;
            const float *ai = a.data + i * a.batch_step + m * a.row_step, *bi = b.data + i * b.batch_step + n * b.column_step;
            float *yi = y + i * M * N + m * N + n;
            sgemm(ta ? 'T' : 'N', tb ? 'T' : 'N', rows, columns, K, 1.0f, ai, lda, bi, ldb, 0.0f, yi, N);
        }
    }
}

const struct kernel kernel_matmul_cpu = {prepare, run, NULL};
