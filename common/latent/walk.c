/* walk.c - see walk.h.
 *
 * The cubic spline on equal steps has second derivatives m with m[i-1] + 4 m[i] + m[i+1] = 6 (y[i-1] - 2 y[i] + y[i+1]). On a ring
 * of P points the inverse of that matrix is known: g[d] = (r^d + r^(P-d)) / (2 sqrt(3) (1 - r^P)), r = sqrt(3) - 2. Natural ends
 * (m = 0) are the ring of 2(K-1) points on which the right side continues with its sign turned. r^60 is below 1e-34: nothing
 * farther away counts.
 */
#include "common/latent/walk.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

#define REACH 60

struct latent_walk {
    enum latent_path path;
    const struct latent_set *keys;
    struct latent_vector origin;
    int64_t frames;
    bool loop;
    float *bend; /* second derivatives at the keys, [n,size]; cubic only */
};

static double influence(int64_t distance, int64_t ring) {
    const double r = sqrt(3.0) - 2.0;
    return (pow(r, (double)distance) + pow(r, (double)(ring - distance))) / (2 * sqrt(3.0) * (1 - pow(r, (double)ring)));
}

static const float *key(const struct latent_walk *w, int64_t i) {
    int64_t n = w->keys->n;
    return w->keys->data + ((i % n + n) % n) * latent_size(w->keys->shape);
}

/* Adds factor * right side at key j to sum. */
static void add_right_side(const struct latent_walk *w, int64_t j, double factor, double *sum) {
    const float *before = key(w, j - 1), *here = key(w, j), *after = key(w, j + 1);
    for (int64_t i = 0; i < latent_size(w->keys->shape); i++)
        sum[i] += factor * 6 * ((double)before[i] - 2 * (double)here[i] + (double)after[i]);
}

static void make_bend(struct latent_walk *w) {
    int64_t n = w->keys->n, size = latent_size(w->keys->shape), ring = w->loop ? n : 2 * (n - 1);
    double *sum = xmalloc((size_t)size * sizeof *sum);
    w->bend = xcalloc((size_t)n, (size_t)size * sizeof *w->bend);
    for (int64_t i = 0; i < n; i++) {
        memset(sum, 0, (size_t)size * sizeof *sum);
        if (w->loop) /* every point of the ring once, from half way back to half way on */
            for (int64_t d = -((n - 1) / 2); d <= n / 2; d++) {
                if (llabs(d) <= REACH)
                    add_right_side(w, i + d, influence(llabs(d), ring), sum);
            }
        else if (i > 0 && i < n - 1)
            for (int64_t j = 1; j < n - 1; j++) {
                if (llabs(i - j) <= REACH)
                    add_right_side(w, j, influence(llabs(i - j), ring) - influence(i + j, ring), sum);
            }
        for (int64_t k = 0; k < size; k++)
            w->bend[i * size + k] = (float)sum[k];
    }
    free(sum);
}

enum status latent_walk_create(struct latent_walk **walk, enum latent_path path, const struct latent_set *keys,
                               struct latent_vector origin, int64_t frames, bool loop, struct error *e) {
    *walk = NULL;
    if (path == LATENT_CIRCULAR && keys->n != 2)
        return st_bad(e, "a circle goes through 2 latents, not %lld", (long long)keys->n);
    if (keys->n < 2)
        return st_bad(e, "a walk needs at least 2 latents, and there is 1");
    struct latent_walk *w = *walk = xcalloc(1, sizeof *w);
    *w = (struct latent_walk){.path = path, .keys = keys, .origin = origin, .frames = frames, .loop = loop || path == LATENT_CIRCULAR};
    if (path == LATENT_CUBIC)
        make_bend(w);
    return ST_OK;
}

void latent_walk_free(struct latent_walk *w) {
    if (w)
        free(w->bend);
    free(w);
}

/* One vector of `dim` numbers. A turn that has no plane (same or opposite directions, or no length) goes straight. */
static void turn(const float *a, const float *b, const float *o, int dim, double t, float *out) {
    double aa = 0, bb = 0, ab = 0;
    for (int i = 0; i < dim; i++) {
        double x = (double)a[i] - (o ? (double)o[i] : 0), y = (double)b[i] - (o ? (double)o[i] : 0);
        aa += x * x, bb += y * y, ab += x * y;
    }
    double la = sqrt(aa), lb = sqrt(bb), cosine = la > 0 && lb > 0 ? fmax(-1, fmin(1, ab / (la * lb))) : 1;
    double angle = acos(cosine), sine = sin(angle), wa = 1 - t, wb = t;
    if (sine > 1e-6) {
        double length = (1 - t) * la + t * lb;
        wa = length / la * sin((1 - t) * angle) / sine;
        wb = length / lb * sin(t * angle) / sine;
    }
    for (int i = 0; i < dim; i++) {
        double c = o ? (double)o[i] : 0;
        out[i] = (float)(c + wa * ((double)a[i] - c) + wb * ((double)b[i] - c));
    }
}

static const float *origin_of(const struct latent_walk *w, int layer) {
    const struct latent_vector *o = &w->origin;
    return o->data ? o->data + (o->per_layer ? (size_t)layer * (size_t)w->keys->shape.dim : 0) : NULL;
}

void latent_walk_frame(const struct latent_walk *w, int64_t frame, float *out) {
    struct latent_shape s = w->keys->shape;
    int64_t n = w->keys->n, size = latent_size(s);
    double angle = 2 * M_PI * (double)frame / (double)w->frames;
    /* the stretch and the place in it, in whole numbers: latents themselves are met exactly */
    int64_t steps = w->loop ? w->frames : w->frames > 1 ? w->frames - 1 : 1, at = frame * (w->loop ? n : n - 1);
    int64_t from = at / steps;
    double t = (double)(at % steps) / (double)steps;
    const float *a = key(w, from), *b = key(w, from + 1);
    if (w->path == LATENT_CIRCULAR)
        a = key(w, 0), b = key(w, 1);
    else if (t == 0) {
        memcpy(out, a, (size_t)size * sizeof *out);
        return;
    }
    const float *bend_a = w->bend ? w->bend + from % n * size : NULL, *bend_b = w->bend ? w->bend + (from + 1) % n * size : NULL;
    double cube_a = ((1 - t) * (1 - t) * (1 - t) - (1 - t)) / 6, cube_b = (t * t * t - t) / 6;
    for (int l = 0; l < (s.layers ? s.layers : 1); l++) {
        const float *o = origin_of(w, l);
        int64_t first = (int64_t)l * s.dim;
        if (w->path == LATENT_SPHERICAL) {
            turn(a + first, b + first, o, s.dim, t, out + first);
            continue;
        }
        for (int64_t i = first; i < first + s.dim; i++) {
            double x = (double)a[i], y = (double)b[i], c = o ? (double)o[i - first] : 0;
            if (w->path == LATENT_CIRCULAR)
                out[i] = (float)(c + (x - c) * cos(angle) + (y - c) * sin(angle));
            else
                out[i] = (float)((1 - t) * x + t * y +
                                 (bend_a ? cube_a * (double)bend_a[i] + cube_b * (double)bend_b[i] : 0.0));
        }
    }
}

enum status latent_walk_write(const struct latent_walk *w, FILE *f, struct error *e) {
    struct latent_shape s = w->keys->shape;
    float *row = xmalloc((size_t)latent_size(s) * sizeof *row);
    enum status st = latent_head(f, s, w->frames, e);
    for (int64_t i = 0; !st && i < w->frames; i++) {
        latent_walk_frame(w, i, row);
        st = latent_write(f, s, row, 1, e);
    }
    free(row);
    return st;
}
