/* sum.c - the CPU's reduction. See sum.h.
 *
 * Dimensions are merged until summed and kept ones alternate, at most six of them. Work is cut into tasks by shape alone; each task
 * adds its part into float64 partial sums in the workspace, and the partial sums of an output are added in the order of tasks.
 * Two inner loops: a contiguous run of summed elements (dot-like), or rows of kept elements added to one another. Rows shorter
 * than 16 (pictures of 3 channels) are walked several at a time, so that vector units have something to do.
 *
 * Reading once is the floor: [8,64,64,64] -> [1,1,1,64] and [8,64,64,1] run at memory speed on two cores.
 */
#include "kernels/sum.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "kernels/cpu.h"

#define TASK_ELEMENTS 16384 /* at least this many elements a task, */
#define MAX_TASKS 64        /* and at most so many for one output row */
#define NARROW 16

struct sum_state {
    int n;                  /* merged dimensions, the innermost left out: */
    int64_t dim[MAX_DIM], stride[MAX_DIM];
    bool summed[MAX_DIM];
    int64_t inner;          /* its length */
    bool inner_summed;
    int64_t outer, rows;    /* output rows, and input rows added into each */
    int64_t width;          /* elements of an output row: 1 or inner */
    int64_t chunks, chunk;  /* the rows of one output row are cut into chunks of so many */
};

static enum status prepare(void *context, struct kernel_call *c, struct error *e) {
    (void)context;
    enum status st = cpu_need_f32(c, e);
    if (st != ST_OK)
        return st;
    struct sum_state *s = xcalloc(1, sizeof *s);
    int64_t dim[MAX_DIM];
    bool summed[MAX_DIM];
    int n = 0;
    for (int d = 0; d < c->in[0].ndim; d++) {
        bool sum_here = c->a.i[0] >> d & 1;
        if (c->in[0].dim[d] == 1)
            continue;
        if (n && summed[n - 1] == sum_here)
            dim[n - 1] *= c->in[0].dim[d];
        else {
            dim[n] = c->in[0].dim[d];
            summed[n++] = sum_here;
        }
    }
    if (!n) {
        dim[n] = 1;
        summed[n++] = true;
    }
    /* one long summed run becomes rows, so that it can be cut; a remainder is handled by the last, shorter row */
    s->inner = dim[n - 1];
    s->inner_summed = summed[n - 1];
    s->n = n - 1;
    int64_t stride = s->inner;
    for (int d = s->n - 1; d >= 0; d--) {
        s->dim[d] = dim[d];
        s->summed[d] = summed[d];
        s->stride[d] = stride;
        stride *= dim[d];
    }
    s->outer = s->rows = 1;
    for (int d = 0; d < s->n; d++)
        *(s->summed[d] ? &s->rows : &s->outer) *= s->dim[d];
    s->width = s->inner_summed ? 1 : s->inner;
    int64_t cut = s->inner_summed && s->rows == 1 ? s->inner : s->rows; /* what the chunks divide */
    int64_t each = s->inner_summed && s->rows == 1 ? 1 : s->inner;
    s->chunk = (TASK_ELEMENTS + each - 1) / each;
    if (s->outer >= MAX_TASKS)
        s->chunk = cut;
    if ((cut + s->chunk - 1) / s->chunk > MAX_TASKS)
        s->chunk = (cut + MAX_TASKS - 1) / MAX_TASKS;
    s->chunks = (cut + s->chunk - 1) / s->chunk;
    c->workspace_bytes = s->chunks * s->outer * s->width * 8;
    c->state = s;
    return ST_OK;
}

static void release(void *context, struct kernel_call *c) {
    (void)context;
    free(c->state);
}

static double sum_run(const float *x, int64_t n) {
    double lane[16] = {0}, total = 0;
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
#pragma omp simd
        for (int k = 0; k < 16; k++)
            lane[k] += (double)x[i + k];
    for (; i < n; i++)
        total += (double)x[i];
    for (int k = 0; k < 16; k++)
        total += lane[k];
    return total;
}

