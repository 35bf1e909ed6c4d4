/* conv_winograd.c - 3x3 convolutions of stride 1 by Winograd's F(4x4,3x3) on NHWC, vectorised over channels.
 *
 * With points 0, +-a, +-b and infinity a tile of 4x4 results is   A' [ (G g G') . (B' d B) ] A   for a 6x6 piece d of the input
 * and the 3x3 filter g, where . multiplies element by element and sums over input channels: 36 matrix products of
 * [tiles,in]x[in,out]. The input gradient is the same with the filter turned by 180 degrees; the weight gradient is
 * A3' [ (B' d B) . (G4 dy G4') ] A3 with 4x4 pieces of dy in the place of the filter, summed over tiles.
 *     B' row of p: coefficients of m(x)/(x-p), row of infinity: m(x) = x (x^2-a^2)(x^2-b^2)
 *     G row of p: (1, p, p^2[, p^3]) / prod over q != p of (p-q);    A row j: p^j;    infinity: the last coefficient alone
 * a = sqrt(1/2), b = sqrt(2) keep the constants near 1 and the error at a half to a fifth of that of the usual 1, 2. Largest
 * error of any result, in parts of the largest result, 512 channels of normal numbers: 1.4e-6 to 2.4e-6, against 0.4e-6 to
 * 2.1e-6 for a direct sum.
 *
 * Work goes in blocks of tiles: all tiles of a block are transformed, then 36 products run, then results are transformed back.
 * Where the transformed weights are small a block belongs to one thread and stays in its L2; where they are large (36 MB at
 * 512x512) all threads share a large block, so that the weights pass through the caches once a block. In both cases which
 * numbers are added in which order depends on shapes alone.
 */
#include <stdlib.h>

#include "common/base/mem.h"
#include "kernels/conv_cpu.h"
#include "kernels/cpu.h"
#include "kernels/sgemm.h"

#define LANES 16
typedef float vec __attribute__((vector_size(4 * LANES), aligned(4)));

#define A1 0.70710678118654752f
#define B1 1.41421356237309505f
#define A2 0.5f
#define B2 2.0f
#define NA (1.0f / (2 * A2 * (A2 - B2))) /* 1 / prod(a - q) */
#define NB (1.0f / (2 * B2 * (B2 - A2)))
#define N0 (1.0f / (A2 * B2))

#define PAD 48              /* floats between the 36 matrices, so that they do not fall on one set of the caches */
#define OWN_WEIGHTS 2500000 /* bytes of transformed weights up to which each thread has its own blocks */

struct state {
    const struct conv_method *method;
    enum conv_kind kind;
    struct conv_shape s;
    int64_t down, across, tiles; /* tiles of an image; of all */
    int64_t in, out;             /* channels of the operand that is cut in 6x6 pieces; of the other side */
    int64_t block, blocks;
    bool own;                    /* a block a thread */
    int64_t u_step, v_step, m_step; /* floats from one of the 36 matrices to the next */
};

/* ---- transforms of six, four or three vectors; results with stride `by` ---- */
static inline void to_points_b(const vec d[6], vec *o, int by) /* B' */
{
    vec even_a = d[4] - B2 * d[2], odd_a = A1 * d[3] - (A1 * B2) * d[1];
    vec even_b = d[4] - A2 * d[2], odd_b = B1 * d[3] - (B1 * A2) * d[1];
    o[0] = (A2 * B2) * d[0] - (A2 + B2) * d[2] + d[4];
    o[by] = even_a + odd_a;
    o[2 * by] = even_a - odd_a;
    o[3 * by] = even_b + odd_b;
    o[4 * by] = even_b - odd_b;
    o[5 * by] = (A2 * B2) * d[1] - (A2 + B2) * d[3] + d[5];
}

static inline void to_points_g3(const vec g[3], vec *o, int by) /* G */
{
    vec even_a = NA * g[0] + (NA * A2) * g[2], odd_a = (NA * A1) * g[1];
    vec even_b = NB * g[0] + (NB * B2) * g[2], odd_b = (NB * B1) * g[1];
    o[0] = N0 * g[0];
    o[by] = even_a + odd_a;
    o[2 * by] = even_a - odd_a;
    o[3 * by] = even_b + odd_b;
    o[4 * by] = even_b - odd_b;
    o[5 * by] = g[2];
}

