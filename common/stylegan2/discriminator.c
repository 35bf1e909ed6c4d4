/* discriminator.c - pictures to logits: residual blocks down to 4x4, minibatch standard deviation, projection of the class. */
#include <math.h>
#include <stdio.h>

#include "common/stylegan2/layers.h"

/* A convolution layer; down = 2 filters with the 4x4 FIR first. gain multiplies the activation's own. */
static tensor *layer(struct sg2_vars *v, const char *name, tensor *x, int down, bool biased, enum sg2_act act, float gain, bool half) {
    struct graph *g = v->g;
    tensor *w = sg2_varf(v, "%s.weight", name); /* [K,R,S,C] */
    tensor *bias = biased ? sg2_varf(v, "%s.bias", name) : NULL;
    int k = (int)w->dim[1];
    w = scale(g, w, 1 / sqrtf((float)(w->dim[1] * w->dim[2] * w->dim[3])), 0);
    if (down == 1) {
        x = sg2_conv(g, x, w, 1, k / 2, half);
    } else {
        tensor *f = sg2_varf(v, "%s.resample_filter", name);
        int pad = k == 1 ? 1 : 2, stride = k == 1 ? 2 : 1; /* a 1x1 convolution commutes with dropping pixels */
        struct upfirdn u = {.up_y = 1, .up_x = 1, .down_y = stride, .down_x = stride, .pad_y0 = pad, .pad_y1 = pad,
                            .pad_x0 = pad, .pad_x1 = pad, .gain = 1};
        x = sg2_conv(g, upfirdn2d(g, x, f, u), w, k == 1 ? 1 : 2, 0, half);
    }
    if (act == SG2_LRELU)
        return sg2_bias_act(g, x, bias, act, SG2_SQRT2 * gain, v->net->config.conv_clamp * gain);
    return sg2_bias_act(g, x, bias, act, gain, v->net->config.conv_clamp * gain);
}

/* fromrgb for pictures whose gradient nobody wants, on devices that sum in the pass that computes (backend.h): channel by channel, so
 * that the convolution is part of the pass that applies its activation, and its weight's gradient part of the pass that computes
 * what is summed. The largest tensors of D are so written once and read once less each way. Sums there want powers of two. */
static bool from_rgb_by_channel(const tensor *w, bool fixed, bool half) {
    int64_t out = w->dim[0];
    return fixed && half && w->dim[3] <= 3 && out >= 8 && out <= 1024 && !(out & (out - 1));
}

static tensor *from_rgb(struct sg2_vars *v, const char *name, tensor *img, bool fixed, bool half) {
    struct graph *g = v->g;
    tensor *w = sg2_varf(v, "%s.weight", name), *y = NULL; /* [K,1,1,C] */
    if (!from_rgb_by_channel(w, fixed, half))
        return layer(v, name, img, 1, true, SG2_LRELU, 1, half);
    w = scale(g, w, 1 / sqrtf((float)w->dim[3]), 0);
    for (int c = 0; c < (int)w->dim[3]; c++) {
        tensor *x = slice(g, img, 3, c, 1), *k = reshape(g, slice(g, w, 3, c, 1), 4, 1, 1, 1, (int)w->dim[0]);
        y = y ? fma3(g, x, k, y) : mul(g, x, k);
    }
    return cast(g, sg2_bias_act(g, y, sg2_varf(v, "%s.bias", name), SG2_LRELU, SG2_SQRT2, v->net->config.conv_clamp), SG2_HALF);
}

/* The residual blocks, down to 4x4. each (may be NULL) receives the result of every one. */
static tensor *blocks(struct sg2_vars *v, tensor *img, bool fixed, bool half, tensor **each) {
    struct graph *g = v->g;
    const struct sg2_config *k = &v->net->config;
    const float sqrt_half = sqrtf(0.5f);
    char name[48];
    tensor *x = img;
    for (int res = k->res; res > 4; res /= 2) {
        if (res == k->res) {
            snprintf(name, sizeof name, "b%d.fromrgb", res);
            x = from_rgb(v, name, x, fixed, half);
        }
        snprintf(name, sizeof name, "b%d.skip", res);
        tensor *y = layer(v, name, x, 2, false, SG2_LINEAR, sqrt_half, half);
        snprintf(name, sizeof name, "b%d.conv0", res);
        x = layer(v, name, x, 1, true, SG2_LRELU, 1, half);
        snprintf(name, sizeof name, "b%d.conv1", res);
        x = layer(v, name, x, 2, true, SG2_LRELU, sqrt_half, half);
        x = add(g, y, x);
        if (each)
            *each++ = x;
    }
    return x;
}

int sg2_discriminator_features(struct sg2_vars *v, tensor *img, bool half, tensor **out) {
    int n = 0;
    blocks(v, img, false, half, out);
    for (int res = v->net->config.res; res > 4; res /= 2, n++)
        out[n] = cast(v->g, out[n], DT_F32);
    return n;
}

/* All but the last layer: [N, channels at 4x4]. */
static tensor *hidden(struct sg2_vars *v, tensor *img, int parts, int group, bool fixed, bool half) {
    struct graph *g = v->g;
    const struct sg2_config *k = &v->net->config;
    tensor *x = blocks(v, img, fixed, half, NULL);
    x = cast(g, x, DT_F32);
    if (k->mbstd_channels > 0)
        x = sg2_minibatch_std(g, x, parts, group, k->mbstd_channels);
    x = cast(g, layer(v, "b4.conv", x, 1, true, SG2_LRELU, 1, half), DT_F32);
    static const int channels_first[4] = {0, 3, 1, 2}; /* b4.fc.weight counts its inputs as [C,4,4] */
    x = reshape(g, permute(g, x, channels_first), 2, (int)x->dim[0], -1);
    return sg2_fc(v, "b4.fc", x, 1, SG2_LRELU);
}

tensor *sg2_discriminator_hidden(struct sg2_vars *v, tensor *img, bool half) {
    return hidden(v, img, 1, 1, false, half);
}

static tensor *logits(struct sg2_vars *v, tensor *img, tensor *c, int parts, bool fixed, bool half) {
    struct graph *g = v->g;
    const struct sg2_config *k = &v->net->config;
    tensor *x = sg2_fc(v, "b4.out", hidden(v, img, parts, k->mbstd_group, fixed, half), 1, SG2_LINEAR);
    if (k->c_dim) { /* projection (Miyato and Koyama 2018): the logit is the dot product with the mapped class */
        tensor *m = sg2_mapping(v, NULL, c); /* [N,cmap_dim] */
        x = scale(g, sum_axes(g, mul(g, x, m), 1u << 1), 1 / sqrtf((float)x->dim[1]), 0);
    }
    graph_name(x, "logits");
    return x;
}

tensor *sg2_discriminator(struct sg2_vars *v, tensor *img, tensor *c, bool half) {
    return logits(v, img, c, 1, false, half);
}

tensor *sg2_discriminator_parts(struct sg2_vars *v, tensor *img, tensor *c, int parts, bool half) {
    return logits(v, img, c, parts, true, half);
}

void sg2_to_u8(const float *x, uint8_t *out, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        float y = x[i] * 127.5f + 128;
        out[i] = y >= 255 ? 255 : y > 0 ? (uint8_t)y : 0; /* NaN becomes 0 */
    }
}