static void add_row(double *restrict acc, const float *restrict x, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        acc[i] += (double)x[i];
}

/* Rows that lie behind one another, `rows` of `width` elements. */
static void add_rows(double *restrict acc, const float *restrict x, int64_t rows, int64_t width) {
    int64_t r = 0;
    if (width < NARROW) {
        double wide[NARROW * NARROW] = {0};
        int64_t together = NARROW * width; /* a run of 16 rows, added lane by lane */
        for (; r + NARROW <= rows; r += NARROW)
            add_row(wide, x + r * width, together);
        for (int64_t i = 0; i < together; i++)
            acc[i % width] += wide[i];
    }
    for (; r < rows; r++)
        add_row(acc, x + r * width, width);
}

/* Offset of the i-th combination of the summed (or kept) outer dimensions. */
static int64_t offset_of(const struct sum_state *s, int64_t i, bool summed) {
    int64_t at = 0;
    for (int d = s->n - 1; d >= 0; d--)
        if (s->summed[d] == summed) {
            at += i % s->dim[d] * s->stride[d];
            i /= s->dim[d];
        }
    return at;
}

/* Adds the rows [from, to) of output row o, or for one long run its elements [from, to). */
static void add_chunk(const struct sum_state *s, const float *x, int64_t o, int64_t from, int64_t to, double *acc) {
    const float *base = x + offset_of(s, o, false);
    memset(acc, 0, sizeof *acc * (size_t)s->width);
    if (s->inner_summed && s->rows == 1) {
        acc[0] = sum_run(base + from, to - from);
        return;
    }
    int last = -1; /* the innermost summed outer dimension: its rows have one stride */
    for (int d = 0; d < s->n; d++)
        if (s->summed[d])
            last = d;
    for (int64_t r = from; r < to;) {
        int64_t at = offset_of(s, r, true), run = 1;
        if (last >= 0) {
            run = s->dim[last] - r % s->dim[last];
            run = run < to - r ? run : to - r;
        }
        if (!s->inner_summed && last >= 0 && s->stride[last] == s->inner)
            add_rows(acc, base + at, run, s->inner);
        else
            for (int64_t k = 0; k < run; k++) {
                const float *row = base + at + (last >= 0 ? k * s->stride[last] : 0);
                if (s->inner_summed)
                    acc[0] += sum_run(row, s->inner);
                else
                    add_row(acc, row, s->inner);
            }
        r += run;
    }
}

static void run(void *context, const struct kernel_call *c) {
    const struct sum_state *s = c->state;
    const float *x = c->in[0].data;
    float *y = c->out[0].data;
    double *partial = c->workspace;
    if (s->inner_summed && s->n == 1 && s->chunks == 1 && s->inner < 64) { /* many short runs: noise and colour gradients */
        int n_threads = cpu_threads(context);
#pragma omp parallel for num_threads(n_threads) schedule(static) if (s->outer * s->inner > 32768)
        for (int64_t o = 0; o < s->outer; o++) {
            double total = 0;
            for (int64_t i = 0; i < s->inner; i++)
                total += (double)x[o * s->inner + i];
            y[o] = (float)total;
        }
        return;
    }
    int64_t cut = s->inner_summed && s->rows == 1 ? s->inner : s->rows, tasks = s->outer * s->chunks;
    int threads = cpu_threads(context);
#pragma omp parallel for num_threads(threads) schedule(static) if (s->outer * s->rows * s->inner > 32768)
    for (int64_t t = 0; t < tasks; t++) {
        int64_t o = t / s->chunks, k = t % s->chunks, from = k * s->chunk, to = from + s->chunk;
        add_chunk(s, x, o, from, to < cut ? to : cut, partial + t * s->width);
    }
    for (int64_t o = 0; o < s->outer; o++)
        for (int64_t i = 0; i < s->width; i++) {
            double total = 0;
            for (int64_t k = 0; k < s->chunks; k++)
                total += partial[(o * s->chunks + k) * s->width + i];
            y[o * s->width + i] = (float)total;
        }
}

const struct kernel kernel_sum_cpu = {prepare, run, release};
