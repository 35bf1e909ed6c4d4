/* upfirdn2d.c - zero-insertion upsampling, FIR filter, decimation on the CPU.
 *
 * Filters that are an outer product (all that StyleGAN2 and its augmentation use: [1,3,3,1] both ways, 12 and 25 taps one way) run
 * in two passes: each input row is filtered horizontally once into a ring of rows, and each output row is a weighted sum of
 * the rows in the ring. Whether a filter is one is looked up at run, exactly: a[i][j]*a[k][l] == a[i][l]*a[k][j] in double. All
 * other filters take the plain loops at the end. Inserted zeros are never multiplied: of fw taps a pixel uses every up_x-th.
 *
 * The horizontal pass has two forms: for many channels each pixel is a sum of whole pixels, vectorised over channels; for few
 * (RGB) the row is one flat vector, with output phases interleaved (up) or input phases separated (down) by copying.
 * A piece is a band of output rows of one image.
 */
#include "kernels/upfirdn2d.h"

#include <math.h>

#include "kernels/cpu.h"

#define MAX_TAPS 64  /* a side; longer filters take the plain loops */
#define WIDE 16      /* channels from which the horizontal pass goes pixel by pixel */
#define BAND 32      /* output rows of a piece: the ring is filled anew in each (3 rows more for 4 taps) */

/* One direction: output o reads inputs first..first+count-1 with taps[phase], phase+up, ...; see locate(). */
struct axis {
    int64_t up, down, pad, taps, in, out;
    float tap[MAX_TAPS];           /* in order of rising input, flipped as needed */
    float phase_tap[MAX_TAPS + 8]; /* the same sorted by phase: phase p starts at p*per_phase */
    int64_t per_phase;
};

struct reach { /* which inputs one output reads, cut to those that exist */
    int64_t first, count;
    const float *tap;
};

static int64_t modulo(int64_t a, int64_t b)
{
    int64_t m = a % b;
    return m < 0 ? m + b : m;
}

static struct reach locate(const struct axis *a, int64_t o)
{
    int64_t u = o * a->down - a->pad, phase = modulo(-u, a->up), first = (u + phase) / a->up;
    struct reach r = {first, (a->taps - phase + a->up - 1) / a->up, a->phase_tap + phase * a->per_phase};
    if (phase >= a->taps)
        r.count = 0;
    if (first < 0) {
        r.first = 0;
        r.count += first;
        r.tap -= first;
    }
    if (r.count > a->in - r.first)
        r.count = a->in - r.first;
    if (r.count < 0)
        r.count = 0;
    return r;
}

static void sort_phases(struct axis *a)
{
    a->per_phase = (a->taps + a->up - 1) / a->up;
    for (int64_t i = 0; i < a->taps; i++)
        a->phase_tap[i % a->up * a->per_phase + i / a->up] = a->tap[i];
}

/* to[i] = sum over t < n of w[t] * from[t][i] */
static inline void combine(float *restrict to, const float *const *from, const float *w, int64_t n, int64_t length)
{
    if (n <= 0) {
        memset(to, 0, (size_t)length * sizeof *to);
        return;
    }
    const float *a = from[0], *b, *c, *d;
    float wa = w[0], wb, wc, wd;
    int64_t t = 1;
    if (n == 1) {
#pragma omp simd
        for (int64_t i = 0; i < length; i++)
            to[i] = wa * a[i];
        return;
    }
    b = from[1], wb = w[1];
    if (n == 3) {
        c = from[2], wc = w[2];
#pragma omp simd
        for (int64_t i = 0; i < length; i++)
            to[i] = wa * a[i] + wb * b[i] + wc * c[i];
        return;
    }
    if (n < 4) {
#pragma omp simd
        for (int64_t i = 0; i < length; i++)
            to[i] = wa * a[i] + wb * b[i];
        return;
    }
    c = from[2], wc = w[2], d = from[3], wd = w[3];
#pragma omp simd
    for (int64_t i = 0; i < length; i++)
        to[i] = wa * a[i] + wb * b[i] + wc * c[i] + wd * d[i];
    for (t = 4; t + 1 < n; t += 2) {
        a = from[t], b = from[t + 1], wa = w[t], wb = w[t + 1];
#pragma omp simd
        for (int64_t i = 0; i < length; i++)
            to[i] += wa * a[i] + wb * b[i];
    }
    if (t < n) {
        a = from[t], wa = w[t];
#pragma omp simd
        for (int64_t i = 0; i < length; i++)
            to[i] += wa * a[i];
    }
}

