/* projector_distance.c - how unlike two pictures are, and how much of a picture a noise map carries. A number for each picture.
 *
 * Pixels: the mean square at the full size and at each half of it down to 16 pixels, added up. Coarse scales have little weight in
 * the fine one but a smooth way there, so they come first and detail follows. Where the target is as white (black) as 8 bits go, a
 * network that draws it whiter (blacker) than that has drawn it: what overshoots counts as equal.
 * Contrast: pixels alone have a network blur whatever it cannot put in its place, since grey is nearer than hair that lies otherwise. So
 * the amount of change in each block of 4x4 is compared as well, whatever it is that changes, at the same scales.
 * Features: as LPIPS (Zhang et al. 2018) without learned weights: at each place the vector of a layer's channels is scaled to
 * length 1; the squared distance is averaged over places, and over layers.
 */
#include "common/stylegan2/projector_internal.h"

#define COARSEST 16
#define EVERYTHING_BUT_N (1u << 1 | 1u << 2 | 1u << 3)

static tensor *halved(struct graph *g, tensor *x, tensor *box, float gain) {
    struct upfirdn u = {.up_y = 1, .up_x = 1, .down_y = 2, .down_x = 2, .gain = gain};
    return upfirdn2d(g, x, box, u);
}

tensor *projector_pixel_distance(struct graph *g, tensor *x, tensor *y, tensor *box) {
    const float end = 1 - 0.5f / 127.5f;
    tensor *white = step(g, scale(g, y, 1, -end), 0, 1), *black = step(g, scale(g, y, -1, -end), 0, 1);
    tensor *sum = NULL, *d = sub(g, x, y), *below = lrelu(g, scale(g, d, -1, 0), 0);
    d = sub(g, d, mul(g, white, lrelu(g, d, 0)));
    d = add(g, d, mul(g, black, below)); /* from here on linear: one pyramid does for both pictures */
    for (;;) {
        tensor *m = mean_axes(g, square(g, d), EVERYTHING_BUT_N);
        sum = sum ? add(g, sum, m) : m;
        if (d->dim[1] / 2 < COARSEST)
            return sum;
        d = halved(g, d, box, 1);
    }
}

/* Root mean square of the differences between neighbours, in blocks of 4x4: how much goes on there, whatever it is. [N,H/4,W/4,1] */
static tensor *contrast(struct graph *g, tensor *x, const struct projector_filters *f) {
    struct upfirdn u = {.up_y = 1, .up_x = 1, .down_y = 1, .down_x = 1, .pad_y1 = 1, .pad_x1 = 1, .gain = 1};
    tensor *e = add(g, square(g, upfirdn2d(g, x, f->dx, u)), square(g, upfirdn2d(g, x, f->dy, u)));
    e = mean_axes(g, e, 1u << 3);
    return sqrt1(g, scale(g, halved(g, halved(g, e, f->box, 1), f->box, 1), 1, 1e-4f));
}

tensor *projector_contrast_distance(struct graph *g, tensor *x, tensor *y, const struct projector_filters *f) {
    tensor *sum = NULL;
    x = clamp(g, x, -1, 1);
    for (;;) {
        tensor *m = mean_axes(g, square(g, sub(g, contrast(g, x, f), contrast(g, y, f))), EVERYTHING_BUT_N);
        sum = sum ? add(g, sum, m) : m;
        if (x->dim[1] / 2 < COARSEST)
            return sum;
        x = halved(g, x, f->box, 1);
        y = halved(g, y, f->box, 1);
    }
}

static tensor *unit(struct graph *g, tensor *x) {
    return mul(g, x, rsqrt1(g, scale(g, sum_axes(g, square(g, x), 1u << 3), 1, 1e-8f)));
}

tensor *projector_feature_distance(struct graph *g, tensor **x, tensor **y, int n) {
    tensor *sum = NULL;
    for (int i = 0; i < n; i++) {
        tensor *d = sum_axes(g, square(g, sub(g, unit(g, x[i]), unit(g, y[i]))), 1u << 3);
        tensor *m = scale(g, mean_axes(g, d, 1u << 1 | 1u << 2), 1 / (float)n, 0);
        sum = sum ? add(g, sum, m) : m;
    }
    return sum;
}

/* Mean over places of map * map moved by one along `axis`, around the edge. [N,1,1,1] */
static tensor *neighbours(struct graph *g, tensor *map, int axis) {
    int64_t r = map->dim[axis];
    tensor *part[2] = {slice(g, map, axis, 1, r - 1), slice(g, map, axis, 0, 1)};
    return mean_axes(g, mul(g, map, concat(g, part, 2, axis)), EVERYTHING_BUT_N);
}

tensor *projector_autocorrelation(struct graph *g, tensor *map, tensor *box) {
    tensor *sum = NULL;
    for (;;) {
        tensor *one = add(g, square(g, neighbours(g, map, 1)), square(g, neighbours(g, map, 2)));
        sum = sum ? add(g, sum, one) : one;
        if (map->dim[1] <= 8)
            return sum;
        map = halved(g, map, box, 2); /* the mean of four independent values has half their deviation: twice that */
    }
}
