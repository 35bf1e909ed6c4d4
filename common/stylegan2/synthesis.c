/* synthesis.c - w+ to pictures: blocks from 4x4 up, two convolutions each, skip outputs to RGB (config F). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/stylegan2/layers.h"

#define BLOCKS 9 /* 4x4 to 1024x1024 */

struct synthesis {
    struct sg2_vars *v;
    struct graph *g;
    tensor *ws; /* [N,num_ws,w_dim] */
    struct sg2_synthesis_opt o;
    int layer; /* noise layers so far: the use of their random numbers */
    float limit;
    tensor *style[BLOCKS][3]; /* of conv0, conv1 and torgb of each block */
};

/* The style of one layer: an affine map of its w, bias initialised to 1. [N,channels] */
static tensor *make_style(struct synthesis *s, int res, const char *layer, int row) {
    char affine[64];
    tensor *w = slice(s->g, s->ws, 1, row, 1);
    snprintf(affine, sizeof affine, "synthesis.b%d.%s.affine", res, layer);
    w = reshape(s->g, w, 2, (int)s->ws->dim[0], (int)s->ws->dim[2]);
    return sg2_fc(s->v, affine, w, 1, SG2_LINEAR);
}

/* All of them, before anything reads one: the pass that ends a layer can so scale its result for both of its readers, and what they
 * send back meets in one pass, because no gradient of a style is wanted before all layers are through. */
static void make_styles(struct synthesis *s, int res) {
    int row = 0;
    for (int r = 4, i = 0; r <= res; r *= 2, i++) {
        if (r > 4)
            s->style[i][0] = make_style(s, r, "conv0", row++);
        s->style[i][1] = make_style(s, r, "conv1", row++);
        s->style[i][2] = make_style(s, r, "torgb", row); /* the row is also that of the next block's first convolution */
    }
}

static tensor *layer(struct synthesis *s, const char *name, tensor *x, tensor *style, int row, int up) {
    struct graph *g = s->g;
    tensor *f = up == 2 ? sg2_varf(s->v, "%s.resample_filter", name) : NULL;
    x = sg2_modulated_conv(g, x, sg2_varf(s->v, "%s.weight", name), style, true, up, f, s->o.half);
    int N = (int)x->dim[0], H = (int)x->dim[1], W = (int)x->dim[2];
    tensor *noise = NULL, *strength = sg2_varf(s->v, "%s.noise_strength", name);
    float factor = s->o.noise_scale ? s->o.noise_scale[row] : 1;
    if (factor == 0)
        ; /* the layer's number is taken all the same: what the others draw does not depend on it */
    else if (s->o.noise == SG2_NOISE_CONST)
        noise = reshape(g, sg2_varf(s->v, "%s.noise_const", name), 4, 1, H, W, 1);
    else if (s->o.noise == SG2_NOISE_RANDOM)
        noise = random_normal(g, s->o.noise_key, s->o.noise_use + (uint32_t)s->layer, 4, (const int64_t[]){N, H, W, 1});
    else if (s->o.noise == SG2_NOISE_GIVEN)
        noise = s->o.noise_maps[s->layer];
    s->layer++;
    if (factor != 1)
        strength = scale(g, strength, factor, 0);
    if (noise)
        x = add(g, x, mul(g, noise, reshape(g, strength, 4, 1, 1, 1, 1)));
    return sg2_bias_act(g, x, sg2_varf(s->v, "%s.bias", name), SG2_LRELU, SG2_SQRT2, s->limit);
}

static tensor *to_rgb(struct synthesis *s, const char *name, tensor *x, tensor *style) {
    struct graph *g = s->g;
    tensor *w = sg2_varf(s->v, "%s.weight", name); /* [img_channels,1,1,in] */
    tensor *st = scale(g, style, 1 / sqrtf((float)w->dim[3]), 0);
    x = cast(g, sg2_modulated_conv(g, x, w, st, false, 1, NULL, s->o.half), DT_F32);
    return sg2_bias_act(g, x, sg2_varf(s->v, "%s.bias", name), SG2_LINEAR, 1, s->limit);
}

int sg2_noise_layers(const struct sg2_config *c) { return sg2_num_ws(c) - 1; }
int sg2_noise_res(int k) { return 4 << (k + 1) / 2; }

/* 4x4 has conv1 alone */
void sg2_noise_name(int k, char name[64]) { snprintf(name, 64, "synthesis.b%d.conv%d.noise_const", sg2_noise_res(k), k % 2 == 0); }

tensor *sg2_synthesis(struct sg2_vars *v, tensor *ws, struct sg2_synthesis_opt o) {
    struct graph *g = v->g;
    const struct sg2_config *c = &v->net->config;
    struct synthesis s = {.v = v, .g = g, .ws = ws, .o = o, .limit = c->conv_clamp};
    int N = (int)ws->dim[0], row = 0;
    tensor *x = NULL, *img = NULL;
    char name[48];
    make_styles(&s, c->res);
    for (int res = 4, block = 0; res <= c->res; res *= 2, block++) {
        tensor **style = s.style[block];
        if (res == 4) {
            int C = sg2_channels(c, 4);
            x = reshape(g, sg2_var(v, "synthesis.b4.const"), 4, 1, 4, 4, C);
            x = broadcast(g, x, 4, (const int64_t[]){N, 4, 4, C});
        } else {
            snprintf(name, sizeof name, "synthesis.b%d.conv0", res);
            x = layer(&s, name, x, style[0], row++, 2);
        }
        snprintf(name, sizeof name, "synthesis.b%d.conv1", res);
        x = layer(&s, name, x, style[1], row++, 1);
        if (img)
            img = sg2_up2(g, img, sg2_varf(v, "synthesis.b%d.resample_filter", res));
        snprintf(name, sizeof name, "synthesis.b%d.torgb", res);
        tensor *rgb = to_rgb(&s, name, x, style[2]);
        img = img ? add(g, img, rgb) : rgb;
    }
    graph_name(img, "img");
    return img;
}
