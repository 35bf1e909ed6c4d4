/* ffhq_cut.c - ffhq_cut of ffhq.h: shrink, reduce to the surroundings, pad, resample.
 *
 * The picture is shrunk until the quad holds 2-4 times the output's pixels per axis, reduced to the quad's surroundings, padded
 * where the quad leaves it, and sampled bilinearly on a grid four times as fine as the output, which a Lanczos filter brings
 * down row by row: what the published script does, without its large intermediate picture. Two more differences, both under one
 * level: the padding's Gaussian works on a reduced picture (its radius grows with the face), and the median is that of the
 * rounded values.
 *
 * Pixels are four floats (R, G, B, unused) in one SSE-sized vector, so the code reads like the formula and needs no intrinsics.
 */
#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "common/face/ffhq.h"

#define SUPER 4 /* samples per output pixel and axis */
#define LOBES 3 /* of the Lanczos filter */
#define TAPS (2 * LOBES * SUPER)
#define RING (2 * LOBES) /* output rows that one row of samples reaches */

typedef float v4 __attribute__((vector_size(16)));
typedef int i4 __attribute__((vector_size(16)));
typedef uint32_t u4 __attribute__((vector_size(16)));

struct patch { /* the quad's surroundings */
    int width, height;
    uint32_t *px; /* owned, [height][width]; R + 256 G + 65536 B */
};

static inline v4 all(float x) { return (v4){x, x, x, x}; }
static inline v4 unpack(uint32_t b) { /* four instructions with AVX2 */
    u4 n = (u4){b, b, b, b} >> (u4){0, 8, 16, 24} & 255;
    return __builtin_convertvector((i4)n, v4);
}

static inline uint32_t pack(v4 v) {
    i4 n = __builtin_convertvector(v + 0.5f, i4);
    n &= n > 0; /* comparisons give -1 where true */
    i4 over = n > 255;
    n = (n & ~over) | (over & 255);
    return (uint32_t)n[0] | (uint32_t)n[1] << 8 | (uint32_t)n[2] << 16;
}

static v4 *vectors(size_t n) {
    v4 *p = aligned_alloc(32, (n * sizeof(v4) + 31) / 32 * 32);
    if (!p)
        mem_alloc(SIZE_MAX / 2, __FILE__, __LINE__); /* says where, and aborts */
    return p;
}

static int clamp(int x, int low, int high) { return x < low ? low : x > high ? high : x; }

/* ---- padding ---- */

/* ... 2 1 | 0 1 2 ... n-1 | n-2 ...: mirrored without repeating the edge, as often as needed. */
static int mirror_at(int i, int n) {
    if (n == 1)
        return 0;
    int period = 2 * (n - 1);
    i %= period;
    if (i < 0)
        i += period;
    return i < n ? i : period - i;
}

static struct patch pad_mirrored(const struct patch *p, const int pad[4]) {
    struct patch q = {p->width + pad[0] + pad[2], p->height + pad[1] + pad[3], NULL};
    q.px = xmalloc((size_t)q.width * q.height * sizeof *q.px);
    int *column = xmalloc((size_t)q.width * sizeof *column);
    for (int x = 0; x < q.width; x++)
        column[x] = mirror_at(x - pad[0], p->width);
    for (int y = 0; y < q.height; y++) {
        const uint32_t *from = p->px + (size_t)mirror_at(y - pad[1], p->height) * p->width;
        uint32_t *to = q.px + (size_t)y * q.width;
        for (int x = 0; x < q.width; x++)
            to[x] = from[column[x]];
    }
    free(column);
    return q;
}

/* k x k cells to their mean (fewer pixels at the right and lower edge). */
static v4 *reduce(const struct patch *p, int k, int width, int height) {
    v4 *small = vectors((size_t)width * height);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            int x1 = clamp((x + 1) * k, 0, p->width), y1 = clamp((y + 1) * k, 0, p->height);
            v4 sum = all(0);
            for (int j = y * k; j < y1; j++)
                for (int i = x * k; i < x1; i++)
                    sum += unpack(p->px[(size_t)j * p->width + i]);
            small[(size_t)y * width + x] = sum * (1.0f / (float)((x1 - x * k) * (y1 - y * k)));
        }
    return small;
}

