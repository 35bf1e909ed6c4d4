/* grad.c - reverse-mode differentiation: more nodes of the same operations, so that the result can be differentiated again.
 *
 * One function an operation, vjp_NAME(g, y, dy, dx): y is the node, dy the gradient of the loss with respect to it, and dx[i]
 * receives that of input i (left NULL where there is none: masks, filters, sampling positions). Families are closed: conv2d,
 * conv2d_input_grad and conv2d_weight_grad are each other's derivatives, upfirdn2d is its own with up and down swapped, sum and
 * broadcast, slice and pad, reflect_pad2d, affine_sample and mirror_sample and their adjoints come in pairs.
 *
 * Kinks: lrelu at 0 has slope 1; clamp passes the gradient on both of its bounds.
 */
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/engine/engine.h"

typedef void vjp(struct graph *g, tensor *y, tensor *dy, tensor **dx);

/* ---- pointwise. x = first input ---- */
static void vjp_add(struct graph *g, tensor *y, tensor *dy, tensor **dx) { (void)g, (void)y, dx[0] = dx[1] = dy; }

static void vjp_sub(struct graph *g, tensor *y, tensor *dy, tensor **dx) {
    (void)y;
    dx[0] = dy;
    dx[1] = scale(g, dy, -1, 0);
}

static void vjp_mul(struct graph *g, tensor *y, tensor *dy, tensor **dx) {
    dx[0] = mul(g, dy, y->in[1]);
    dx[1] = mul(g, dy, y->in[0]);
}

static void vjp_fma(struct graph *g, tensor *y, tensor *dy, tensor **dx) {
    vjp_mul(g, y, dy, dx);
    dx[2] = dy;
}

static void vjp_scale(struct graph *g, tensor *y, tensor *dy, tensor **dx) { dx[0] = scale(g, dy, y->a.f[0], 0); }
static void vjp_exp(struct graph *g, tensor *y, tensor *dy, tensor **dx) { dx[0] = mul(g, dy, y); }
static void vjp_log(struct graph *g, tensor *y, tensor *dy, tensor **dx) { dx[0] = mul(g, dy, recip(g, y->in[0])); }

static void vjp_sqrt(struct graph *g, tensor *y, tensor *dy, tensor **dx) {
    dx[0] = scale(g, mul(g, dy, rsqrt1(g, y->in[0])), 0.5f, 0);
}

static void vjp_rsqrt(struct graph *g, tensor *y, tensor *dy, tensor **dx) { /* -y^3/2 */
    dx[0] = scale(g, mul(g, dy, mul(g, y, square(g, y))), -0.5f, 0);
}

static void vjp_recip(struct graph *g, tensor *y, tensor *dy, tensor **dx) {
    dx[0] = scale(g, mul(g, dy, square(g, y)), -1, 0);
}

static void vjp_square(struct graph *g, tensor *y, tensor *dy, tensor **dx) {
    dx[0] = scale(g, mul(g, dy, y->in[0]), 2, 0);
}

static void vjp_softplus(struct graph *g, tensor *y, tensor *dy, tensor **dx) { dx[0] = mul(g, dy, sigmoid(g, y->in[0])); }

static void vjp_sigmoid(struct graph *g, tensor *y, tensor *dy, tensor **dx) { /* y - y^2 */
    dx[0] = mul(g, dy, sub(g, y, square(g, y)));
}

static void vjp_tanh(struct graph *g, tensor *y, tensor *dy, tensor **dx) { /* 1 - y^2 */
    dx[0] = mul(g, dy, scale(g, square(g, y), -1, 1));
}

/* The sign of x, not of y: slope may be 0 or negative. */
static void vjp_lrelu(struct graph *g, tensor *y, tensor *dy, tensor **dx) {
    dx[0] = mul(g, dy, step(g, y->in[0], y->a.f[0], 1));
}

static void vjp_clamp(struct graph *g, tensor *y, tensor *dy, tensor **dx) {
    dx[0] = mul(g, dy, clamp_mask(g, y->in[0], y->a.f[0], y->a.f[1]));
}

