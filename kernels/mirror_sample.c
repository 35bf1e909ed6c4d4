/* mirror_sample.c - sampling of the mirrored, enlarged picture on the CPU, see mirror_rows.h. One image a piece. 32 pictures of
 * 32x32 on one core: 2.2 ms, where padding, enlarging and sampling by three operations took 21; of 64x64 16 and 102. */
#include "kernels/mirror_sample.h"

#include <math.h>

#include "kernels/mirror_rows.h"

static enum status prepare(void *context, struct kernel_call *c, struct error *e)
{
    const int64_t *x = c->in[0].dim;
    struct mirror_rows m;
    c->workspace_bytes = cpu_threads(context) * mirror_sizes(&m, x[1], x[2], x[3], c->out[0].dim[2]) * 4;
    return cpu_need_f32(c, e);
}

/* Mirrors and enlarges one row. */
static void enlarge(const struct mirror_rows *m, const float *restrict x, float *restrict to)
{
    const int64_t L = m->L, C = m->C, n = L * C;
    float *restrict mirrored = m->room, *restrict even = mirrored + (L + 6) * C, *restrict odd = even + n;
    memset(mirrored, 0, (size_t)(3 * C) * sizeof *mirrored);
    for (int64_t k = 0; k < L; k++)
        for (int64_t c = 0; c < C; c++)
            mirrored[(k + 3) * C + c] = x[mirror_at(k, m->W) * C + c];
    memset(mirrored + (L + 3) * C, 0, (size_t)(3 * C) * sizeof *mirrored);
    const float *f = m->tap;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const float *at = mirrored + i;
        even[i] = f[11] * at[0] + f[9] * at[C] + f[7] * at[2 * C] + f[5] * at[3 * C] + f[3] * at[4 * C] + f[1] * at[5 * C];
        odd[i] = f[10] * at[C] + f[8] * at[2 * C] + f[6] * at[3 * C] + f[4] * at[4 * C] + f[2] * at[5 * C] + f[0] * at[6 * C];
    }
    memset(to, 0, (size_t)C * sizeof *to);
    to += C;
    if (C == 3) /* the case that counts */
        for (int64_t i = 0; i < n; i += 3, to += 6)
            to[0] = even[i], to[1] = even[i + 1], to[2] = even[i + 2], to[3] = odd[i], to[4] = odd[i + 1], to[5] = odd[i + 2];
    else
        for (int64_t i = 0; i < n; i += C, to += 2 * C)
            memcpy(to, even + i, (size_t)C * sizeof *to), memcpy(to + C, odd + i, (size_t)C * sizeof *to);
    memset(to, 0, (size_t)(m->row - (2 * L + 1) * C) * sizeof *to);
}

static inline void sample(const struct mirror_tap *t, float *to, int64_t C)
{
    const float left = 1 - t->right;
    if (C == 3) { /* the case that counts */
        lanes sum = t->weight[0] * *(const lanes *)(t->rows[0] + t->at);
        for (int j = 1; j < MIRROR_REACH; j++)
            sum += t->weight[j] * *(const lanes *)(t->rows[j] + t->at);
        for (int c = 0; c < 3; c++)
            to[c] = left * sum[c] + t->right * sum[3 + c];
        return;
    }
    memset(to, 0, (size_t)C * sizeof *to);
    for (int j = 0; j < MIRROR_REACH; j++) {
        const float *from = t->rows[j] + t->at, a = t->weight[j] * left, b = t->weight[j] * t->right;
#pragma omp simd
        for (int64_t c = 0; c < C; c++)
            to[c] += a * from[c] + b * from[C + c];
    }
}

static void run(void *context, const struct kernel_call *c)
{
    const struct operand *x = &c->in[0], *y = &c->out[0];
    const int64_t H = x->dim[1], W = x->dim[2], C = x->dim[3], P = y->dim[1], Q = y->dim[2];
#pragma omp parallel num_threads(cpu_threads(context))
    {
        struct mirror_rows m;
        int64_t floats = mirror_sizes(&m, H, W, C, Q);
        mirror_open(&m, (float *)c->workspace + omp_get_thread_num() * floats, c->in[2].data, Q);
        memset(m.rows + H * m.row, 0, (size_t)m.row * sizeof *m.rows);
#pragma omp for schedule(static)
        for (int64_t n = 0; n < x->dim[0]; n++) {
            const float *theta = (const float *)c->in[1].data + n * 6;
            float *to = (float *)y->data + n * P * Q * C;
            for (int64_t h = 0; h < H; h++)
                enlarge(&m, (const float *)x->data + (n * H + h) * W * C, m.rows + h * m.row);
            for (int64_t p = 0; p < P; p++) {
                mirror_places(&m, theta, p, P, Q);
                for (int64_t q = 0; q < Q; q++, to += C) {
                    struct mirror_tap t;
                    if (mirror_tap(&m, m.position[q], m.position[Q + q], &t))
                        sample(&t, to, C);
                    else
                        memset(to, 0, (size_t)C * sizeof *to);
                }
            }
        }
    }
}

const struct kernel kernel_mirror_sample_cpu = {prepare, run, NULL};