/* In place; beyond the edge the picture is mirrored with its edge pixel repeated; cut off at 4 sigma. */
static void gaussian(v4 *px, int width, int height, double sigma) {
    int r = (int)(4 * sigma + 0.5), longest = width > height ? width : height;
    float *w = xmalloc((size_t)(2 * r + 1) * sizeof *w);
    double sum = 0;
    for (int i = -r; i <= r; i++)
        sum += exp(-0.5 * i * i / (sigma * sigma));
    for (int i = -r; i <= r; i++)
        w[i + r] = (float)(exp(-0.5 * i * i / (sigma * sigma)) / sum);
    v4 *line = vectors((size_t)longest + 2 * (size_t)r);
    for (int pass = 0; pass < 2; pass++) { /* rows, then columns */
        int n = pass ? height : width, lines = pass ? width : height;
        size_t step = pass ? (size_t)width : 1, next = pass ? 1 : (size_t)width;
        for (int l = 0; l < lines; l++) {
            v4 *at = px + l * next;
            for (int i = -r; i < n + r; i++) {
                int m = i % (2 * n);
                if (m < 0)
                    m += 2 * n;
                line[i + r] = at[(size_t)(m < n ? m : 2 * n - 1 - m) * step];
            }
            for (int i = 0; i < n; i++) {
                v4 s = all(0);
                for (int t = 0; t <= 2 * r; t++)
                    s += line[i + t] * w[t];
                at[i * step] = s;
            }
        }
    }
    free(line);
    free(w);
}

/* 0 inside, rising to 1 at the outer edge of the padding: the share of the median colour. A third of the padding's width inside
 * the picture it is -1/3, where the blur begins. */
static float *edge_weights(int n, int before, int after) {
    float *m = xmalloc((size_t)n * sizeof *m);
    for (int i = 0; i < n; i++)
        m[i] = 1 - fminf((float)i / (float)before, (float)(n - 1 - i) / (float)after);
    return m;
}

static void median(const struct patch *p, float out[3]) {
    size_t count[3][256] = {{0}}, half = (size_t)p->width * p->height / 2;
    for (size_t i = 0; i < (size_t)p->width * p->height; i++)
        for (int c = 0; c < 3; c++)
            count[c][p->px[i] >> 8 * c & 255]++;
    for (int c = 0; c < 3; c++) {
        size_t seen = 0;
        int v = 0;
        while (v < 255 && (seen += count[c][v]) <= half)
            v++;
        out[c] = (float)v;
    }
}

/* Fades the padding into a blur and the blur into the median colour. */
static void fade(struct patch *p, const int pad[4], double sigma) {
    int k = sigma >= 4 ? (int)(sigma / 2) : 1, width = (p->width + k - 1) / k, height = (p->height + k - 1) / k;
    v4 *blur = reduce(p, k, width, height);
    /* cell means and bilinear enlargement blur too: with variances (k*k-1)/12 and (k*k-1)/6 */
    gaussian(blur, width, height, sqrt(sigma * sigma - (k * k - 1) / 4.0) / k);
    float *mx = edge_weights(p->width, pad[0], pad[2]), *my = edge_weights(p->height, pad[1], pad[3]);
    for (int y = 0; y < p->height; y++) {
        float v = ((float)y + 0.5f) / (float)k - 0.5f;
        int y0 = clamp((int)floorf(v), 0, height - 1), y1 = clamp(y0 + 1, 0, height - 1);
        v4 fy = all(fmaxf(v - (float)y0, 0));
        for (int x = 0; x < p->width; x++) {
            float share = 3 * fmaxf(mx[x], my[y]) + 1;
            if (share <= 0)
                continue;
            float u = fmaxf(((float)x + 0.5f) / (float)k - 0.5f, 0);
            int x0 = clamp((int)u, 0, width - 1), x1 = clamp(x0 + 1, 0, width - 1);
            v4 fx = all(u - (float)x0);
            const v4 *top = blur + (size_t)y0 * width, *low = blur + (size_t)y1 * width;
            v4 a = top[x0] + (top[x1] - top[x0]) * fx, b = low[x0] + (low[x1] - low[x0]) * fx;
            uint32_t *at = p->px + (size_t)y * p->width + x;
            v4 old = unpack(*at);
            *at = pack(old + (a + (b - a) * fy - old) * fminf(share, 1));
        }
    }
    float m[3];
    median(p, m);
    v4 middle = {m[0], m[1], m[2], 0};
    for (int y = 0; y < p->height; y++)
        for (int x = 0; x < p->width; x++) {
            float share = fmaxf(mx[x], my[y]);
            if (share <= 0)
                continue;
            uint32_t *at = p->px + (size_t)y * p->width + x;
            v4 old = unpack(*at);
            *at = pack(old + (middle - old) * fminf(share, 1));
        }
    free(mx);
    free(my);
    free(blur);
}