/* ---- one row, many channels ---- */
static void row_wide(const struct axis *a, const float *row, float *to, int64_t C)
{
    for (int64_t q = 0; q < a->out; q++, to += C) {
        struct reach r = locate(a, q);
        const float *from[MAX_TAPS];
        for (int64_t t = 0; t < r.count; t++)
            from[t] = row + (r.first + t) * C;
        combine(to, from, r.tap, r.count, C);
    }
}

/* ---- one row, few channels: flat vectors ---- */
static inline void copy_pixels(float *to, int64_t to_step, const float *from, int64_t from_step, int64_t n, int64_t C)
{
    if (C == 3) /* the case that counts */
        for (int64_t i = 0; i < n; i++, to += 3 * to_step, from += 3 * from_step)
            to[0] = from[0], to[1] = from[1], to[2] = from[2];
    else
        for (int64_t i = 0; i < n; i++)
            for (int64_t c = 0; c < C; c++)
                to[i * to_step * C + c] = from[i * from_step * C + c];
}

/* up = 1. `room` takes the padded row, its pixels sorted by position modulo down: (out + taps + 2*down) * C floats or more. */
static void row_decimate(const struct axis *a, const float *row, float *to, float *room, int64_t C)
{
    int64_t per = (a->out - 1) + (a->taps - 1) / a->down + 1; /* pixels of each phase */
    const float *from[MAX_TAPS];
    for (int64_t f = 0; f < a->down; f++) { /* pixel k of phase f is input k*down + f - pad */
        float *phase = room + f * per * C;
        int64_t start = a->pad - f > 0 ? (a->pad - f + a->down - 1) / a->down : 0; /* first that is inside */
        int64_t end = (a->in + a->pad - f + a->down - 1) / a->down;                /* first beyond */
        end = a->in + a->pad - f <= 0 ? 0 : end > per ? per : end;
        start = start > per ? per : start;
        end = end < start ? start : end;
        memset(phase, 0, (size_t)(start * C) * sizeof *phase);
        if (a->down == 1)
            memcpy(phase + start * C, row + (start - a->pad) * C, (size_t)((end - start) * C) * sizeof *phase);
        else
            copy_pixels(phase + start * C, 1, row + (start * a->down + f - a->pad) * C, a->down, end - start, C);
        memset(phase + end * C, 0, (size_t)((per - end) * C) * sizeof *phase);
    }
    for (int64_t j = 0; j < a->taps; j++)
        from[j] = room + (j % a->down * per + j / a->down) * C;
    combine(to, from, a->tap, a->taps, a->out * C);
}

/* down = 1. `room` takes the padded row and one output phase: (in + 2*out + 2*taps) * C floats or more. */
static void row_expand(const struct axis *a, const float *row, float *to, float *room, int64_t C)
{
    const float *from[MAX_TAPS];
    for (int64_t f = 0; f < a->up && f < a->out; f++) { /* outputs f, f + up, ...: output k reads inputs k + first .. */
        int64_t n = (a->out - f + a->up - 1) / a->up, u = f - a->pad, j = modulo(-u, a->up), first = (u + j) / a->up;
        int64_t count = j < a->taps ? (a->taps - j + a->up - 1) / a->up : 0, length = n + count;
        int64_t start = first < 0 ? -first : 0, end = a->in - first; /* of the padded row: what is inside */
        float *phase = room + length * C;
        start = start > length ? length : start;
        end = end < start ? start : end > length ? length : end;
        memset(room, 0, (size_t)(start * C) * sizeof *room);
        memcpy(room + start * C, row + (start + first) * C, (size_t)((end - start) * C) * sizeof *room);
        memset(room + end * C, 0, (size_t)((length - end) * C) * sizeof *room);
        for (int64_t t = 0; t < count; t++)
            from[t] = room + t * C;
        combine(phase, from, a->phase_tap + j * a->per_phase, count, n * C);
        copy_pixels(to + f * C, a->up, phase, 1, n, C);
    }
}

