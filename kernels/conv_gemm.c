/* conv_gemm.c - convolutions as matrix products straight on [K,R,S,C] weights.
 *
 * Two uses. The weight gradient is a product dy' x of gathered pixels of x. With many weights a piece is a filter tap and a
 * slice of C; it writes its part of the gradient in place. With few weights and many pixels a piece is one of GROUPS parts of
 * the pixels, all taps side by side (dy is packed once for all), and the partial sums are added in order. And the other two
 * directions where pixels are few (the 4x4 layers with 512 channels): reordering 9.4 MB of weights for oneDNN costs more there
 * than the convolution itself. A piece is a slice of the channels made.
 */
#include <stdlib.h>

#include "common/base/mem.h"
#include "kernels/conv_cpu.h"
#include "kernels/cpu.h"
#include "kernels/sgemm.h"

#define FEW_PIXELS 256      /* output pixels of the whole batch up to which weights are not reordered, input gradient */
#define FEW_FORWARD 160     /* the same for the forward pass: on one core oneDNN is as fast from 128 on, on two it is not */
#define MANY_WEIGHTS 500000 /* and the weights from which that pays */
#define GATHER 300000       /* floats of x gathered at a time: 1.2 MB */
#define GROUPS 16
#define FEW_WEIGHTS 80000   /* of the weight gradient: groups of pixels (16 x 0.3 MB of sums at most) */

struct state {
    const struct conv_method *method;
    enum conv_kind kind;
    struct conv_shape s;
    int64_t pixels, taps; /* N*P*Q, R*S */
    int64_t slices;       /* weight gradient: of C; else of the channels made */
    int64_t groups;       /* weight gradient: of pixels; 1, or there is one slice of all taps */
    int64_t rows;         /* weight gradient: pixels gathered at a time */
    int64_t room, sum;    /* floats: gathered pixels of a thread, partial sum of a group */
};

static bool suits(enum conv_kind kind, const struct conv_shape *s)
{
    int64_t pixels = s->N * s->P * s->Q;
    if (kind == CONV_WEIGHT_GRAD)
        return s->C >= 64 && s->K >= 64;
    return pixels <= (kind == CONV_INPUT_GRAD ? FEW_PIXELS : FEW_FORWARD) && s->K * s->R * s->S * s->C >= MANY_WEIGHTS;
}

static bool plain(const struct conv_shape *s) /* x itself is what would be gathered */
{
    return s->R == 1 && s->S == 1 && s->stride == 1 && s->pad_h == 0 && s->pad_w == 0;
}

static enum status prepare(void *context, struct kernel_call *c, enum conv_kind kind, const struct conv_shape *s, struct error *e)
{
    (void)e;
    struct state *t = xcalloc(1, sizeof *t);
    c->state = t;
    *t = (struct state){.method = &conv_gemm, .kind = kind, .s = *s, .slices = 1, .groups = 1};
    t->pixels = s->N * s->P * s->Q;
    t->taps = s->R * s->S;
    if (kind == CONV_WEIGHT_GRAD) {
        int64_t weights = s->K * t->taps * s->C, width = t->taps * s->C;
        if (weights <= FEW_WEIGHTS && t->pixels >= GROUPS * 64) {
            t->groups = GROUPS;
            t->sum = round_up(weights, 64);
        } else {
            while (t->taps * t->slices < 16 && s->C / (2 * t->slices) >= 64)
                t->slices *= 2;
            width = (s->C + t->slices - 1) / t->slices;
        }
        t->rows = GATHER / width < t->pixels ? GATHER / width : t->pixels;
        t->room = plain(s) ? 0 : round_up(t->rows * width, 64);
        c->workspace_bytes = 4 * (cpu_threads(context) * t->room + t->groups * t->sum);
    } else {
        t->slices = kind == CONV_FORWARD ? (s->K + 127) / 128 : (t->taps * s->C + 255) / 256;
        c->workspace_bytes = 4 * t->pixels * (t->taps * s->C + (kind == CONV_FORWARD ? s->K : 0));
    }
    return ST_OK;
}

/* Rows first..end-1 of [pixels][C], of those channels c0..c1-1: what `tap` of each output pixel reads, zeros outside. Row i
 * goes to to + i*step. */
static void gather(const struct conv_shape *s, const float *x, int64_t tap, int64_t first, int64_t end, int64_t c0, int64_t c1,
                   float *to, int64_t step)
{
    int64_t n = first / (s->P * s->Q), p = first / s->Q % s->P, q = first % s->Q;
    for (int64_t m = first; m < end; m++, to += step) {
        int64_t h = p * s->stride + tap / s->S - s->pad_h, w = q * s->stride + tap % s->S - s->pad_w;
        if (h >= 0 && h < s->H && w >= 0 && w < s->W)
            memcpy(to, x + ((n * s->H + h) * s->W + w) * s->C + c0, (size_t)(c1 - c0) * sizeof *to);
        else
            memset(to, 0, (size_t)(c1 - c0) * sizeof *to);
        if (++q == s->Q) {
            q = 0;
            if (++p == s->P)
                p = 0, n++;
        }
    }
}

