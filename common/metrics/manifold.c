/* manifold.c - see manifold.h. Squared distances come from |a|^2 + |b|^2 - 2 a.b on vectors moved to the mean of the real set,
 * which keeps that difference well conditioned. */
#include "common/metrics/manifold.h"

#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

#define TILE 512
#define K_MAX 64

struct set {
    const float *x; /* [n, d], borrowed */
    int64_t n;
    double *norm;   /* [n] squared, centred */
    double *ball[2]; /* [n] squared distance to the k-th neighbour: for k_pr, k_dc */
};

/* Rows first .. first+rows of a set, centred, widened. */
static void load(const struct set *s, int64_t first, int rows, int d, const double *centre, double *out) {
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < d; j++)
            out[(size_t)i * d + j] = (double)s->x[(first + i) * d + j] - centre[j];
}

struct tiles {
    int d;
    const double *centre;
    double *a, *b;     /* [TILE, d] */
    double *dist;      /* [TILE, TILE] squared */
};

/* Squared distances between rows of p from i on and rows of q from j on; t->a must hold p's rows already. */
static void distances(struct tiles *t, const struct set *p, int64_t i, int rows, const struct set *q, int64_t j, int cols) {
    load(q, j, cols, t->d, t->centre, t->b);
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, cols, t->d, -2.0, t->a, t->d, t->b, t->d, 0.0, t->dist, cols);
    for (int a = 0; a < rows; a++)
        for (int b = 0; b < cols; b++) {
            double v = t->dist[(size_t)a * cols + b] + p->norm[i + a] + q->norm[j + b];
            t->dist[(size_t)a * cols + b] = v > 0 ? v : 0;
        }
}

static void prepare(struct set *s, int d, const double *centre) {
    s->norm = xmalloc((size_t)s->n * sizeof *s->norm);
    s->ball[0] = xmalloc((size_t)s->n * sizeof *s->norm);
    s->ball[1] = xmalloc((size_t)s->n * sizeof *s->norm);
    for (int64_t i = 0; i < s->n; i++) {
        double sum = 0;
        for (int j = 0; j < d; j++) {
            double v = (double)s->x[i * d + j] - centre[j];
            sum += v * v;
        }
        s->norm[i] = sum;
    }
}

/* Fills s->ball: the k smallest distances of each vector to the others, kept sorted while the tiles go by. */
static void find_balls(struct set *s, struct tiles *t, const int k[2]) {
    int most = k[0] > k[1] ? k[0] : k[1];
    double *nearest = xmalloc((size_t)TILE * most * sizeof *nearest);
    for (int64_t i = 0; i < s->n; i += TILE) {
        int rows = (int)(s->n - i < TILE ? s->n - i : TILE);
        load(s, i, rows, t->d, t->centre, t->a);
        for (int v = 0; v < rows * most; v++)
            nearest[v] = INFINITY;
        for (int64_t j = 0; j < s->n; j += TILE) {
            int cols = (int)(s->n - j < TILE ? s->n - j : TILE);
            distances(t, s, i, rows, s, j, cols);
            for (int a = 0; a < rows; a++) {
                double *near = nearest + (size_t)a * most;
                for (int b = 0; b < cols; b++) {
                    double v = t->dist[(size_t)a * cols + b];
                    if (i + a == j + b || v >= near[most - 1])
                        continue;
                    int at = most - 1;
                    for (; at > 0 && near[at - 1] > v; at--)
                        near[at] = near[at - 1];
                    near[at] = v;
                }
            }
        }
        for (int a = 0; a < rows; a++)
            for (int w = 0; w < 2; w++)
                s->ball[w][i + a] = nearest[(size_t)a * most + k[w] - 1];
    }
    free(nearest);
}

enum status manifold_scores(const float *real, int64_t n, const float *generated, int64_t m, int d, int k_pr, int k_dc,
                            struct manifold *s, struct error *e) {
    int k[2] = {k_pr, k_dc}, most = k_pr > k_dc ? k_pr : k_dc;
    if (k_pr < 1 || k_dc < 1 || most > K_MAX)
        return st_bad(e, "neighbour count %d is not within 1..%d", most, K_MAX);
    if (n <= most || m <= most)
        return st_bad(e, "precision and recall with %d neighbours need more samples than that on both sides, there are %lld and %lld",
                      most, (long long)n, (long long)m);

    double *centre = xcalloc(d, sizeof *centre);
    for (int64_t i = 0; i < n; i++)
        for (int j = 0; j < d; j++)
            centre[j] += (double)real[i * d + j] / n;
    struct tiles t = {.d = d, .centre = centre};
    t.a = xmalloc((size_t)TILE * d * sizeof *t.a);
    t.b = xmalloc((size_t)TILE * d * sizeof *t.b);
    t.dist = xmalloc((size_t)TILE * TILE * sizeof *t.dist);
    struct set r = {.x = real, .n = n}, g = {.x = generated, .n = m};
    prepare(&r, d, centre);
    prepare(&g, d, centre);
    find_balls(&r, &t, k);
    find_balls(&g, &t, k);

    char *recalled = xcalloc(n, 1), *covered = xcalloc(n, 1);
    int64_t precise = 0, inside = 0, recall = 0, cover = 0;
    for (int64_t i = 0; i < m; i += TILE) { /* generated against real */
        int rows = (int)(m - i < TILE ? m - i : TILE);
        char hit[TILE] = {0};
        load(&g, i, rows, d, centre, t.a);
        for (int64_t j = 0; j < n; j += TILE) {
            int cols = (int)(n - j < TILE ? n - j : TILE);
            distances(&t, &g, i, rows, &r, j, cols);
            for (int a = 0; a < rows; a++)
                for (int b = 0; b < cols; b++) {
                    double v = t.dist[(size_t)a * cols + b];
                    hit[a] |= v <= r.ball[0][j + b];
                    recalled[j + b] |= v <= g.ball[0][i + a];
                    inside += v < r.ball[1][j + b];
                    covered[j + b] |= v < r.ball[1][j + b];
                }
        }
        for (int a = 0; a < rows; a++)
            precise += hit[a];
    }
    for (int64_t j = 0; j < n; j++) {
        recall += recalled[j];
        cover += covered[j];
    }
    *s = (struct manifold){.precision = (double)precise / m, .recall = (double)recall / n, .k_pr = k_pr, .k_dc = k_dc,
                           .density = (double)inside / ((double)k_dc * m), .coverage = (double)cover / n};
    if (precise + recall > 0)
        s->f_score = 2 * s->precision * s->recall / (s->precision + s->recall);

    for (int w = 0; w < 2; w++) {
        free(r.ball[w]);
        free(g.ball[w]);
    }
    free(r.norm);
    free(g.norm);
    free(t.a);
    free(t.b);
    free(t.dist);
    free(centre);
    free(recalled);
    free(covered);
    return ST_OK;
}