static int64_t room_floats(int64_t in, int64_t out, int64_t taps, int64_t down, int64_t C)
{
    return round_up((in + (2 + down) * (out + taps + 2)) * C, 64);
}

static int64_t ring_rows(int64_t taps, int64_t up)
{
    return (taps + up - 1) / up + 1;
}

/* ---- output rows p0..p1-1 of one image ---- */
static void band(const struct axis *v, const struct axis *h, const float *x, float *y, float *ring, float *room, int64_t p0,
                 int64_t p1, int64_t C)
{
    int64_t row = h->out * C, slots = ring_rows(v->taps, v->up), ready = 0; /* input rows below this are in the ring */
    bool still = h->taps == 1 && h->tap[0] == 1.0f && h->up == 1 && h->down == 1 && h->pad == 0 && h->in == h->out;
    for (int64_t p = p0; p < p1; p++) {
        struct reach r = locate(v, p);
        const float *from[MAX_TAPS];
        for (int64_t t = 0; t < r.count; t++) {
            int64_t i = r.first + t;
            const float *in = x + i * h->in * C;
            float *slot = ring + i % slots * row;
            from[t] = still ? in : slot;
            if (still || i < ready)
                continue;
            if (C >= WIDE || (h->up > 1 && h->down > 1))
                row_wide(h, in, slot, C);
            else if (h->up == 1)
                row_decimate(h, in, slot, room, C);
            else
                row_expand(h, in, slot, room, C);
            ready = i + 1;
        }
        combine(y + p * row, from, r.tap, r.count, row);
    }
}

/* f = column * row exactly? Then fills both axes' taps. The pivot is the smallest element, so that ratios stay exact ([1,3,3,1]). */
static bool separate(const float *f, int64_t fh, int64_t fw, bool flip, float gain, struct axis *v, struct axis *h)
{
    int64_t pi = -1, pj = -1;
    for (int64_t i = 0; i < fh * fw; i++)
        if (f[i] != 0.0f && (pi < 0 || fabsf(f[i]) < fabsf(f[pi * fw + pj])))
            pi = i / fw, pj = i % fw;
    if (pi < 0)
        pi = pj = 0; /* all zeros */
    double pivot = f[pi * fw + pj];
    for (int64_t i = 0; i < fh; i++)
        for (int64_t j = 0; j < fw; j++)
            if (!(f[i * fw + j] * pivot == (double)f[i * fw + pj] * f[pi * fw + j]))
                return false; /* also where something is not a number */
    for (int64_t i = 0; i < fh; i++)
        v->tap[flip ? i : fh - 1 - i] = fw == 1 || pivot != 0 ? f[i * fw + pj] * gain : 0.0f;
    for (int64_t j = 0; j < fw; j++)
        h->tap[flip ? j : fw - 1 - j] = fw == 1 ? 1.0f : pivot != 0 ? (float)(f[pi * fw + j] / pivot) : 0.0f;
    sort_phases(v);
    sort_phases(h);
    return true;
}

