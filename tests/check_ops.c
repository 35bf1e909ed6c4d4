/* check_ops.c - ops.safetensors: FIR resampling, activations, modulated convolution, minibatch standard deviation. */
#include <string.h>

#include "common/stylegan2/layers.h"
#include "tests/check_graph.h"

#define TOLERANCE 1e-5

static bool recognises(const struct safetensors *s) {
    return safetensors_find(s, "upfirdn2d.x") && safetensors_find(s, "modconv.x") && safetensors_find(s, "mbstd.x");
}

static void check_upfirdn(struct check_graph *c) {
    tensor *x = check_input(c, "upfirdn2d.x"), *f = check_input(c, "upfirdn2d.f"), *fa = check_input(c, "upfirdn2d.f_asym");
    struct upfirdn down = {1, 1, 2, 2, 1, 1, 1, 1, false, 1}, same = {1, 1, 1, 1, 2, 1, 2, 1, false, 1};
    struct upfirdn general = {.up_y = 2, .up_x = 3, .down_y = 3, .down_x = 2, .pad_y0 = -1, .pad_y1 = 3, .pad_x0 = 1, .pad_x1 = 2,
                              .gain = 1.5f};
    check_expect(c, "upfirdn2d.up2", sg2_up2(c->g, x, f), TOLERANCE);
    check_expect(c, "upfirdn2d.down2", upfirdn2d(c->g, x, f, down), TOLERANCE);
    check_expect(c, "upfirdn2d.filter", upfirdn2d(c->g, x, f, same), TOLERANCE);
    check_expect(c, "upfirdn2d.general_up3x2_down2x3_pad1,2,-1,3_gain1.5", upfirdn2d(c->g, x, fa, general), TOLERANCE);
    general.flip = true;
    check_expect(c, "upfirdn2d.general_flip", upfirdn2d(c->g, x, fa, general), TOLERANCE);
}

/* exp(x) - 1 below zero, 0 above */
static tensor *exp_below(struct graph *g, tensor *x) { return scale(g, exp1(g, clamp(g, x, -100, 0)), 1, -1); }

static void check_bias_act(struct check_graph *c) {
    struct graph *g = c->g;
    tensor *x = add(g, check_input(c, "upfirdn2d.x"), check_input(c, "bias_act.b"));
    tensor *relu = lrelu(g, x, 0), *e = exp_below(g, x);
    const float selu = 1.0507009873554805f, alpha = 1.6732632423543772f;
    check_expect(c, "bias_act.linear", x, TOLERANCE);
    check_expect(c, "bias_act.relu", scale(g, relu, SG2_SQRT2, 0), TOLERANCE);
    check_expect(c, "bias_act.lrelu", sg2_bias_act(g, x, NULL, SG2_LRELU, SG2_SQRT2, 0), TOLERANCE);
    check_expect(c, "bias_act.tanh", tanh1(g, x), TOLERANCE);
    check_expect(c, "bias_act.sigmoid", sigmoid(g, x), TOLERANCE);
    check_expect(c, "bias_act.elu", add(g, relu, e), TOLERANCE);
    check_expect(c, "bias_act.selu", scale(g, add(g, relu, scale(g, e, alpha, 0)), selu, 0), TOLERANCE);
    check_expect(c, "bias_act.softplus", softplus(g, x), TOLERANCE);
    check_expect(c, "bias_act.swish", scale(g, mul(g, x, sigmoid(g, x)), SG2_SQRT2, 0), TOLERANCE);
    check_expect(c, "bias_act.lrelu_gain0.7_clamp0.4", sg2_bias_act(g, x, NULL, SG2_LRELU, 0.7f, 0.4f), TOLERANCE);
}

static void check_modconv(struct check_graph *c) {
    struct graph *g = c->g;
    tensor *x = check_input(c, "modconv.x"), *w = check_input(c, "modconv.w"), *s = check_input(c, "modconv.s");
    tensor *f = check_input(c, "upfirdn2d.f");
    tensor *plain = sg2_modulated_conv(g, x, w, s, true, 1, NULL, false);
    check_expect(c, "modconv.k3", add(g, plain, check_input(c, "modconv.noise")), TOLERANCE);
    tensor *up = sg2_modulated_conv(g, x, w, s, true, 2, f, false);
    check_expect(c, "modconv.k3_up2", add(g, up, check_input(c, "modconv.noise_up")), TOLERANCE);
    check_expect(c, "modconv.k3_nodemod", sg2_modulated_conv(g, x, w, s, false, 1, NULL, false), TOLERANCE);
}

static void check_mbstd(struct check_graph *c) {
    tensor *x = check_input(c, "mbstd.x");
    tensor *y = sg2_minibatch_std(c->g, x, 1, 4, 1);
    check_expect(c, "mbstd.group4_ch1", slice(c->g, y, 3, x->dim[3], 1), TOLERANCE);
}

static void run(const struct safetensors *s, struct report *r) {
    static void (*const parts[])(struct check_graph *) = {check_upfirdn, check_bias_act, check_modconv, check_mbstd};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        struct check_graph c;
        check_graph_begin(&c, s, r, "ops");
        parts[i](&c);
        check_graph_run(&c);
    }
}

const struct check check_ops = {"ops", recognises, run};