/* dw [K][columns], rows `step` apart, = dy' times channels c0..c1-1 of `taps` taps from `tap` on, over pixels first..end-1 */
static void product(const struct state *t, const struct kernel_call *c, int64_t tap, int64_t taps, int64_t c0, int64_t c1,
                    int64_t first, int64_t end, float *dw, int64_t step, float *room)
{
    const struct conv_shape *s = &t->s;
    const float *x = c->in[0].data, *dy = c->in[1].data;
    int64_t width = taps * (c1 - c0);
    for (int64_t m = first; m < end; m += t->rows) {
        int64_t rows = end - m < t->rows ? end - m : t->rows;
        for (int64_t i = 0; i < taps && !plain(s); i++)
            gather(s, x, tap + i, m, m + rows, c0, c1, room + i * (c1 - c0), width);
        sgemm('T', 'N', s->K, width, rows, 1.0f, dy + m * s->K, s->K, plain(s) ? x + m * s->C + c0 : room,
                   plain(s) ? s->C : width, m > first ? 1.0f : 0.0f, dw, step);
    }
}

static void weight_grad(const struct state *t, const struct kernel_call *c, int64_t piece, float *sums, float *room)
{
    const struct conv_shape *s = &t->s;
    int64_t width = t->taps * s->C;
    if (t->groups > 1) {
        product(t, c, 0, t->taps, 0, s->C, piece * t->pixels / t->groups, (piece + 1) * t->pixels / t->groups,
                sums + piece * t->sum, width, room);
    } else {
        int64_t tap = piece / t->slices, c0 = piece % t->slices * s->C / t->slices;
        int64_t c1 = (piece % t->slices + 1) * s->C / t->slices;
        product(t, c, tap, 1, c0, c1, 0, t->pixels, (float *)c->out[0].data + tap * s->C + c0, width, room);
    }
}

/* The adjoint of gathering, for row h of image n: adds up what the taps of all output pixels hold for it. */
static void collect(const struct state *t, const float *columns, float *dx, int64_t n, int64_t h)
{
    const struct conv_shape *s = &t->s;
    float *row = dx + (n * s->H + h) * s->W * s->C;
    memset(row, 0, (size_t)(s->W * s->C) * sizeof *row);
    for (int64_t r = 0; r < s->R; r++) {
        int64_t ph = h + s->pad_h - r, p = ph / s->stride;
        if (ph < 0 || ph % s->stride || p >= s->P)
            continue;
        for (int64_t q = 0; q < s->Q; q++)
            for (int64_t i = 0; i < s->S; i++) {
                int64_t w = q * s->stride + i - s->pad_w;
                if (w < 0 || w >= s->W)
                    continue;
                const float *from = columns + (((n * s->P + p) * s->Q + q) * t->taps + r * s->S + i) * s->C;
                float *to = row + w * s->C;
#pragma omp simd
                for (int64_t k = 0; k < s->C; k++)
                    to[k] += from[k];
            }
    }
}

static void run(void *context, const struct kernel_call *c)
{
    const struct state *t = c->state;
    const struct conv_shape *s = &t->s;
    const float *a = c->in[0].data, *w = c->in[1].data;
    float *out = c->out[0].data, *columns = c->workspace;
    int64_t width = t->taps * s->C, M = t->pixels;
#pragma omp parallel num_threads(cpu_threads(context))
    {
        omp_set_num_threads(1); /* of this thread only: sgemm must not start threads of its own */
        if (t->kind == CONV_WEIGHT_GRAD) {
            float *sums = columns, *room = sums + t->groups * t->sum + omp_get_thread_num() * t->room;
#pragma omp for schedule(static)
            for (int64_t piece = 0; piece < (t->groups > 1 ? t->groups : t->taps * t->slices); piece++)
                weight_grad(t, c, piece, sums, room);
            if (t->groups > 1) {
#pragma omp for schedule(static)
                for (int64_t k = 0; k < s->K; k++)
                    for (int64_t i = k * width; i < (k + 1) * width; i++) {
                        float sum = 0;
                        for (int64_t g = 0; g < t->groups; g++)
                            sum += sums[g * t->sum + i];
                        out[i] = sum;
                    }
            }
        } else if (t->kind == CONV_FORWARD) {
#pragma omp for schedule(static)
            for (int64_t i = 0; i < t->taps; i++)
                gather(s, a, i, 0, M, 0, s->C, columns + i * s->C, width);
#pragma omp for schedule(static)
            for (int64_t i = 0; i < t->slices; i++) { /* turned, because sgemm is faster with the weights on the left */
                int64_t k0 = i * s->K / t->slices, k1 = (i + 1) * s->K / t->slices;
                float *turned = columns + M * width + k0 * M; /* [k1-k0][M] */
                sgemm('N', 'T', k1 - k0, M, width, 1.0f, w + k0 * width, width, columns, width, 0.0f, turned, M);
                for (int64_t m = 0; m < M; m++)
                    for (int64_t k = k0; k < k1; k++)
                        out[m * s->K + k] = turned[(k - k0) * M + m];
            }
        } else {
#pragma omp for schedule(static)
            for (int64_t i = 0; i < t->slices; i++) {
                int64_t j0 = i * width / t->slices, j1 = (i + 1) * width / t->slices;
                sgemm('N', 'N', M, j1 - j0, s->K, 1.0f, a, s->K, w + j0, width, 0.0f, columns + j0, width);
            }
#pragma omp for schedule(static)
            for (int64_t i = 0; i < s->N * s->H; i++)
                collect(t, columns, out, i / s->H, i % s->H);
        }
    }
}

const struct conv_method conv_gemm = {"gemm", suits, prepare, run, free};