static inline void to_points_g4(const vec g[4], vec *o, int by) /* G4 */
{
    vec even_a = NA * g[0] + (NA * A2) * g[2], odd_a = (NA * A1) * g[1] + (NA * A1 * A2) * g[3];
    vec even_b = NB * g[0] + (NB * B2) * g[2], odd_b = (NB * B1) * g[1] + (NB * B1 * B2) * g[3];
    o[0] = N0 * g[0];
    o[by] = even_a + odd_a;
    o[2 * by] = even_a - odd_a;
    o[3 * by] = even_b + odd_b;
    o[4 * by] = even_b - odd_b;
    o[5 * by] = g[3];
}

static inline void from_points_4(const vec m[6], vec *o, int by) /* A' */
{
    vec sum_a = m[1] + m[2], dif_a = m[1] - m[2], sum_b = m[3] + m[4], dif_b = m[3] - m[4];
    o[0] = m[0] + sum_a + sum_b;
    o[by] = A1 * dif_a + B1 * dif_b;
    o[2 * by] = A2 * sum_a + B2 * sum_b;
    o[3 * by] = (A1 * A2) * dif_a + (B1 * B2) * dif_b + m[5];
}

static inline void from_points_3(const vec m[6], vec *o, int by) /* A3' */
{
    vec sum_a = m[1] + m[2], dif_a = m[1] - m[2], sum_b = m[3] + m[4], dif_b = m[3] - m[4];
    o[0] = m[0] + sum_a + sum_b;
    o[by] = A1 * dif_a + B1 * dif_b;
    o[2 * by] = A2 * sum_a + B2 * sum_b + m[5];
}

/* ---- one tile ---- */
/* The size x size pixels of picture x [H,W,C] from (top,left), zeros outside, become 36 vectors of C at v, `step` apart. */
static inline void tile_in(const float *x, int64_t H, int64_t W, int64_t C, int64_t top, int64_t left, float *v, int64_t step,
                           const int size)
{
    bool whole = top >= 0 && left >= 0 && top + size <= H && left + size <= W;
    for (int64_t c = 0; c < C; c += LANES) {
        vec t[36], d[6], r[36];
        for (int j = 0; j < size; j++) {
            for (int i = 0; i < size; i++) {
                int64_t h = top + i, w = left + j;
                d[i] = whole || (h >= 0 && h < H && w >= 0 && w < W) ? *(const vec *)(x + (h * W + w) * C + c) : (vec){0};
            }
            if (size == 6)
                to_points_b(d, t + j, 6);
            else
                to_points_g4(d, t + j, 6);
        }
        for (int i = 0; i < 6; i++) {
            if (size == 6)
                to_points_b(t + 6 * i, r + 6 * i, 1);
            else
                to_points_g4(t + 6 * i, r + 6 * i, 1);
        }
        for (int i = 0; i < 36; i++)
            *(vec *)(v + i * step + c) = r[i];
    }
}

static void tile_out(const float *m, int64_t step, float *y, int64_t P, int64_t Q, int64_t K, int64_t p, int64_t q)
{
    int64_t rows = P - p < 4 ? P - p : 4, columns = Q - q < 4 ? Q - q : 4;
    for (int64_t k = 0; k < K; k += LANES) {
        vec t[24], d[6], o[16];
        for (int j = 0; j < 6; j++) {
            for (int i = 0; i < 6; i++)
                d[i] = *(const vec *)(m + (6 * i + j) * step + k);
            from_points_4(d, t + j, 6);
        }
        for (int i = 0; i < 4; i++)
            from_points_4(t + 6 * i, o + 4 * i, 1);
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < columns; j++)
                *(vec *)(y + ((p + i) * Q + q + j) * K + k) = o[4 * i + j];
    }
}

/* Filters: 9 rows of C channels at w, `row` apart, become 36 at u; turned by 180 degrees for the input gradient. */
static inline void filter_in(const float *w, int64_t row, int64_t C, bool turned, float *u, int64_t step)
{
    for (int64_t c = 0; c < C; c += LANES) {
        vec t[18], d[3], r[36];
        for (int j = 0; j < 3; j++) {
            for (int i = 0; i < 3; i++)
                d[i] = *(const vec *)(w + (turned ? 8 - (3 * i + j) : 3 * i + j) * row + c);
            to_points_g3(d, t + j, 3);
        }
        for (int i = 0; i < 6; i++)
            to_points_g3(t + 3 * i, r + 6 * i, 1);
        for (int i = 0; i < 36; i++)
            *(vec *)(u + i * step + c) = r[i];
    }
}

/* The same for LANES output channels from k on, turned to [in,out]: 36 matrices [C,K]. The products run a third faster with both
 * operands that way round. */