/* ---- resampling ---- */

/* One row of samples at (x + i*dx, y + i*dy); outside the patch black. */
static void sample_row(const struct patch *p, double x, double y, double dx, double dy, int n, v4 *row) {
    double right = p->width - 1, low = p->height - 1, x1 = x + (n - 1) * dx, y1 = y + (n - 1) * dy;
    bool inside = fmin(x, x1) >= 0 && fmax(x, x1) < right && fmin(y, y1) >= 0 && fmax(y, y1) < low;
    for (int i = 0; i < n; i++) {
        double u = x + i * dx, v = y + i * dy;
        int left_step = 1;
        size_t row_step = (size_t)p->width;
        if (!inside) { /* half a pixel beyond the outermost centres the picture ends */
            if (u < -0.5 || v < -0.5 || u >= right + 0.5 || v >= low + 0.5) {
                row[i] = all(0);
                continue;
            }
            u = fmin(fmax(u, 0), right);
            v = fmin(fmax(v, 0), low);
            left_step = u < right;
            row_step = v < low ? row_step : 0;
        }
        int iu = (int)u, iv = (int)v;
        const uint32_t *a = p->px + (size_t)iv * p->width + iu, *b = a + row_step;
        float fu = (float)(u - iu), fv = (float)(v - iv);
        v4 top = unpack(a[0]), bottom = unpack(b[0]);
        top += (unpack(a[left_step]) - top) * fu;
        bottom += (unpack(b[left_step]) - bottom) * fu;
        row[i] = top + (bottom - top) * fv;
    }
}

static double sinc(double x) { return x == 0 ? 1 : sin(M_PI * x) / (M_PI * x); }

/* q: corners in pixels of the patch. The filter's weights w are the same for every output pixel; at the crop's edge those
 * outside are left out and the rest scaled up (norm). */
static void resample(const struct patch *p, const double q[4][2], int size, struct image *out) {
    int n = size * SUPER;
    float w[TAPS], *norm = xmalloc((size_t)size * sizeof *norm);
    for (int t = 0; t < TAPS; t++) {
        double x = (t - TAPS / 2 + 0.5) / SUPER;
        w[t] = (float)(sinc(x) * sinc(x / LOBES) / SUPER);
    }
    for (int i = 0; i < size; i++) {
        float sum = 0;
        for (int t = 0; t < TAPS; t++) {
            int s = i * SUPER + SUPER / 2 - TAPS / 2 + t;
            sum += s >= 0 && s < n ? w[t] : 0;
        }
        norm[i] = 1 / sum;
    }

    const int lead = TAPS / 2; /* zeros on both sides of the row stand for what is left out */
    v4 *row = vectors((size_t)n + 2 * lead), *narrow = vectors(size), *ring = vectors((size_t)RING * size);
    for (int i = 0; i < lead; i++)
        row[i] = row[lead + n + i] = all(0);
    for (size_t i = 0; i < (size_t)RING * size; i++)
        ring[i] = all(0);
    double right[2], down[2];
    for (int k = 0; k < 2; k++) {
        right[k] = (q[3][k] - q[0][k]) / n;
        down[k] = (q[1][k] - q[0][k]) / n;
    }
    image_alloc(out, size, size, 3);
    for (int i = 0; i < n; i++) {
        double x = q[0][0] + down[0] * (i + 0.5) + right[0] * 0.5, y = q[0][1] + down[1] * (i + 0.5) + right[1] * 0.5;
        sample_row(p, x, y, right[0], right[1], n, row + lead);
        for (int o = 0; o < size; o++) {
            const v4 *from = row + lead + o * SUPER + SUPER / 2 - TAPS / 2;
            v4 a = all(0), b = all(0); /* two sums: the additions need not wait for each other */
            for (int t = 0; t < TAPS; t += 2) {
                a += from[t] * w[t];
                b += from[t + 1] * w[t + 1];
            }
            narrow[o] = (a + b) * norm[o];
        }
        int first = (i - SUPER / 2 - TAPS / 2 + SUPER) / SUPER, last = (i - SUPER / 2 + TAPS / 2) / SUPER;
        for (int o = clamp(first, 0, size); o <= last && o < size; o++) {
            int t = i - (o * SUPER + SUPER / 2 - TAPS / 2);
            if (t < 0 || t >= TAPS)
                continue;
            v4 *sum = ring + (size_t)(o % RING) * size;
            for (int c = 0; c < size; c++)
                sum[c] += narrow[c] * w[t];
            if (t == TAPS - 1 || i == n - 1) {
                uint8_t *to = out->data + (size_t)o * size * 3;
                for (int c = 0; c < size; c++) {
                    uint32_t px = pack(sum[c] * norm[o]);
                    for (int k = 0; k < 3; k++)
                        to[3 * c + k] = (uint8_t)(px >> 8 * k);
                    sum[c] = all(0);
                }
            }
        }
    }
    free(norm);
    free(row);
    free(narrow);
    free(ring);
}