/* graph_vjp brings dx to the input's type */
static void vjp_cast(struct graph *g, tensor *y, tensor *dy, tensor **dx) { (void)g, (void)y, dx[0] = dy; }

static void vjp_broadcast(struct graph *g, tensor *y, tensor *dy, tensor **dx) {
    unsigned mask = 0;
    for (int i = 0; i < y->ndim; i++)
        if (y->dim[i] != y->in[0]->dim[i])
            mask |= 1u << i;
    dx[0] = sum_axes(g, dy, mask);
}

static void vjp_sum(struct graph *g, tensor *y, tensor *dy, tensor **dx) {
    dx[0] = broadcast_like(g, cast(g, dy, y->in[0]->dtype), y->in[0]);
}

/* ---- shape ---- */
static void vjp_reshape(struct graph *g, tensor *y, tensor *dy, tensor **dx) {
    dx[0] = reshape_shape(g, dy, y->in[0]->ndim, y->in[0]->dim);
}

static void vjp_slice(struct graph *g, tensor *y, tensor *dy, tensor **dx) {
    int axis = (int)y->a.i[0];
    dx[0] = pad_axis(g, dy, axis, y->a.i[1], y->in[0]->dim[axis] - y->a.i[1] - y->a.i[2]);
}

static void vjp_pad(struct graph *g, tensor *y, tensor *dy, tensor **dx) {
    int axis = (int)y->a.i[0];
    dx[0] = slice(g, dy, axis, y->a.i[1], y->in[0]->dim[axis]);
}

static void vjp_concat(struct graph *g, tensor *y, tensor *dy, tensor **dx) {
    int axis = (int)y->a.i[0];
    int64_t start = 0;
    for (int i = 0; i < y->nin; i++) {
        dx[i] = slice(g, dy, axis, start, y->in[i]->dim[axis]);
        start += y->in[i]->dim[axis];
    }
}

static void vjp_permute(struct graph *g, tensor *y, tensor *dy, tensor **dx) {
    int inverse[MAX_DIM];
    for (int i = 0; i < y->ndim; i++)
        inverse[y->a.i[i]] = i;
    dx[0] = permute(g, dy, inverse);
}

/* ---- linear algebra ---- */
/* Sums over the batch where the operand was shared by it. */
static tensor *unshare(struct graph *g, tensor *grad, const tensor *x) {
    return x->ndim == 3 && x->dim[0] == 1 && grad->dim[0] > 1 ? sum_axes(g, grad, 1) : grad;
}

static void vjp_matmul(struct graph *g, tensor *y, tensor *dy, tensor **dx) {
    tensor *a = y->in[0], *b = y->in[1];
    bool ta = y->a.i[0], tb = y->a.i[1];
    dx[0] = unshare(g, ta ? matmul(g, b, tb, dy, true) : matmul(g, dy, false, b, !tb), a);
    dx[1] = unshare(g, tb ? matmul(g, dy, true, a, ta) : matmul(g, a, !ta, dy, false), b);
}

struct conv_attr {
    int stride, pad_h, pad_w;
};
static struct conv_attr conv_attr(const tensor *y) {
    return (struct conv_attr){(int)y->a.i[0], (int)y->a.i[1], (int)y->a.i[2]};
}

static void vjp_conv2d(struct graph *g, tensor *y, tensor *dy, tensor **dx) {
    struct conv_attr c = conv_attr(y);
    tensor *x = y->in[0], *w = y->in[1];
    dx[0] = conv2d_input_grad(g, dy, w, c.stride, c.pad_h, c.pad_w, x->dim[1], x->dim[2]);
    dx[1] = conv2d_weight_grad(g, x, dy, c.stride, c.pad_h, c.pad_w, w->dim[1], w->dim[2]);
}

static void vjp_conv2d_input_grad(struct graph *g, tensor *y, tensor *dy, tensor **dx) {
    struct conv_attr c = conv_attr(y);
    tensor *w = y->in[1];
    dx[0] = conv2d(g, dy, w, c.stride, c.pad_h, c.pad_w);
    dx[1] = conv2d_weight_grad(g, dy, y->in[0], c.stride, c.pad_h, c.pad_w, w->dim[1], w->dim[2]);
}