static void filters_in_turned(const float *w, int64_t C, int64_t K, int64_t k, float *u, int64_t step)
{
    float t[9 * LANES * LANES]; /* [9][channel][k] */
    for (int64_t c = 0; c < C; c += LANES) {
        for (int i = 0; i < LANES; i++)
            for (int j = 0; j < 9; j++)
                for (int l = 0; l < LANES; l++)
                    t[(j * LANES + l) * LANES + i] = w[((k + i) * 9 + j) * C + c + l];
        for (int l = 0; l < LANES; l++)
            filter_in(t + l * LANES, LANES * LANES, LANES, false, u + (c + l) * K + k, step);
    }
}

static void filter_out(const float *m, int64_t step, float *w, int64_t C)
{
    for (int64_t c = 0; c < C; c += LANES) {
        vec t[18], d[6], o[9];
        for (int j = 0; j < 6; j++) {
            for (int i = 0; i < 6; i++)
                d[i] = *(const vec *)(m + (6 * i + j) * step + c);
            from_points_3(d, t + j, 6);
        }
        for (int i = 0; i < 3; i++)
            from_points_3(t + 6 * i, o + 3 * i, 1);
        for (int i = 0; i < 9; i++)
            *(vec *)(w + i * C + c) = o[i];
    }
}

/* ---- tiles of a block ---- */
static void pieces_in(const struct state *t, const float *x, float *v, int64_t tile, int64_t row)
{
    const struct conv_shape *s = &t->s;
    int64_t n = tile / (t->down * t->across), ty = tile / t->across % t->down, tx = tile % t->across;
    if (t->kind == CONV_INPUT_GRAD) /* the picture is dy, padded by what the forward pass left */
        tile_in(x + n * s->P * s->Q * s->K, s->P, s->Q, s->K, 4 * ty - (2 - s->pad_h), 4 * tx - (2 - s->pad_w), v + row * t->in,
                t->v_step, 6);
    else
        tile_in(x + n * s->H * s->W * s->C, s->H, s->W, s->C, 4 * ty - s->pad_h, 4 * tx - s->pad_w, v + row * t->in, t->v_step, 6);
}

static void grads_in(const struct state *t, const float *dy, float *m, int64_t tile, int64_t row)
{
    const struct conv_shape *s = &t->s;
    int64_t n = tile / (t->down * t->across), ty = tile / t->across % t->down, tx = tile % t->across;
    tile_in(dy + n * s->P * s->Q * s->K, s->P, s->Q, s->K, 4 * ty, 4 * tx, m + row * t->out, t->m_step, 4);
}

static void results_out(const struct state *t, const float *m, float *y, int64_t tile, int64_t row)
{
    const struct conv_shape *s = &t->s;
    int64_t n = tile / (t->down * t->across), ty = tile / t->across % t->down, tx = tile % t->across;
    int64_t P = t->kind == CONV_INPUT_GRAD ? s->H : s->P, Q = t->kind == CONV_INPUT_GRAD ? s->W : s->Q;
    tile_out(m + row * t->out, t->m_step, y + n * P * Q * t->out, P, Q, t->out, 4 * ty, 4 * tx);
}

static void product(const struct state *t, int i, const float *u, const float *v, float *m, int64_t rows)
{
    sgemm('N', 'N', rows, t->out, t->in, 1.0f, v + i * t->v_step, t->in, u + i * t->u_step, t->out, 0.0f, m + i * t->m_step,
               t->out);
}

/* The choice does not look at the number of pictures: one alone comes out as it does in a batch. Few weights are transformed in
 * no time, so four tiles are enough there: 8x8 pixels, 64 channels, batch 32 runs at 207-252 % of the sgemm rate, else at 121-134. */
static bool suits(enum conv_kind kind, const struct conv_shape *s)
{
    int64_t P = kind == CONV_INPUT_GRAD ? s->H : s->P, Q = kind == CONV_INPUT_GRAD ? s->W : s->Q;
    int64_t tiles = s->N * ((P + 3) / 4) * ((Q + 3) / 4);
    return s->R == 3 && s->S == 3 && s->stride == 1 && s->pad_h <= 2 && s->pad_w <= 2 && s->C % LANES == 0 && s->K % LANES == 0 &&
           s->C * s->K >= 1024 && tiles >= (s->C * s->K <= 128 * 128 ? 4 : 16) * s->N && 10 * s->N * P * Q >= 7 * 16 * tiles;
}

