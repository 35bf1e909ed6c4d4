/* projector_guess.c - a first guess at a picture's u, by linear regression.
 *
 * Some hundred u are drawn, and their pictures, made small; u is then predicted from the small picture by ridge regression, in its dual
 * form (as many unknowns as pictures, far fewer than pixels). Coarsely a face is about linear in u, so the guess has the pose, the
 * hair, the light and the smile of the target, where a descent from the middle often ends in a face without a mouth. Several ridges are
 * tried, and the one that draws the nearest picture is taken. (The middle may be nearer still by its pixels: it has no hair to be wrong.)
 *
 * 256 pictures of 128x128 cost 25 CPU seconds, as much as 120 steps; they serve for all pictures of a run.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/rng/philox.h"
#include "common/stylegan2/projector_internal.h"

#define USE_GUESS 0x75
#define SIDE 32 /* of the small pictures */
static const double ridges[] = {0.01, 0.03, 0.1, 0.3, 1};
#define RIDGES ((int)(sizeof ridges / sizeof *ridges))

struct projector_guess {
    int K, S;      /* pictures, values of a small one */
    float *u;      /* [K,w_dim], rows relative to their mean */
    float *mean_u; /* [w_dim] */
    float *small;  /* [K,S], relative to the mean */
    float *mean;   /* [S] */
    double *gram;  /* [K,K] of small */
};

/* Means of blocks, -1 .. 1. [side,side,C] */
static void shrink(const uint8_t *picture, int res, int C, float *out) {
    int side = res < SIDE ? res : SIDE, block = res / side;
    for (int i = 0; i < side * side * C; i++) {
        int y = i / (side * C), x = i / C % side, sum = 0;
        for (int k = 0; k < block * block; k++)
            sum += picture[((y * block + k / block) * res + x * block + k % block) * C + i % C];
        out[i] = (float)sum / (float)(block * block) / 127.5f - 1;
    }
}

static void centre_rows(float *x, int n, int width, float *mean) {
    for (int j = 0; j < width; j++) {
        double sum = 0;
        for (int i = 0; i < n; i++)
            sum += (double)x[i * width + j];
        mean[j] = (float)(sum / n);
        for (int i = 0; i < n; i++)
            x[i * width + j] -= mean[j];
    }
}

/* Draws one u [w_dim] a picture, for all its rows. out u8 [N,res,res,C]. */
static void look_at(struct projector *p, const float *u, uint8_t *out) {
    int D = p->net->config.w_dim, N = p->c.batch;
    float *params = xmalloc((size_t)p->n_params * sizeof *params);
    memcpy(params, p->start, (size_t)p->n_params * sizeof *params);
    for (int i = 0; i < N * p->rows; i++)
        memcpy(params + (int64_t)i * D, u + (int64_t)(i / p->rows) * D, (size_t)D * sizeof *u);
    buffer_write(p->params, 0, params, p->n_params * 4);
    program_run(p->look);
    buffer_read(p->own, 0, out, N * p->pixels);
    free(params);
}

void projector_guess_create(struct projector *p) {
    const struct sg2_config *c = &p->net->config;
    int N = p->c.batch, D = c->w_dim, K = p->c.guesses, side = c->res < SIDE ? c->res : SIDE, S = side * side * c->img_channels;
    size_t rounded = (size_t)((K + N - 1) / N * N);
    struct projector_guess *q = p->guess = xcalloc(1, sizeof *q);
    *q = (struct projector_guess){.K = K, .S = S, .u = xmalloc(rounded * (size_t)D * 4), .mean_u = xmalloc((size_t)D * 4),
                                  .small = xmalloc((size_t)(K * S) * 4), .mean = xmalloc((size_t)S * 4),
                                  .gram = xcalloc((size_t)K * (size_t)K, sizeof *q->gram)};
    uint8_t *pictures = xmalloc((size_t)(N * p->pixels));
    for (size_t k = 0; k < rounded; k++)
        philox_fill_normal(p->c.seed, k, USE_GUESS, q->u + k * (size_t)D, D);
    for (int at = 0; at < K; at += N) {
        look_at(p, q->u + (int64_t)at * D, pictures);
        for (int i = 0; i < N && at + i < K; i++)
            shrink(pictures + i * p->pixels, c->res, c->img_channels, q->small + (int64_t)(at + i) * S);
    }
    centre_rows(q->u, K, D, q->mean_u);
    centre_rows(q->small, K, S, q->mean);
#pragma omp parallel for schedule(dynamic, 4)
    for (int a = 0; a < K; a++)
        for (int b = 0; b <= a; b++) {
            double sum = 0;
            for (int j = 0; j < S; j++)
                sum += (double)q->small[a * S + j] * (double)q->small[b * S + j];
            q->gram[a * K + b] = q->gram[b * K + a] = sum;
        }
    free(pictures);
}

