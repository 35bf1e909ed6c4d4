/* inception_judge.c - the first layers of FID's Inception as features for comparing pictures, with derivatives.
 *
 * Up to Mixed_5d: 2.2 GMAC a picture, and as much again for the derivative. Pools are composed of operations that have derivatives. The
 * borders of the resized picture mix with black by up to half a pixel, where TensorFlow repeats the edge: both pictures alike.
 */
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/metrics/inception_internal.h"

struct inception_judge {
    struct inception__builder b;
    struct buffer *buffers[INCEPTION_MAX_BUFFERS];
    int n_buffers;
    char hash[SHA256_HEX];
    struct error e;
};

/* ---- pools with derivatives ---- */

static tensor *larger(struct graph *g, tensor *x, tensor *y) { return add(g, x, lrelu(g, sub(g, y, x), 0)); }

/* Largest of three neighbours at 2i, 2i + 1, 2i + 2 along axis 1 or 2. */
static tensor *max3(struct graph *g, tensor *x, int axis) {
    int64_t N = x->dim[0], H = x->dim[1], W = x->dim[2], C = x->dim[3], out = (x->dim[axis] - 3) / 2 + 1;
    const int64_t pairs[2][5] = {{N, out, 2, W, C}, {N, H, out, 2, C}}, whole[2][4] = {{N, out, W, C}, {N, H, out, C}};
    tensor *pair[2];
    for (int from = 0; from < 2; from++)
        pair[from] = reshape_shape(g, slice(g, x, axis, from, 2 * out), 5, pairs[axis - 1]);
    tensor *y = larger(g, slice(g, pair[0], axis + 1, 0, 1), slice(g, pair[1], axis + 1, 0, 1));
    y = larger(g, y, slice(g, pair[1], axis + 1, 1, 1));
    return reshape_shape(g, y, 4, whole[axis - 1]);
}

tensor *inception__soft_maxpool(struct inception__builder *b, tensor *x) { return max3(b->g, max3(b->g, x, 1), 2); }

tensor *inception__soft_avgpool(struct inception__builder *b, tensor *x) {
    static const float ones[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    const struct upfirdn u = {.up_y = 1, .up_x = 1, .down_y = 1, .down_x = 1, .pad_y0 = 1, .pad_y1 = 1, .pad_x0 = 1, .pad_x1 = 1,
                              .gain = 1};
    int64_t H = x->dim[1], W = x->dim[2];
    float *inside = xmalloc((size_t)(H * W) * sizeof *inside);
    for (int64_t i = 0; i < H * W; i++) {
        int64_t y = i / W, c = i % W;
        inside[i] = 1.0f / (float)((3 - (y == 0) - (y == H - 1)) * (3 - (c == 0) - (c == W - 1)));
    }
    tensor *f = inception__weight(b, ones, "ones", 2, (int64_t[]){3, 3});
    tensor *share = inception__weight(b, inside, "share", 4, (int64_t[]){1, H, W, 1});
    free(inside);
    return mul(b->g, upfirdn2d(b->g, x, f, u), share);
}

/* ---- the judge ---- */

/* img in [-1,1] to [N,299,299,3] as Inception wants it. */
static tensor *prepare(struct inception__builder *b, tensor *img) {
    struct graph *g = b->g;
    int64_t N = img->dim[0], H = img->dim[1], W = img->dim[2], P = INCEPTION_SIDE;
    if (img->dim[3] == 1)
        img = broadcast(g, img, 4, (const int64_t[]){N, H, W, 3});
    else if (img->dim[3] > 3)
        img = slice(g, img, 3, 0, 3);
    if (H != P || W != P) { /* target pixel i reads place i*H/P: (u,v) of affine_sample moved by 1/W - 1/P */
        float *theta = xcalloc((size_t)N * 6, sizeof *theta);
        for (int64_t n = 0; n < N; n++) {
            const float row[6] = {1, 0, 1 / (float)W - 1 / (float)P, 0, 1, 1 / (float)H - 1 / (float)P};
            memcpy(theta + n * 6, row, sizeof row);
        }
        img = affine_sample(g, img, inception__weight(b, theta, "resize", 3, (int64_t[]){N, 2, 3}), P, P);
        free(theta);
    }
    return scale(g, img, 127.5f / 128, -0.5f / 128);
}

static void build(struct inception__builder *b, tensor *x, tensor **out) {
    b->next = 0;
    x = prepare(b, x);
    x = inception__conv(b, x, "Conv2d_1a_3x3", 32, 2, false); /* 149 */
    x = inception__conv(b, x, "Conv2d_2a_3x3", 32, 1, false); /* 147 */
    out[0] = x = inception__conv(b, x, "Conv2d_2b_3x3", 64, 1, true);
    x = inception__soft_maxpool(b, x);                        /* 73 */
    x = inception__conv(b, x, "Conv2d_3b_1x1", 80, 1, true);
    out[1] = x = inception__conv(b, x, "Conv2d_4a_3x3", 192, 1, false); /* 71 */
    x = inception__soft_maxpool(b, x);                        /* 35 */
    x = inception__mixed5(b, x, "Mixed_5b", 32);
    x = inception__mixed5(b, x, "Mixed_5c", 64);
    out[2] = inception__mixed5(b, x, "Mixed_5d", 64);
}

enum status inception_judge_open(struct inception_judge **out, const char *path, struct device *d, struct error *e) {
    struct inception_judge *j = xcalloc(1, sizeof *j);
    *out = NULL;
    j->b = (struct inception__builder){.device = d, .buffers = j->buffers, .n_buffers = &j->n_buffers, .differentiable = true, .e = &j->e};
    enum status st = sha256_file(path, j->hash, e);
    if (st == ST_OK)
        st = inception_weights_open(&j->b.weights, path, e);
    if (st == ST_OK) { /* one building for nothing but its weights, so that a file that lacks some is refused here */
        tensor *features[3];
        struct buffer *picture = buffer_create(d, (int64_t)INCEPTION_SIDE * INCEPTION_SIDE * 12, "picture");
        j->b.g = graph_create("inception");
        build(&j->b, graph_input(j->b.g, picture, 0, DT_F32, "picture", 4, 1, INCEPTION_SIDE, INCEPTION_SIDE, 3), features);
        graph_free(j->b.g);
        buffer_free(picture);
        if (j->b.failed)
            st = st_bad(e, "%s: %s", path, j->e.text);
        for (int i = 0; i < j->n_buffers; i++) { /* with the resize they count from another place */
            buffer_free(j->buffers[i]);
            j->buffers[i] = NULL;
        }
        j->n_buffers = 0;
    }
    if (st != ST_OK) {
        inception_judge_close(j);
        return st;
    }
    *out = j;
    return ST_OK;
}

void inception_judge_close(struct inception_judge *j) {
    if (!j)
        return;
    inception_weights_close(j->b.weights);
    for (int i = 0; i < j->n_buffers; i++)
        buffer_free(j->buffers[i]);
    free(j);
}

const char *inception_judge_hash(const struct inception_judge *j) { return j->hash; }

int inception_judge_build(void *judge, struct graph *g, tensor *img, tensor **out) {
    struct inception_judge *j = judge;
    j->b.g = g;
    build(&j->b, img, out);
    return 3;
}
