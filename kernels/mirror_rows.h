/* mirror_rows.h - what mirror_sample and its adjoint share on the CPU.
 *
 * Each row of the picture is mirrored and enlarged along itself, once: H rows of 6W-4 pixels. Down the columns nothing is made: an
 * output reads two neighbouring pixels of seven rows, and those of the mirrored picture are rows of the picture again. So an output
 * costs 14 pixels instead of 4, and the picture of nine times four times the size is neither written nor filtered.
 *
 * An enlarged row has a pixel of zeros at either end, so that an output at the border needs no test; rows above and below the
 * mirrored picture are one row of zeros (in the adjoint: one that nobody reads).
 */
#ifndef FACEMILL_KERNELS_MIRROR_ROWS_H
#define FACEMILL_KERNELS_MIRROR_ROWS_H

#include "kernels/affine_position.h"
#include "kernels/cpu.h"

#define MIRROR_TAPS 12
#define MIRROR_REACH 7 /* rows of the mirrored picture that an output reads */

typedef float lanes __attribute__((vector_size(32), aligned(4)));

struct mirror_rows {
    int64_t H, W, C, K, L;   /* the picture; height and width of the mirrored picture */
    int64_t row;             /* floats of an enlarged row */
    float tap[MIRROR_TAPS];  /* 2 f */
    lanes above[2], below[2]; /* weights of the seven rows in z[i] and in z[i+1], i even and odd */
    float *rows;             /* [H+1][row] */
    float **row_of;          /* [K+7] rows of the mirrored picture from -3 on */
    float *position;         /* [2][Q] columns, then rows */
    float *room;             /* [3][(L+6)*C] */
};

static inline int64_t mirror_at(int64_t k, int64_t length) /* the pixel at place k of a mirrored row */
{
    int64_t i = k - (length - 1);
    return i < 0 ? -i : i < length ? i : 2 * (length - 1) - i;
}

/* Sizes; the floats of workspace a thread needs. */
static inline int64_t mirror_sizes(struct mirror_rows *m, int64_t H, int64_t W, int64_t C, int64_t Q)
{
    m->H = H, m->W = W, m->C = C, m->K = 3 * H - 2, m->L = 3 * W - 2;
    m->row = round_up((2 * m->L + 2) * C + 8, 16); /* 8: whole vectors are read at the last pixel */
    return (H + 1) * m->row + round_up(2 * (m->K + 7), 16) + round_up(2 * Q, 16) + round_up(3 * (m->L + 6) * C, 16);
}

static inline void mirror_open(struct mirror_rows *m, float *workspace, const float *f, int64_t Q)
{
    m->rows = workspace;
    m->row_of = (float **)(workspace + (m->H + 1) * m->row);
    m->position = (float *)m->row_of + round_up(2 * (m->K + 7), 16);
    m->room = m->position + round_up(2 * Q, 16);
    for (int64_t k = -3; k <= m->K + 3; k++)
        m->row_of[k + 3] = m->rows + (k < 0 || k >= m->K ? m->H : mirror_at(k, m->H)) * m->row;
    for (int i = 0; i < MIRROR_TAPS; i++)
        m->tap[i] = 2 * f[i];
    for (int odd = 0; odd < 2; odd++)
        for (int j = 0; j < 8; j++) {
            int i = 11 - odd - 2 * j;
            m->above[odd][j] = i >= 0 ? m->tap[i] : 0;
            m->below[odd][j] = i + 1 >= 0 && i + 1 < MIRROR_TAPS ? m->tap[i + 1] : 0;
        }
}

/* Where the outputs of row p read. */
static inline void mirror_places(const struct mirror_rows *m, const float theta[6], int64_t p, int64_t P, int64_t Q)
{
#pragma omp simd
    for (int64_t q = 0; q < Q; q++)
        affine_place(theta, p, q, P, Q, 2 * m->K, 2 * m->L, &m->position[q], &m->position[Q + q]);
}

struct mirror_tap {     /* one output */
    float *const *rows; /* seven, each with the weight */
    lanes weight;
    int64_t at;         /* float of the left pixel in each; the right one follows */
    float right;        /* its share */
};

/* False where the output reads nothing. */
static inline bool mirror_tap(const struct mirror_rows *m, float column, float row, struct mirror_tap *t)
{
    if (!(column >= -1 && column < (float)(2 * m->L) && row >= -1 && row < (float)(2 * m->K))) /* NaN too: the casts are defined */
        return false;
    float left = floorf(column), top = floorf(row), lower = row - top;
    int i = (int)top, odd = i & 1;
    t->weight = (i >= 0 ? 1 - lower : 0) * m->above[odd] + (i + 1 < 2 * m->K ? lower : 0) * m->below[odd];
    t->rows = m->row_of + ((i - 5) >> 1) + 3;
    t->at = ((int64_t)left + 1) * m->C;
    t->right = column - left;
    return true;
}

#endif