void projector_guess_free(struct projector_guess *q) {
    if (!q)
        return;
    free(q->u);
    free(q->mean_u);
    free(q->small);
    free(q->mean);
    free(q->gram);
    free(q);
}

/* The u that the regression with this ridge predicts from a small picture. */
static void predict(const struct projector_guess *q, const float *small, double ridge, int D, float *u) {
    int K = q->K;
    double *a = xmalloc((size_t)K * (size_t)K * sizeof *a), *x = xcalloc((size_t)K, sizeof *x), trace = 0;
    memcpy(a, q->gram, (size_t)K * (size_t)K * sizeof *a);
    for (int i = 0; i < K; i++)
        trace += a[i * K + i];
    for (int i = 0; i < K; i++) {
        a[i * K + i] += ridge * trace / K + 1e-9;
        for (int j = 0; j < q->S; j++)
            x[i] += (double)q->small[i * q->S + j] * ((double)small[j] - (double)q->mean[j]);
    }
    projector_cholesky(a, K);
    for (int i = 0; i < K; i++) { /* L y = g, then L' x = y */
        for (int k = 0; k < i; k++)
            x[i] -= a[i * K + k] * x[k];
        x[i] /= a[i * K + i];
    }
    for (int i = K - 1; i >= 0; i--) {
        for (int k = i + 1; k < K; k++)
            x[i] -= a[k * K + i] * x[k];
        x[i] /= a[i * K + i];
    }
    for (int j = 0; j < D; j++) {
        double sum = (double)q->mean_u[j];
        for (int i = 0; i < K; i++)
            sum += x[i] * (double)q->u[i * D + j];
        u[j] = (float)sum;
    }
    free(a);
    free(x);
}

/* Mean squares, full size and small. */
static double misfit(const struct projector *p, const uint8_t *x, const uint8_t *y) {
    const struct sg2_config *c = &p->net->config;
    int S = p->guess->S;
    float *small = xmalloc((size_t)(2 * S) * sizeof *small);
    double fine = 0, coarse = 0;
    for (int64_t i = 0; i < p->pixels; i++)
        fine += pow(((double)x[i] - y[i]) / 127.5, 2) / (double)p->pixels;
    shrink(x, c->res, c->img_channels, small);
    shrink(y, c->res, c->img_channels, small + S);
    for (int i = 0; i < S; i++)
        coarse += pow((double)small[i] - (double)small[S + i], 2) / S;
    free(small);
    return fine + 2 * coarse;
}

void projector_guess(struct projector *p, const uint8_t *targets, float *u) {
    const struct sg2_config *c = &p->net->config;
    int N = p->c.batch, D = c->w_dim;
    uint8_t *pictures = xmalloc((size_t)(N * p->pixels));
    float *tried = xcalloc((size_t)(N * D), sizeof *tried), *small = xmalloc((size_t)(N * p->guess->S) * sizeof *small);
    double *best = xmalloc((size_t)N * sizeof *best);
    for (int i = 0; i < N; i++)
        shrink(targets + i * p->pixels, c->res, c->img_channels, small + (int64_t)i * p->guess->S);
    for (int r = 0; r < RIDGES; r++) {
        for (int i = 0; i < N; i++)
            predict(p->guess, small + (int64_t)i * p->guess->S, ridges[r], D, tried + (int64_t)i * D);
        look_at(p, tried, pictures);
        for (int i = 0; i < N; i++) {
            double m = misfit(p, pictures + i * p->pixels, targets + i * p->pixels);
            if (r == 0 || m < best[i]) {
                best[i] = m;
                memcpy(u + (int64_t)i * D, tried + (int64_t)i * D, (size_t)D * sizeof *u);
            }
        }
    }
    free(pictures);
    free(tried);
    free(small);
    free(best);
}