static enum status prepare(void *context, struct kernel_call *c, enum conv_kind kind, const struct conv_shape *s, struct error *e)
{
    (void)e;
    struct state *t = xcalloc(1, sizeof *t);
    c->state = t;
    t->method = &conv_winograd;
    t->kind = kind;
    t->s = *s;
    t->in = kind == CONV_INPUT_GRAD ? s->K : s->C;
    t->out = kind == CONV_INPUT_GRAD ? s->C : s->K;
    t->down = ((kind == CONV_INPUT_GRAD ? s->H : s->P) + 3) / 4;
    t->across = ((kind == CONV_INPUT_GRAD ? s->W : s->Q) + 3) / 4;
    t->tiles = s->N * t->down * t->across;
    t->own = kind != CONV_WEIGHT_GRAD && 36 * s->C * s->K * 4 <= OWN_WEIGHTS && t->tiles >= 256;
    /* of both tried: own blocks about the size of L2 (1 MB), shared ones 4 MB and 64 tiles more, for the products' sake */
    int64_t tile = 36 * 4 * (t->in + t->out), want = t->own ? 1200000 / tile : 4000000 / tile + 64;
    t->blocks = (t->tiles + want - 1) / want;
    t->block = (t->tiles + t->blocks - 1) / t->blocks;
    t->u_step = s->C * s->K + PAD;
    t->v_step = t->block * t->in + PAD;
    t->m_step = t->block * t->out + PAD;
    c->workspace_bytes = 4 * 36 * (t->u_step + (t->own ? cpu_threads(context) : 1) * (t->v_step + t->m_step));
    return ST_OK;
}

static void run(void *context, const struct kernel_call *c)
{
    const struct state *t = c->state;
    const struct conv_shape *s = &t->s;
    const float *a = c->in[0].data, *b = c->in[1].data;
    float *out = c->out[0].data, *u = c->workspace, *vm = u + 36 * t->u_step;
    bool wgrad = t->kind == CONV_WEIGHT_GRAD;
#pragma omp parallel num_threads(cpu_threads(context))
    {
        omp_set_num_threads(1); /* of this thread only: sgemm must not start threads of its own */
        if (t->kind == CONV_FORWARD) {
#pragma omp for schedule(static)
            for (int64_t k = 0; k < s->K; k += LANES)
                filters_in_turned(b, s->C, s->K, k, u, t->u_step);
        } else if (t->kind == CONV_INPUT_GRAD) {
#pragma omp for schedule(static)
            for (int64_t k = 0; k < s->K; k++)
                filter_in(b + k * 9 * s->C, s->C, s->C, true, u + k * s->C, t->u_step);
        }
        if (t->own) {
            float *v = vm + omp_get_thread_num() * 36 * (t->v_step + t->m_step), *m = v + 36 * t->v_step;
#pragma omp for schedule(static)
            for (int64_t block = 0; block < t->blocks; block++) {
                int64_t first = block * t->block, rows = t->tiles - first < t->block ? t->tiles - first : t->block;
                for (int64_t i = 0; i < rows; i++)
                    pieces_in(t, a, v, first + i, i);
                for (int i = 0; i < 36; i++)
                    product(t, i, u, v, m, rows);
                for (int64_t i = 0; i < rows; i++)
                    results_out(t, m, out, first + i, i);
            }
        } else {
            float *v = vm, *m = v + 36 * t->v_step;
            for (int64_t first = 0; first < t->tiles; first += t->block) {
                int64_t rows = t->tiles - first < t->block ? t->tiles - first : t->block;
#pragma omp for schedule(static)
                for (int64_t i = 0; i < rows; i++) {
                    pieces_in(t, a, v, first + i, i);
                    if (wgrad)
                        grads_in(t, b, m, first + i, i);
                }
#pragma omp for schedule(static)
                for (int i = 0; i < 36; i++) {
                    if (wgrad)
                        sgemm('T', 'N', s->K, s->C, rows, 1.0f, m + i * t->m_step, s->K, v + i * t->v_step, s->C,
                                   first ? 1.0f : 0.0f, u + i * t->u_step, s->C);
                    else
                        product(t, i, u, v, m, rows);
                }
                if (!wgrad) {
#pragma omp for schedule(static)
                    for (int64_t i = 0; i < rows; i++)
                        results_out(t, m, out, first + i, i);
                }
            }
        }
        if (wgrad) {
#pragma omp for schedule(static)
            for (int64_t k = 0; k < s->K; k++)
                filter_out(u + k * s->C, t->u_step, out + k * 9 * s->C, s->C);
        }
    }
}

const struct conv_method conv_winograd = {"Winograd", suits, prepare, run, free};