/* ---- any filter: one output row ---- */
static void plain_row(const struct kernel_call *c, const float *f, int64_t fh, int64_t fw, const float *x, float *y, int64_t p)
{
    const int64_t *a = c->a.i, H = c->in[0].dim[1], W = c->in[0].dim[2], C = c->in[0].dim[3], Q = c->out[0].dim[2];
    bool flip = a[8];
    memset(y, 0, (size_t)(Q * C) * sizeof *y);
    for (int64_t i = 0; i < fh; i++) {
        int64_t uy = p * a[2] + i - a[4];
        if (uy < 0 || uy % a[0] || uy / a[0] >= H)
            continue;
        const float *row = x + uy / a[0] * W * C;
        for (int64_t q = 0; q < Q; q++) {
            int64_t u = q * a[3] - a[6];
            for (int64_t j = modulo(-u, a[1]); j < fw; j += a[1]) {
                int64_t w = (u + j) / a[1];
                if (u + j < 0 || w >= W)
                    continue;
                float weight = c->a.f[0] * (flip ? f[i * fw + j] : f[(fh - 1 - i) * fw + fw - 1 - j]);
                const float *from = row + w * C;
                float *to = y + q * C;
#pragma omp simd
                for (int64_t k = 0; k < C; k++)
                    to[k] += weight * from[k];
            }
        }
    }
}

struct sizes {
    int64_t fh, fw, ring, room; /* ring, room: floats a lane */
};

static struct sizes sizes_of(const struct kernel_call *c)
{
    const struct operand *x = &c->in[0], *f = &c->in[1], *y = &c->out[0];
    struct sizes s = {f->dim[f->ndim - 2], f->dim[f->ndim - 1], 0, 0};
    s.ring = round_up(ring_rows(s.fh, c->a.i[0]) * y->dim[2] * x->dim[3], 64);
    s.room = x->dim[3] < WIDE ? room_floats(x->dim[2], y->dim[2], s.fw, c->a.i[3], x->dim[3]) : 0;
    return s;
}

static enum status prepare(void *context, struct kernel_call *c, struct error *e)
{
    struct sizes s = sizes_of(c);
    c->workspace_bytes = s.fh <= MAX_TAPS && s.fw <= MAX_TAPS ? cpu_threads(context) * (s.ring + s.room) * 4 : 0;
    return cpu_need_f32(c, e);
}

static void run(void *context, const struct kernel_call *c)
{
    const struct operand *x = &c->in[0], *f = &c->in[1], *y = &c->out[0];
    const int64_t *a = c->a.i, H = x->dim[1], W = x->dim[2], C = x->dim[3], N = y->dim[0], P = y->dim[1], Q = y->dim[2];
    const struct sizes s = sizes_of(c);
    const int64_t bands = (P + BAND - 1) / BAND, filter_step = f->ndim == 3 && f->dim[0] > 1 ? s.fh * s.fw : 0;
#pragma omp parallel num_threads(cpu_threads(context))
    {
        float *ring = (float *)c->workspace + omp_get_thread_num() * (s.ring + s.room);
        struct axis v = {.up = a[0], .down = a[2], .pad = a[4], .taps = s.fh, .in = H, .out = P};
        struct axis h = {.up = a[1], .down = a[3], .pad = a[6], .taps = s.fw, .in = W, .out = Q};
        const float *separated = NULL; /* the filter that v and h hold */
        bool separable = false;
#pragma omp for schedule(static)
        for (int64_t piece = 0; piece < N * bands; piece++) {
            int64_t n = piece / bands, p0 = piece % bands * P / bands, p1 = (piece % bands + 1) * P / bands;
            const float *fn = (const float *)f->data + n * filter_step, *xn = (const float *)x->data + n * H * W * C;
            float *yn = (float *)y->data + n * P * Q * C;
            if (separated != fn) {
                separated = fn;
                separable = s.fh <= MAX_TAPS && s.fw <= MAX_TAPS && s.fh * a[0] <= MAX_TAPS && s.fw * a[1] <= MAX_TAPS &&
                            separate(fn, s.fh, s.fw, a[8], c->a.f[0], &v, &h);
            }
            if (separable)
                band(&v, &h, xn, yn, ring, ring + s.ring, p0, p1, C);
            for (int64_t p = p0; !separable && p < p1; p++)
                plain_row(c, fn, s.fh, s.fw, xn, yn + p * Q * C, p);
        }
    }
}

const struct kernel kernel_upfirdn2d_cpu = {prepare, run, NULL};
