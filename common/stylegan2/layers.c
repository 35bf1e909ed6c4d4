/* layers.c - see layers.h. */
#include "common/stylegan2/layers.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/mem.h"

/* ---- the network's tensors as nodes ---- */

struct sg2_vars *sg2_vars_create(struct graph *g, struct sg2_net *n, bool constant) {
    struct sg2_vars *v = xcalloc(1, sizeof *v);
    v->g = g;
    v->net = n;
    v->constant = constant;
    v->node = xcalloc((size_t)n->n_tensors, sizeof *v->node);
    return v;
}

void sg2_vars_free(struct sg2_vars *v) {
    if (!v)
        return;
    free(v->node);
    free(v);
}

const struct sg2_tensor *sg2_trained(const struct sg2_net *n, int i) {
    for (int k = 0; k < n->n_tensors; k++)
        if (n->tensors[k].trained && i-- == 0)
            return &n->tensors[k];
    return NULL;
}

/* The shape a tensor has on the device: channels last. */
static void device_shape(const struct sg2_tensor *t, int64_t dim[4]) {
    for (int i = 0; i < t->ndim; i++)
        dim[i] = t->dim[i];
    if (t->conv)
        dim[1] = t->dim[2], dim[2] = t->dim[3], dim[3] = t->dim[1];
    else if (t->trained && t->ndim == 3)
        dim[0] = t->dim[1], dim[1] = t->dim[2], dim[2] = t->dim[0];
}

tensor *sg2_var(struct sg2_vars *v, const char *name) {
    const struct sg2_tensor *t = sg2_net_find(v->net, name);
    if (!t) {
        fprintf(stderr, "stylegan2: the %s network has no tensor \"%s\"\n", v->net->kind == SG2_G ? "G" : "D", name);
        abort();
    }
    tensor **node = &v->node[t - v->net->tensors];
    if (!*node) {
        int64_t dim[4];
        device_shape(t, dim);
        *node = graph_input_shape(v->g, t->trained ? v->net->params : v->net->state, t->offset * 4, DT_F32, t->name, t->ndim, dim);
        if (v->constant)
            graph_mark_constant(*node);
    }
    return *node;
}

tensor *sg2_varf(struct sg2_vars *v, const char *format, ...) {
    char name[64];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    return sg2_var(v, name);
}

tensor *sg2_vars_flat(struct sg2_vars *v) {
    if (!v->flat)
        v->flat = graph_input(v->g, v->net->params, 0, DT_F32, "params", 1, (int)v->net->n_params);
    return v->flat;
}

/* ---- layers ---- */

tensor *sg2_bias_act(struct graph *g, tensor *x, tensor *bias, enum sg2_act act, float gain, float limit) {
    if (bias)
        x = add(g, x, bias);
    if (act == SG2_LRELU)
        x = lrelu(g, x, SG2_SLOPE);
    if (gain != 1)
        x = scale(g, x, gain, 0);
    if (limit > 0)
        x = clamp(g, x, -limit, limit);
    return x;
}

tensor *sg2_fc(struct sg2_vars *v, const char *name, tensor *x, float lr, enum sg2_act act) {
    struct graph *g = v->g;
    tensor *w = sg2_varf(v, "%s.weight", name); /* [out,in] */
    tensor *b = sg2_varf(v, "%s.bias", name);   /* [out] */
    float gain = lr / sqrtf((float)w->dim[1]);
    tensor *y = scale(g, matmul(g, x, false, w, true), gain, 0);
    if (lr != 1)
        b = scale(g, b, lr, 0);
    return sg2_bias_act(g, y, b, act, act == SG2_LRELU ? SG2_SQRT2 : 1, 0);
}

tensor *sg2_normalise(struct graph *g, tensor *x) {
    return mul(g, x, rsqrt1(g, scale(g, mean_axes(g, square(g, x), 1u << 1), 1, 1e-8f)));
}

