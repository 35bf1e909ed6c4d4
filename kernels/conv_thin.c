/* conv_thin.c - 1x1 convolutions of stride 1 where one side has at most four channels (to and from RGB): own loops.
 *
 * Such a layer does a few operations a byte; what counts is to read and write once. oneDNN pads the few channels to 16.
 * Forward and input gradient are one function, y[m,o] = sum over i of x[m,i] * v[o,i], over all pixels m.
 */
#include <stdlib.h>

#include "common/base/mem.h"
#include "kernels/conv_cpu.h"
#include "kernels/cpu.h"

#define THIN 4
#define ROWS 512  /* pixels of a piece */
#define SUMS 16   /* pieces of the weight gradient */

struct state {
    const struct conv_method *method;
    enum conv_kind kind;
    int64_t rows, C, K;
    int64_t sum_step; /* floats of one partial weight gradient */
};

static bool suits(enum conv_kind kind, const struct conv_shape *s)
{
    (void)kind;
    return s->R == 1 && s->S == 1 && s->stride == 1 && s->pad_h == 0 && s->pad_w == 0 && (s->C <= THIN || s->K <= THIN);
}

static enum status prepare(void *context, struct kernel_call *c, enum conv_kind kind, const struct conv_shape *s, struct error *e)
{
    (void)context, (void)e;
    struct state *t = xcalloc(1, sizeof *t);
    *t = (struct state){&conv_thin, kind, s->N * s->P * s->Q, s->C, s->K, round_up(s->C * s->K, 64)};
    c->state = t;
    c->workspace_bytes = 4 * t->sum_step * (kind == CONV_WEIGHT_GRAD ? SUMS : 1);
    return ST_OK;
}

/* few inputs: v is [I][O] */
static void spread(const float *x, int64_t I, const float *v, float *y, int64_t O, int64_t rows)
{
    for (int64_t m = 0; m < rows; m++, x += I, y += O) {
        if (I == 3) {
            float a = x[0], b = x[1], c = x[2];
#pragma omp simd
            for (int64_t o = 0; o < O; o++)
                y[o] = a * v[o] + b * v[O + o] + c * v[2 * O + o];
            continue;
        }
        for (int64_t i = 0; i < I; i++)
#pragma omp simd
            for (int64_t o = 0; o < O; o++)
                y[o] = (i ? y[o] : 0.0f) + x[i] * v[i * O + o];
    }
}

/* few outputs: v is [O][I] */
static void gather(const float *x, int64_t I, const float *v, float *y, int64_t O, int64_t rows)
{
    for (int64_t m = 0; m < rows; m++, x += I, y += O) {
        if (O == 3) {
            float a = 0, b = 0, c = 0;
#pragma omp simd reduction(+ : a, b, c)
            for (int64_t i = 0; i < I; i++) {
                a += x[i] * v[i];
                b += x[i] * v[I + i];
                c += x[i] * v[2 * I + i];
            }
            y[0] = a, y[1] = b, y[2] = c;
            continue;
        }
        for (int64_t o = 0; o < O; o++) {
            float a = 0;
#pragma omp simd reduction(+ : a)
            for (int64_t i = 0; i < I; i++)
                a += x[i] * v[o * I + i];
            y[o] = a;
        }
    }
}

/* sum[t][w] += thin[m][t] * wide[m][w], four pixels at a time */
static void outer(const float *thin, int64_t T, const float *wide, int64_t W, float *sum, int64_t rows)
{
    int64_t m = 0;
    memset(sum, 0, (size_t)(T * W) * sizeof *sum);
    for (; m + 4 <= rows; m += 4, thin += 4 * T, wide += 4 * W)
        for (int64_t t = 0; t < T; t++) {
            float a = thin[t], b = thin[T + t], c = thin[2 * T + t], d = thin[3 * T + t];
#pragma omp simd
            for (int64_t w = 0; w < W; w++)
                sum[t * W + w] += a * wide[w] + b * wide[W + w] + c * wide[2 * W + w] + d * wide[3 * W + w];
        }
    for (; m < rows; m++, thin += T, wide += W)
        for (int64_t t = 0; t < T; t++)
#pragma omp simd
            for (int64_t w = 0; w < W; w++)
                sum[t * W + w] += thin[t] * wide[w];
}

static void run_weight_grad(void *context, const struct kernel_call *c, const struct state *t)
{
    bool few_in = t->C <= t->K; /* the thin side is x */
    const float *thin = c->in[few_in ? 0 : 1].data, *wide = c->in[few_in ? 1 : 0].data;
    int64_t T = few_in ? t->C : t->K, W = few_in ? t->K : t->C;
    float *sums = c->workspace, *dw = c->out[0].data; /* sums: [SUMS][T][W] */
#pragma omp parallel for schedule(static) num_threads(cpu_threads(context))
    for (int64_t p = 0; p < SUMS; p++) {
        int64_t first = p * t->rows / SUMS, end = (p + 1) * t->rows / SUMS;
        outer(thin + first * T, T, wide + first * W, W, sums + p * t->sum_step, end - first);
    }
    for (int64_t i = 0; i < T; i++)
        for (int64_t w = 0; w < W; w++) {
            float sum = 0;
            for (int64_t p = 0; p < SUMS; p++)
                sum += sums[p * t->sum_step + i * W + w];
            dw[few_in ? w * T + i : i * W + w] = sum;
        }
}

static void run(void *context, const struct kernel_call *c)
{
    const struct state *t = c->state;
    if (t->kind == CONV_WEIGHT_GRAD) {
        run_weight_grad(context, c, t);
        return;
    }
    bool adj = t->kind == CONV_INPUT_GRAD;
    int64_t I = adj ? t->K : t->C, O = adj ? t->C : t->K;
    const float *x = c->in[0].data, *w = c->in[1].data; /* w: [K][C] */
    float *y = c->out[0].data, *v = c->workspace;
    bool few_in = I <= O, turn = few_in != adj; /* spread wants [I][O], gather [O][I] */
    for (int64_t k = 0; k < t->K; k++)
        for (int64_t i = 0; i < t->C; i++)
            v[turn ? i * t->K + k : k * t->C + i] = w[k * t->C + i];
#pragma omp parallel for schedule(static) num_threads(cpu_threads(context))
    for (int64_t m = 0; m < t->rows; m += ROWS)
        (few_in ? spread : gather)(x + m * I, I, v, y + m * O, O, t->rows - m < ROWS ? t->rows - m : ROWS);
}

const struct conv_method conv_thin = {"thin", suits, prepare, run, free};
