/* mirror_sample_adj.c - adjoint of mirror_sample on the CPU, see mirror_rows.h: outputs are scattered into the enlarged rows, then each
 * row is filtered and folded back. One image a piece, so that sums have one order. */
#include "kernels/mirror_sample_adj.h"

#include "kernels/mirror_rows.h"

static enum status prepare(void *context, struct kernel_call *c, struct error *e)
{
    const int64_t *dx = c->out[0].dim;
    struct mirror_rows m;
    c->workspace_bytes = cpu_threads(context) * mirror_sizes(&m, dx[1], dx[2], dx[3], c->in[0].dim[2]) * 4;
    return cpu_need_f32(c, e);
}

/* Adjoint of mirroring and enlarging one row. */
static void reduce(const struct mirror_rows *m, const float *restrict row, float *restrict dx)
{
    const int64_t W = m->W, L = m->L, C = m->C, edge = 3 * C, n = L * C;
    float *restrict even = m->room, *restrict odd = even + n + 2 * edge, *restrict mirrored = odd + n + 2 * edge;
    memset(even, 0, (size_t)edge * sizeof *even), memset(odd, 0, (size_t)edge * sizeof *odd);
    row += C;
    if (C == 3) /* the case that counts */
        for (int64_t i = 0; i < n; i += 3, row += 6) {
            float *e = even + edge + i, *o = odd + edge + i;
            e[0] = row[0], e[1] = row[1], e[2] = row[2], o[0] = row[3], o[1] = row[4], o[2] = row[5];
        }
    else
        for (int64_t i = 0; i < n; i += C, row += 2 * C)
            memcpy(even + edge + i, row, (size_t)C * sizeof *row), memcpy(odd + edge + i, row + C, (size_t)C * sizeof *row);
    memset(even + edge + n, 0, (size_t)edge * sizeof *even), memset(odd + edge + n, 0, (size_t)edge * sizeof *odd);
    const float *f = m->tap;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const float *e = even + i, *o = odd + i;
        mirrored[i] = f[1] * e[C] + f[3] * e[2 * C] + f[5] * e[3 * C] + f[7] * e[4 * C] + f[9] * e[5 * C] + f[11] * e[6 * C] +
                      (f[0] * o[0] + f[2] * o[C] + f[4] * o[2 * C] + f[6] * o[3 * C] + f[8] * o[4 * C] + f[10] * o[5 * C]);
    }
    memcpy(dx, mirrored + (W - 1) * C, (size_t)(W * C) * sizeof *dx);
    for (int64_t i = 1; i < W; i++) /* the mirror images of pixel i at the left and of W-1-i at the right */
        for (int64_t c = 0; c < C; c++) {
            dx[i * C + c] += mirrored[(W - 1 - i) * C + c];
            dx[(W - 1 - i) * C + c] += mirrored[(2 * (W - 1) + i) * C + c];
        }
}

static inline void scatter(const struct mirror_tap *t, const float *from, int64_t C)
{
    const float left = 1 - t->right;
    if (C == 3) { /* the case that counts; the last two lanes add zeros */
        const lanes both = {left * from[0], left * from[1], left * from[2], t->right * from[0], t->right * from[1], t->right * from[2]};
        for (int j = 0; j < MIRROR_REACH; j++)
            *(lanes *)(t->rows[j] + t->at) += t->weight[j] * both;
        return;
    }
    for (int j = 0; j < MIRROR_REACH; j++) {
        float *to = t->rows[j] + t->at, a = t->weight[j] * left, b = t->weight[j] * t->right;
#pragma omp simd
        for (int64_t c = 0; c < C; c++)
            to[c] += a * from[c], to[C + c] += b * from[c];
    }
}

static void run(void *context, const struct kernel_call *c)
{
    const struct operand *dy = &c->in[0], *dx = &c->out[0];
    const int64_t P = dy->dim[1], Q = dy->dim[2], H = dx->dim[1], W = dx->dim[2], C = dx->dim[3];
#pragma omp parallel num_threads(cpu_threads(context))
    {
        struct mirror_rows m;
        int64_t floats = mirror_sizes(&m, H, W, C, Q);
        mirror_open(&m, (float *)c->workspace + omp_get_thread_num() * floats, c->in[2].data, Q);
#pragma omp for schedule(static)
        for (int64_t n = 0; n < dx->dim[0]; n++) {
            const float *theta = (const float *)c->in[1].data + n * 6, *from = (const float *)dy->data + n * P * Q * C;
            memset(m.rows, 0, (size_t)((H + 1) * m.row) * sizeof *m.rows);
            for (int64_t p = 0; p < P; p++) {
                mirror_places(&m, theta, p, P, Q);
                for (int64_t q = 0; q < Q; q++, from += C) {
                    struct mirror_tap t;
                    if (mirror_tap(&m, m.position[q], m.position[Q + q], &t))
                        scatter(&t, from, C);
                }
            }
            for (int64_t h = 0; h < H; h++)
                reduce(&m, m.rows + h * m.row, (float *)dx->data + (n * H + h) * W * C);
        }
    }
}

const struct kernel kernel_mirror_sample_adj_cpu = {prepare, run, NULL};