tensor *sg2_conv(struct graph *g, tensor *x, tensor *w, int stride, int pad, bool half) {
    if (!half)
        return conv2d(g, x, w, stride, pad, pad);
    /* Tensor cores want channels in multiples of 8 (the minibatch layer has 513). Pictures are a matter of their own: 1x1
     * convolutions from and to 3 channels have kernels that need no zeros. */
    bool picture = w->dim[1] == 1 && w->dim[2] == 1 && (w->dim[0] <= 4 || w->dim[3] <= 4);
    int out = (int)w->dim[0], more_in = picture ? 0 : (int)(-x->dim[3] & 7), more_out = picture ? 0 : -out & 7;
    x = cast(g, x, SG2_HALF);
    if (more_in)
        x = pad_axis(g, x, 3, 0, more_in), w = pad_axis(g, w, 3, 0, more_in);
    if (more_out)
        w = pad_axis(g, w, 0, 0, more_out);
    tensor *y = conv2d(g, x, cast(g, w, SG2_HALF), stride, pad, pad);
    return more_out ? slice(g, y, 3, 0, out) : y;
}

tensor *sg2_up2(struct graph *g, tensor *x, tensor *f) {
    struct upfirdn u = {.up_y = 2, .up_x = 2, .down_y = 1, .down_x = 1, .pad_y0 = 2, .pad_y1 = 1, .pad_x0 = 2, .pad_x1 = 1, .gain = 4};
    return upfirdn2d(g, x, f, u);
}

/* Transposed 3x3 convolution with stride 2: [N,H,W,I] -> [N,2H+1,2W+1,O], then the FIR filter to [N,2H,2W,O]. */
static tensor *conv_up2(struct graph *g, tensor *x, tensor *w, tensor *f) {
    static const int in_first[4] = {3, 1, 2, 0};
    tensor *wt = permute(g, w, in_first); /* [I,k,k,O] */
    int64_t H = 2 * (x->dim[1] - 1) + w->dim[1], W = 2 * (x->dim[2] - 1) + w->dim[2];
    x = conv2d_input_grad(g, x, cast(g, wt, x->dtype), 2, 0, 0, H, W);
    /* (2H + 1) + padding - 3 = 2H; FIR gain 4 makes up for the zeros between the pixels */
    struct upfirdn u = {.up_y = 1, .up_x = 1, .down_y = 1, .down_x = 1, .pad_y0 = 1, .pad_y1 = 1, .pad_x0 = 1, .pad_x1 = 1, .gain = 4};
    return upfirdn2d(g, x, f, u);
}

tensor *sg2_modulated_conv(struct graph *g, tensor *x, tensor *w, tensor *s, bool demodulate, int up, tensor *f, bool half) {
    int n = (int)x->dim[0], in = (int)w->dim[3], out = (int)w->dim[0];
    tensor *y = mul(g, cast(g, x, half ? SG2_HALF : DT_F32), reshape(g, s, 4, n, 1, 1, in));
    y = up == 2 ? conv_up2(g, y, w, f) : sg2_conv(g, y, w, 1, (int)w->dim[1] / 2, half);
    if (!demodulate)
        return y;
    tensor *q = reshape(g, sum_axes(g, square(g, w), 1u << 1 | 1u << 2), 2, out, in);
    tensor *d = rsqrt1(g, scale(g, matmul(g, square(g, s), false, q, true), 1, 1e-8f)); /* [N,O] */
    return mul(g, y, reshape(g, d, 4, n, 1, 1, out));
}

tensor *sg2_minibatch_std(struct graph *g, tensor *x, int parts, int group, int channels) {
    int P = parts, N = (int)x->dim[0] / P, H = (int)x->dim[1], W = (int)x->dim[2], C = (int)x->dim[3];
    int G = group > 0 && group < N ? group : N, M = N / G, F = channels, c = C / F;
    if (x->dim[0] % P || N % G) {
        fprintf(stderr, "stylegan2: a batch of %d does not split into groups of %d for the minibatch standard deviation\n", N, G);
        abort();
    }
    tensor *y = reshape(g, x, 5, P, G, M, H * W, C);
    y = sub(g, y, mean_axes(g, y, 1u << 1));
    y = sqrt1(g, scale(g, mean_axes(g, square(g, y), 1u << 1), 1, 1e-8f)); /* [P,1,M,HW,C] */
    y = reshape(g, y, 5, P, M, H * W, F, c);
    y = mean_axes(g, y, 1u << 2 | 1u << 4);                                /* [P,M,1,F,1] */
    y = reshape(g, y, 6, P, 1, M, 1, 1, F);
    y = broadcast(g, y, 6, (const int64_t[]){P, G, M, H, W, F});
    y = reshape(g, y, 4, P * N, H, W, F); /* sample n of a part belongs to group n mod M */
    return concat(g, (tensor *[]){x, y}, 2, 3);
}