/* ---- the whole ---- */

/* Copies the rectangle of the picture whose pixels are sx x sy pixels of im. */
static struct patch extract(const struct image *im, double sx, double sy, int x0, int y0, int x1, int y1) {
    struct patch p = {x1 - x0, y1 - y0, NULL};
    struct image part = {0};
    if (sx != 1 || sy != 1) {
        image_resize_box(im, x0 * sx, y0 * sy, fmin(x1 * sx, im->width), fmin(y1 * sy, im->height), p.width, p.height,
                         FILTER_LANCZOS, &part);
    } else {
        image_crop(im, x0, y0, p.width, p.height, &part);
    }
    p.px = xmalloc((size_t)p.width * p.height * sizeof *p.px);
    for (size_t i = 0; i < (size_t)p.width * p.height; i++)
        p.px[i] = part.data[3 * i] | (uint32_t)part.data[3 * i + 1] << 8 | (uint32_t)part.data[3 * i + 2] << 16;
    image_free(&part);
    return p;
}

void ffhq_cut(const struct image *im, int eighths, const struct ffhq_quad *quad, int size, bool padding, struct image *out) {
    assert(im->channels == 3 && eighths >= 1 && eighths <= 8);
    /* The published script divides coordinates by its whole-number shrink factor without regard to pixel centres; so the crop
     * stands (published - 1)/2 pixels further right and down than its corners say. Kept, whoever does the shrinking. */
    double published = fmax(floor(quad->size / (2.0 * size)), 1), scale = eighths / 8.0;
    double shrink = fmax(floor(quad->size * scale / (2.0 * size)), 1);
    int width = im->width, height = im->height;
    double sx = 1, sy = 1;
    if (shrink > 1 && eighths == 8) { /* the script rounds the picture's size and so stretches it a little */
        width = (int)fmax(rint(im->width / shrink), 1);
        height = (int)fmax(rint(im->height / shrink), 1);
        sx = (double)im->width / width;
        sy = (double)im->height / height;
    } else if (shrink > 1) {
        width = (int)fmax(floor(im->width / shrink), 1);
        height = (int)fmax(floor(im->height / shrink), 1);
        sx = sy = shrink;
    }
    scale /= shrink;
    double q[4][2], side = quad->size * scale, low[2] = {INFINITY, INFINITY}, high[2] = {-INFINITY, -INFINITY};
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 2; k++) {
            q[i][k] = (quad->corner[i][k] + published / 2) * scale - 0.5;
            low[k] = fmin(low[k], q[i][k]);
            high[k] = fmax(high[k], q[i][k]);
        }
    int border = (int)fmax(rint(side * 0.1), 3);
    int x0 = clamp((int)floor(low[0]) - border, 0, width - 1), x1 = clamp((int)ceil(high[0]) + border, x0 + 1, width);
    int y0 = clamp((int)floor(low[1]) - border, 0, height - 1), y1 = clamp((int)ceil(high[1]) + border, y0 + 1, height);
    struct patch p = extract(im, sx, sy, x0, y0, x1, y1);

    int pad[4] = {(int)-floor(low[0]) + x0 + border, (int)-floor(low[1]) + y0 + border, (int)ceil(high[0]) - x1 + border,
                  (int)ceil(high[1]) - y1 + border}; /* left, top, right, bottom: how far the quad and its border stick out */
    int most = 0, least = (int)rint(side * 0.3);
    for (int i = 0; i < 4; i++) {
        most = pad[i] > most ? pad[i] : most;
        pad[i] = pad[i] > least ? pad[i] : least;
    }
    if (padding && most > border - 4) {
        struct patch larger = pad_mirrored(&p, pad);
        free(p.px);
        p = larger;
        fade(&p, pad, side * 0.02);
        x0 -= pad[0];
        y0 -= pad[1];
    }
    for (int i = 0; i < 4; i++) {
        q[i][0] -= x0;
        q[i][1] -= y0;
    }
    resample(&p, q, size, out);
    free(p.px);
}
