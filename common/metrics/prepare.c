/* prepare.c - see prepare.h. The two-neighbour rules have a path of their own that reads bytes; 128x128 to 299x299 takes 1 ms. */
#include "common/metrics/prepare.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

#define INCEPTION_PICTURE 299

/* ---- axes ---- */

/* Source pixel and share of its right neighbour for each target, in float32 as the originals compute them. */
static void two_neighbours(enum resize_rule rule, int in, int size, int *left, int *right, float *share) {
    float scale = (float)in / (float)size;
    for (int i = 0; i < size; i++) {
        float at = rule == RESIZE_TF1 ? (float)i * scale : ((float)i + 0.5f) * scale - 0.5f;
        at = at < 0 ? 0 : at;
        left[i] = (int)at < in ? (int)at : in - 1;
        right[i] = left[i] + 1 < in ? left[i] + 1 : in - 1;
        share[i] = at - (float)left[i];
    }
}

static double cubic(double x) { /* Keys 1981 with a = -0.5 */
    x = fabs(x);
    if (x < 1)
        return (1.5 * x - 2.5) * x * x + 1;
    return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

static double triangle(double x) { return fabs(x) < 1 ? 1 - fabs(x) : 0; }

static void antialiased(struct prepare_axis *a, double from, double to, bool bicubic) {
    double scale = (to - from) / a->size, stretch = scale < 1 ? 1 : scale, support = (bicubic ? 2 : 1) * stretch;
    a->most = 2 * (int)ceil(support) + 1;
    a->weight = xcalloc((size_t)a->size * a->most, sizeof *a->weight);
    double *w = xcalloc((size_t)a->most, sizeof *w);
    for (int i = 0; i < a->size; i++) {
        double centre = from + (i + 0.5) * scale, sum = 0;
        int first = (int)(centre - support + 0.5), end = (int)(centre + support + 0.5);
        first = first < 0 ? 0 : first;
        end = end > a->in ? a->in : end;
        for (int k = 0; k < end - first; k++) {
            double x = (k + first - centre + 0.5) / stretch;
            sum += w[k] = bicubic ? cubic(x) : triangle(x);
        }
        for (int k = 0; k < end - first; k++)
            a->weight[(size_t)i * a->most + k] = (float)(sum != 0 ? w[k] / sum : w[k]);
        a->first[i] = first;
        a->n[i] = end - first;
    }
    free(w);
}

void prepare_axis(struct prepare_axis *a, int in, double from, double to, int size, enum resize_rule rule) {
    *a = (struct prepare_axis){.in = in, .size = size};
    a->first = xcalloc((size_t)size, sizeof *a->first);
    a->n = xcalloc((size_t)size, sizeof *a->n);
    if (rule == RESIZE_CLEAN || rule == RESIZE_TRIANGLE) {
        antialiased(a, from, to, rule == RESIZE_CLEAN);
        return;
    }
    assert(from == 0 && to == in);
    int *right = xcalloc((size_t)size, sizeof *right);
    float *share = xcalloc((size_t)size, sizeof *share);
    a->most = 2;
    a->weight = xcalloc((size_t)size * 2, sizeof *a->weight);
    two_neighbours(rule, in, size, a->first, right, share);
    for (int i = 0; i < size; i++) {
        a->n[i] = right[i] > a->first[i] ? 2 : 1;
        a->weight[2 * i] = a->n[i] == 2 ? 1 - share[i] : 1;
        a->weight[2 * i + 1] = a->n[i] == 2 ? share[i] : 0;
    }
    free(right);
    free(share);
}

void prepare_axis_free(struct prepare_axis *a) {
    free(a->first);
    free(a->n);
    free(a->weight);
    *a = (struct prepare_axis){0};
}

void prepare_matrix(const struct prepare_axis *a, int channels, float *out) {
    size_t columns = (size_t)a->size * channels;
    memset(out, 0, (size_t)a->in * channels * columns * sizeof *out);
    for (int i = 0; i < a->size; i++)
        for (int k = 0; k < a->n[i]; k++)
            for (int c = 0; c < channels; c++)
                out[((size_t)(a->first[i] + k) * channels + c) * columns + (size_t)i * channels + c] = a->weight[(size_t)i * a->most + k];
}

/* ---- what to do ---- */

struct prepare prepare_inception(enum resize_rule rule) {
    return (struct prepare){.rule = rule, .side = INCEPTION_PICTURE, .scale = rule == RESIZE_PYTORCH ? 1 / 127.5f : 1 / 128.0f, .offset = -1};
}

const char *prepare_describe(const struct prepare *p, char *text, int room) {
    static const char *const rules[] = {"tf1: bilinear to %dx%d as TensorFlow 1", "pytorch: bilinear to %dx%d, centres aligned",
                                        "clean: antialiased bicubic to %dx%d in float", "antialiased triangle to %dx%d"};
    char how[64];
    snprintf(how, sizeof how, rules[p->rule], p->side, p->side);
    snprintf(text, (size_t)room, "%s, %s", how, p->scale == 1 / 128.0f ? "(x-128)/128" : "2x/255-1");
    return text;
}

/* ---- pictures ---- */

static void two_neighbour_bytes(const struct prepare *p, const struct image *im, float *out) {
    int side = p->side, *place = xmalloc(4 * (size_t)side * sizeof *place);
    int *left = place, *right = place + side, *top = place + 2 * side, *bottom = place + 3 * side;
    float *u = xmalloc(2 * (size_t)side * sizeof *u), *v = u + side;
    two_neighbours(p->rule, im->width, side, left, right, u);
    two_neighbours(p->rule, im->height, side, top, bottom, v);
    for (int y = 0; y < side; y++) {
        const uint8_t *a = im->data + (size_t)top[y] * im->width * 3, *b = im->data + (size_t)bottom[y] * im->width * 3;
        for (int x = 0; x < side; x++)
            for (int c = 0; c < 3; c++) {
                float tl = a[left[x] * 3 + c], tr = a[right[x] * 3 + c], bl = b[left[x] * 3 + c], br = b[right[x] * 3 + c];
                float upper = tl + (tr - tl) * u[x], lower = bl + (br - bl) * u[x];
                *out++ = (upper + (lower - upper) * v[y]) * p->scale + p->offset;
            }
    }
    free(place);
    free(u);
}

/* One row [width, 3] to [size, 3]. */
static void across(const float *row, const struct prepare_axis *x, float *out) {
    for (int i = 0; i < x->size; i++, out += 3) {
        const float *w = x->weight + (size_t)i * x->most, *from = row + (size_t)x->first[i] * 3;
        float sum[3] = {0};
        for (int k = 0; k < x->n[i]; k++, from += 3)
            for (int c = 0; c < 3; c++)
                sum[c] += w[k] * from[c];
        memcpy(out, sum, sizeof sum);
    }
}

/* Rows [.., size] already resized across, weighted down. rows[0] stands for source row `first`. */
static void down(const float *rows, int first, const struct prepare_axis *y, size_t width, float *out) {
    for (int i = 0; i < y->size; i++, out += width) {
        memset(out, 0, width * sizeof *out);
        for (int k = 0; k < y->n[i]; k++) {
            const float *from = rows + (size_t)(y->first[i] + k - first) * width, w = y->weight[(size_t)i * y->most + k];
            for (size_t j = 0; j < width; j++)
                out[j] += w * from[j];
        }
    }
}

static void resize(const uint8_t *bytes, const float *floats, int width, const struct prepare_axis *x, const struct prepare_axis *y,
                   float *out) {
    int first = y->first[0], last = first;
    for (int i = 0; i < y->size; i++)
        last = y->first[i] + y->n[i] > last ? y->first[i] + y->n[i] : last;
    size_t stride = (size_t)x->size * 3, values = (size_t)width * 3;
    float *rows = xmalloc((size_t)(last - first) * stride * sizeof *rows), *wide = bytes ? xmalloc(values * sizeof *wide) : NULL;
    for (int r = first; r < last; r++) {
        for (size_t j = 0; bytes && j < values; j++)
            wide[j] = bytes[r * values + j];
        across(bytes ? wide : floats + r * values, x, rows + (r - first) * stride);
    }
    down(rows, first, y, stride, out);
    free(rows);
    free(wide);
}

static void whole(const struct prepare *p, const uint8_t *bytes, const float *floats, int width, int height, float *out) {
    struct prepare_axis x, y;
    prepare_axis(&x, width, 0, width, p->side, p->rule);
    prepare_axis(&y, height, 0, height, p->side, p->rule);
    resize(bytes, floats, width, &x, &y, out);
    for (int64_t i = 0; i < (int64_t)p->side * p->side * 3; i++)
        out[i] = out[i] * p->scale + p->offset;
    prepare_axis_free(&x);
    prepare_axis_free(&y);
}

void prepare_picture(const struct prepare *p, const struct image *im, float *out) {
    assert(im->channels == 3 && im->width > 0 && im->height > 0);
    if (p->rule == RESIZE_TF1 || p->rule == RESIZE_PYTORCH)
        two_neighbour_bytes(p, im, out);
    else
        whole(p, im->data, NULL, im->width, im->height, out);
}

void prepare_float(const struct prepare *p, const float *picture, int width, int height, float *out) {
    whole(p, NULL, picture, width, height, out);
}

void prepare_resize(const float *picture, int width, const struct prepare_axis *x, const struct prepare_axis *y, float *out) {
    resize(NULL, picture, width, x, y, out);
}