static void vjp_conv2d_weight_grad(struct graph *g, tensor *y, tensor *dy, tensor **dx) {
    struct conv_attr c = conv_attr(y);
    tensor *x = y->in[0], *w = cast(g, dy, x->dtype); /* the gradient of a weight gradient has a weight's shape */
    dx[0] = conv2d_input_grad(g, y->in[1], w, c.stride, c.pad_h, c.pad_w, x->dim[1], x->dim[2]);
    dx[1] = conv2d(g, x, w, c.stride, c.pad_h, c.pad_w);
}

/* ---- pictures ---- */
/* The adjoint exchanges up and down and mirrors the filter. One axis: an output o reads the upsampled row at o*down - p0 + k, k in
 * 0..f-1, so the adjoint starts f - 1 - p0 before it, and p1 is what makes its output n long again. */
static void vjp_upfirdn2d(struct graph *g, tensor *y, tensor *dy, tensor **dx) {
    const int64_t *a = y->a.i;
    const tensor *x = y->in[0], *f = y->in[1];
    int fh = (int)f->dim[f->ndim - 2], fw = (int)f->dim[f->ndim - 1];
    struct upfirdn u = {.up_y = (int)a[2], .up_x = (int)a[3], .down_y = (int)a[0], .down_x = (int)a[1]};
    u.pad_y0 = fh - 1 - (int)a[4];
    u.pad_x0 = fw - 1 - (int)a[6];
    u.pad_y1 = (int)(x->dim[1] * a[0] - y->dim[1] * a[2] + a[4] - a[0] + 1);
    u.pad_x1 = (int)(x->dim[2] * a[1] - y->dim[2] * a[3] + a[6] - a[1] + 1);
    u.flip = !a[8];
    u.gain = y->a.f[0];
    dx[0] = upfirdn2d(g, dy, y->in[1], u);
}

static void vjp_reflect_pad2d(struct graph *g, tensor *y, tensor *dy, tensor **dx) {
    const int64_t *a = y->a.i;
    dx[0] = reflect_pad2d_adj(g, dy, (int)a[0], (int)a[1], (int)a[2], (int)a[3]);
}

static void vjp_reflect_pad2d_adj(struct graph *g, tensor *y, tensor *dy, tensor **dx) {
    const int64_t *a = y->a.i;
    dx[0] = reflect_pad2d(g, dy, (int)a[0], (int)a[1], (int)a[2], (int)a[3]);
}

static void vjp_affine_sample(struct graph *g, tensor *y, tensor *dy, tensor **dx) {
    dx[0] = affine_sample_adj(g, dy, y->in[1], y->in[0]->dim[1], y->in[0]->dim[2]);
}

static void vjp_affine_sample_adj(struct graph *g, tensor *y, tensor *dy, tensor **dx) {
    dx[0] = affine_sample(g, dy, y->in[1], y->in[0]->dim[1], y->in[0]->dim[2]);
}

static void vjp_mirror_sample(struct graph *g, tensor *y, tensor *dy, tensor **dx) {
    dx[0] = mirror_sample_adj(g, dy, y->in[1], y->in[2], y->in[0]->dim[1], y->in[0]->dim[2]);
}

static void vjp_mirror_sample_adj(struct graph *g, tensor *y, tensor *dy, tensor **dx) {
    dx[0] = mirror_sample(g, dy, y->in[1], y->in[2], y->in[0]->dim[1], y->in[0]->dim[2]);
}

/* ---- the table: vjp_NAME where ops.def says differentiable, else NULL ---- */
#define RULE_0(name) NULL
#define RULE_1(name) vjp_##name
#define OP(name, inputs, kind, differentiable) RULE_##differentiable(name),
static vjp *const rules[] = {
#include "common/engine/ops.def"
};
#undef OP

/* Operations without a rule through which a zero gradient is the truth (almost everywhere). */
static bool flat(enum op op) { return op == OP_step || op == OP_clamp_mask || op == OP_nonfinite || op == OP_fill; }

/* Adds a contribution to the gradient of x, in x's type and shape. The gradient of a cast has the type of what was cast: that of a
 * 16-bit copy of a weight is not rounded to 16 bit on its way to the weight. That of a broadcast keeps the type it comes in: it is
 * summed next, in float32 whatever the type, and a 16-bit sum reads half the bytes. */
static void accumulate(struct graph *g, tensor **grad, tensor *x, tensor *dx) {
    enum dtype type = x->op == OP_cast && dtype_is_float(x->in[0]->dtype) ? x->in[0]->dtype : x->dtype;
    if (x->op == OP_broadcast)
        type = grad[x->id] ? grad[x->id]->dtype : dx->dtype;
    dx = cast(g, dx, type);
    GRAPH_CHECK(same_shape(dx, x), "gradient %s of %s: the rule of an operation is wrong", shape_text(dx), shape_text(x));
    grad[x->id] = grad[x->id] ? add(g, grad[x->id], dx) : dx;
}

void graph_vjp(struct graph *g, tensor *y, tensor *dy, tensor **wrt, int n, tensor **grads, bool allow_unused) {
    GRAPH_CHECK(y->graph == g && dy->graph == g && same_shape(y, dy), "graph_vjp: gradient %s for %s", shape_text(dy),
                shape_text(y));
    int last = y->id; /* only nodes up to y matter; what is added below comes after */
    bool *depends = xcalloc((size_t)last + 1, sizeof *depends);
    tensor **grad = xcalloc((size_t)last + 1, sizeof *grad);
    for (int i = 0; i < n; i++) {
        GRAPH_CHECK(wrt[i] && wrt[i]->graph == g, "graph_vjp: wrt[%d] is %s", i, wrt[i] ? "of another graph" : "NULL");
        if (wrt[i]->id <= last)
            depends[wrt[i]->id] = true;
    }
    for (int id = 0; id <= last; id++) {
        tensor *t = g->node[id];
        for (int k = 0; k < t->nin && !depends[id] && !flat(t->op); k++)
            depends[id] = depends[t->in[k]->id];
    }
    if (depends[last])
        grad[last] = cast(g, dy, y->dtype);
    for (int id = last; id >= 0; id--) {
        tensor *t = g->node[id], *dx[MAX_IN] = {0};
        if (!grad[id])
            continue;
        bool inside = false; /* does any input lead to wrt? */
        for (int k = 0; k < t->nin; k++)
            inside |= depends[t->in[k]->id];
        if (!inside || flat(t->op))
            continue;
        GRAPH_CHECK(rules[t->op], "%s (node %d, %s) has no derivative; a parameter asked for lies behind it (take the gradient "
                    "of something else, or leave this operation out of the loss)", op_name(t->op), id, shape_text(t));
        rules[t->op](g, t, grad[id], dx);
        for (int k = 0; k < t->nin; k++)
            if (dx[k] && depends[t->in[k]->id])
                accumulate(g, grad, t->in[k], dx[k]);
    }
    for (int i = 0; i < n; i++) {
        tensor *w = wrt[i], *r = w->id <= last ? grad[w->id] : NULL;
        GRAPH_CHECK(r || allow_unused, "the loss does not depend on wrt[%d], %s: did you pass the parameter itself, and was it "
                    "used before the loss was built?", i, shape_text(w));
        if (!r)
            r = fill_like(g, 0, w);
        else if (!r->name && w->name && r->op != OP_input)
            graph_name(r, "grad of %s", w->name);
        grads[i] = r;
    }
    free(depends);
    free(grad);
}

void graph_grad(struct graph *g, tensor *loss, tensor **wrt, int n, tensor **grads) {
    GRAPH_CHECK(tensor_count(loss) == 1 && loss->dtype == DT_F32, "graph_grad: the loss %s must be one F32 number (sum_all, "
                "mean_all)", shape_text(loss));
    graph_vjp(g, loss, fill_like(g, 1, loss), wrt, n, grads, false);
}
