/* graph.c - building nodes: shapes and types are computed and checked here, nothing is calculated.
 *
 * Leaves out derivatives (grad.c) and everything about memory and order (plan.c). A training step of a 128x128 network has
 * 2,000 to 6,000 nodes and is built once, so a node is simply one allocation.
 */
#include "common/engine/graph.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/engine/engine.h"

/* ---- the tables of ops.def ---- */
static const struct {
    const char *name;
    int inputs;
    enum op_kind kind;
    bool differentiable;
} ops[] = {
#define OP(name, inputs, kind, differentiable) {#name, inputs, kind, differentiable},
#include "common/engine/ops.def"
#undef OP
};

const char *op_name(enum op op) { return ops[op].name; }
enum op_kind op_kind(enum op op) { return ops[op].kind; }
bool op_differentiable(enum op op) { return ops[op].differentiable; }

/* ---- messages ---- */
void graph_mistake(const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    fputs("graph: ", stderr);
    vfprintf(stderr, format, ap);
    fputc('\n', stderr);
    va_end(ap);
    abort();
}

const char *shape_text(const tensor *t) {
    static _Thread_local char text[8][128];
    static _Thread_local unsigned turn;
    char *s = text[turn++ % 8], *p = s, *end = s + sizeof text[0];
    p += snprintf(p, (size_t)(end - p), "%s[", t->name ? t->name : "");
    for (int i = 0; i < t->ndim && p < end; i++)
        p += snprintf(p, (size_t)(end - p), "%s%lld", i ? "," : "", (long long)t->dim[i]);
    if (p < end)
        snprintf(p, (size_t)(end - p), "] %s", dtype_name(t->dtype));
    return s;
}

bool same_shape(const tensor *x, const tensor *y) {
    return x->ndim == y->ndim && !memcmp(x->dim, y->dim, sizeof x->dim[0] * (size_t)x->ndim);
}

bool dtype_is_float(enum dtype d) { return d == DT_F32 || d == DT_F16 || d == DT_BF16; }

/* ---- graphs and nodes ---- */
struct graph *graph_create(const char *name) {
    struct graph *g = xcalloc(1, sizeof *g);
    g->name = xstrdup(name);
    return g;
}

void graph_free(struct graph *g) {
    if (!g)
        return;
    for (int i = 0; i < g->n; i++) {
        free((char *)g->node[i]->name);
        free(g->node[i]);
    }
    free(g->node);
    free(g->name);
    free(g);
}

void graph_name(tensor *t, const char *format, ...) {
    char text[256];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    free((char *)t->name);
    t->name = xstrdup(text);
}

int64_t tensor_count(const tensor *t) {
    int64_t n = 1;
    for (int i = 0; i < t->ndim; i++)
        n *= t->dim[i];
    return n;
}

/* A node of the given shape; the caller sets attributes. Constant when all inputs are (inputs themselves are marked later). */
static tensor *node(struct graph *g, enum op op, enum dtype dtype, int ndim, const int64_t *dim, int nin, tensor *const *in) {
    GRAPH_CHECK(ndim >= 1 && ndim <= MAX_DIM, "%s: %d dimensions; a tensor has 1 to %d", op_name(op), ndim, MAX_DIM);
    GRAPH_CHECK(ops[op].inputs < 0 ? nin >= 1 && nin <= MAX_IN : nin == ops[op].inputs, "%s: %d inputs", op_name(op), nin);
    tensor *t = xcalloc(1, sizeof *t);
    t->graph = g;
    t->op = op;
    t->dtype = dtype;
    t->ndim = ndim;
    double count = 1;
    for (int i = 0; i < ndim; i++) {
        GRAPH_CHECK(dim[i] >= 1, "%s: dimension %d is %lld; every dimension is at least 1", op_name(op), i, (long long)dim[i]);
        t->dim[i] = dim[i];
        count *= (double)dim[i];
    }
    GRAPH_CHECK(count < 1e15, "%s: a tensor of %.3g elements", op_name(op), count);
    t->nin = nin;
    t->constant = op != OP_input && op_kind(op) != EFFECT;
    for (int i = 0; i < nin; i++) {
        GRAPH_CHECK(in[i] && in[i]->graph == g, "%s: input %d is %s", op_name(op), i, in[i] ? "of another graph" : "NULL");
        GRAPH_CHECK(op_kind(in[i]->op) != EFFECT, "%s: input %d is an effect, which has no value", op_name(op), i);
        t->in[i] = in[i];
        t->constant &= in[i]->constant;
    }
    if (g->n == g->room)
        g->node = xrealloc(g->node, sizeof *g->node * (size_t)(g->room = g->room ? 2 * g->room : 256));
    t->id = g->n;
    g->node[g->n++] = t;
    return t;
}

static tensor *like(struct graph *g, enum op op, const tensor *shape, int nin, tensor *const *in) {
    return node(g, op, shape->dtype, shape->ndim, shape->dim, nin, in);
}

#define IN(...) (tensor *[]){__VA_ARGS__}

static void need_float(enum op op, const tensor *x) {
    GRAPH_CHECK(dtype_is_float(x->dtype), "%s: %s: arithmetic is on F32, F16 and BF16 (use cast)", op_name(op), shape_text(x));
}

static int read_dims(va_list ap, int ndim, int64_t *dim) {
    GRAPH_CHECK(ndim >= 1 && ndim <= MAX_DIM, "%d dimensions given; a tensor has 1 to %d", ndim, MAX_DIM);
    for (int i = 0; i < ndim; i++)
        dim[i] = va_arg(ap, int);
    return ndim;
}

/* ---- leaves ---- */
tensor *graph_input_shape(struct graph *g, struct buffer *b, int64_t offset, enum dtype dtype, const char *name, int ndim,
                          const int64_t *dim) {
    tensor *t = node(g, OP_input, dtype, ndim, dim, 0, NULL);
    if (name)
        graph_name(t, "%s", name);
    int64_t bytes = tensor_count(t) * dtype_size(dtype);
    GRAPH_CHECK(b, "input %s: no buffer", shape_text(t));
    GRAPH_CHECK(offset >= 0 && offset % dtype_size(dtype) == 0, "input %s: offset %lld is not a multiple of the element size",
                shape_text(t), (long long)offset);
    GRAPH_CHECK(offset + bytes <= buffer_bytes(b), "input %s: bytes %lld..%lld of buffer %s, which has %lld", shape_text(t),
                (long long)offset, (long long)(offset + bytes), b->name, (long long)buffer_bytes(b));
    t->buffer = b;
    t->offset = offset;
    return t;
}

tensor *graph_input(struct graph *g, struct buffer *b, int64_t offset, enum dtype dtype, const char *name, int ndim, ...) {
    int64_t dim[MAX_DIM];
    va_list ap;
    va_start(ap, ndim);
    read_dims(ap, ndim, dim);
    va_end(ap);
    return graph_input_shape(g, b, offset, dtype, name, ndim, dim);
}

void graph_mark_constant(tensor *input) {
    GRAPH_CHECK(input->op == OP_input, "graph_mark_constant: %s is not an input", shape_text(input));
    for (int i = input->id + 1; i < input->graph->n && !input->constant; i++)
        for (int k = 0; k < input->graph->node[i]->nin; k++)
            GRAPH_CHECK(input->graph->node[i]->in[k] != input, "graph_mark_constant: mark %s before anything uses it",
                        shape_text(input));
    input->constant = true;
}

tensor *fill(struct graph *g, float value, enum dtype dtype, int ndim, const int64_t *dim) {
    GRAPH_CHECK(dtype_is_float(dtype), "fill: type %s; F32, F16 and BF16 can be filled", dtype_name(dtype));
    tensor *t = node(g, OP_fill, dtype, ndim, dim, 0, NULL);
    t->a.f[0] = value;
    return t;
}

tensor *scalar(struct graph *g, float value) { return fill(g, value, DT_F32, 1, (int64_t[]){1}); }
tensor *fill_like(struct graph *g, float value, const tensor *t) { return fill(g, value, t->dtype, t->ndim, t->dim); }

/* ---- shape ---- */
tensor *reshape_shape(struct graph *g, tensor *x, int ndim, const int64_t *dim) {
    GRAPH_CHECK(ndim >= 1 && ndim <= MAX_DIM, "reshape of %s to %d dimensions", shape_text(x), ndim);
    int64_t d[MAX_DIM], known = 1, count = tensor_count(x);
    int open = -1;
    for (int i = 0; i < ndim; i++) {
        d[i] = dim[i];
        if (d[i] == -1) {
            GRAPH_CHECK(open < 0, "reshape of %s: two dimensions are -1", shape_text(x));
            open = i;
        } else
            known *= d[i];
    }
    if (open >= 0)
        d[open] = known ? count / known : 0;
    tensor probe = {.ndim = ndim, .dtype = x->dtype};
    memcpy(probe.dim, d, sizeof d[0] * (size_t)ndim);
    GRAPH_CHECK(tensor_count(&probe) == count, "reshape of %s to %s: the counts differ", shape_text(x), shape_text(&probe));
    if (same_shape(x, &probe))
        return x;
    return node(g, OP_reshape, x->dtype, ndim, d, 1, IN(x));
}

tensor *reshape(struct graph *g, tensor *x, int ndim, ...) {
    int64_t dim[MAX_DIM];
    va_list ap;
    va_start(ap, ndim);
    read_dims(ap, ndim, dim);
    va_end(ap);
    return reshape_shape(g, x, ndim, dim);
}

tensor *broadcast(struct graph *g, tensor *x, int ndim, const int64_t *dim) {
    tensor probe = {.ndim = ndim, .dtype = x->dtype};
    memcpy(probe.dim, dim, sizeof dim[0] * (size_t)ndim);
    GRAPH_CHECK(x->ndim == ndim, "broadcast of %s to %s: the number of dimensions differs (reshape first)", shape_text(x),
                shape_text(&probe));
    need_float(OP_broadcast, x);
    for (int i = 0; i < ndim; i++)
        GRAPH_CHECK(x->dim[i] == dim[i] || x->dim[i] == 1, "broadcast of %s to %s: dimension %d is neither equal nor 1",
                    shape_text(x), shape_text(&probe), i);
    return same_shape(x, &probe) ? x : node(g, OP_broadcast, x->dtype, ndim, dim, 1, IN(x));
}

tensor *broadcast_like(struct graph *g, tensor *x, const tensor *to) { return broadcast(g, x, to->ndim, to->dim); }

static void need_axis(const char *what, const tensor *x, int axis) {
    GRAPH_CHECK(axis >= 0 && axis < x->ndim, "%s: axis %d of %s", what, axis, shape_text(x));
}

tensor *slice(struct graph *g, tensor *x, int axis, int64_t start, int64_t length) {
    need_axis("slice", x, axis);
    GRAPH_CHECK(start >= 0 && length >= 1 && start + length <= x->dim[axis], "slice: %lld..%lld of axis %d of %s",
                (long long)start, (long long)(start + length), axis, shape_text(x));
    if (length == x->dim[axis])
        return x;
    int64_t d[MAX_DIM];
    memcpy(d, x->dim, sizeof d);
    d[axis] = length;
    tensor *t = node(g, OP_slice, x->dtype, x->ndim, d, 1, IN(x));
    t->a.i[0] = axis, t->a.i[1] = start, t->a.i[2] = length;
    return t;
}

tensor *pad_axis(struct graph *g, tensor *x, int axis, int64_t before, int64_t after) {
    need_axis("pad_axis", x, axis);
    int64_t cut0 = before < 0 ? -before : 0, cut1 = after < 0 ? -after : 0;
    GRAPH_CHECK(x->dim[axis] - cut0 - cut1 >= 1, "pad_axis: %lld before and %lld after leave nothing of axis %d of %s",
                (long long)before, (long long)after, axis, shape_text(x));
    x = slice(g, x, axis, cut0, x->dim[axis] - cut0 - cut1);
    before += cut0, after += cut1;
    if (!before && !after)
        return x;
    int64_t d[MAX_DIM];
    memcpy(d, x->dim, sizeof d);
    d[axis] += before + after;
    tensor *t = node(g, OP_pad, x->dtype, x->ndim, d, 1, IN(x));
    t->a.i[0] = axis, t->a.i[1] = before, t->a.i[2] = after;
    return t;
}

tensor *concat(struct graph *g, tensor **x, int n, int axis) {
    GRAPH_CHECK(n >= 1, "concat of nothing");
    need_axis("concat", x[0], axis);
    if (n == 1)
        return x[0];
    if (n > MAX_IN) { /* in two halves, each within the limit sooner or later */
        tensor *half[2] = {concat(g, x, n / 2, axis), concat(g, x + n / 2, n - n / 2, axis)};
        return concat(g, half, 2, axis);
    }
    int64_t d[MAX_DIM];
    memcpy(d, x[0]->dim, sizeof d);
    for (int k = 1; k < n; k++) {
        bool fits = x[k]->ndim == x[0]->ndim && x[k]->dtype == x[0]->dtype;
        for (int i = 0; fits && i < x[0]->ndim; i++)
            fits = i == axis || x[k]->dim[i] == x[0]->dim[i];
        GRAPH_CHECK(fits, "concat along axis %d: %s and %s", axis, shape_text(x[0]), shape_text(x[k]));
        d[axis] += x[k]->dim[axis];
    }
    tensor *t = node(g, OP_concat, x[0]->dtype, x[0]->ndim, d, n, x);
    t->a.i[0] = axis;
    return t;
}

tensor *permute(struct graph *g, tensor *x, const int *order) {
    int64_t d[MAX_DIM] = {0};
    unsigned seen = 0;
    bool identity = true;
    for (int i = 0; i < x->ndim; i++) {
        GRAPH_CHECK(order[i] >= 0 && order[i] < x->ndim && !(seen >> order[i] & 1), "permute of %s: order[%d] = %d",
                    shape_text(x), i, order[i]);
        seen |= 1u << order[i];
        d[i] = x->dim[order[i]];
        identity &= order[i] == i;
    }
    if (identity)
        return x;
    tensor *t = node(g, OP_permute, x->dtype, x->ndim, d, 1, IN(x));
    for (int i = 0; i < x->ndim; i++)
        t->a.i[i] = order[i];
    return t;
}

tensor *cast(struct graph *g, tensor *x, enum dtype dtype) {
    if (x->dtype == dtype)
        return x;
    GRAPH_CHECK((dtype_is_float(x->dtype) || x->dtype == DT_U8) && dtype_is_float(dtype), "cast of %s to %s", shape_text(x),
                dtype_name(dtype));
    tensor *t = node(g, OP_cast, dtype, x->ndim, x->dim, 1, IN(x));
    t->a.dtype = dtype;
    return t;
}

/* ---- pointwise ---- */
/* Gives the n operands one shape as NumPy would. */
static void join_shapes(struct graph *g, enum op op, tensor **x, int n) {
    tensor probe = {0};
    for (int k = 0; k < n; k++) {
        need_float(op, x[k]);
        if (x[k]->ndim > probe.ndim)
            probe.ndim = x[k]->ndim;
    }
    for (int i = 0; i < probe.ndim; i++)
        probe.dim[i] = 1;
    for (int k = 0; k < n; k++)
        for (int i = 0; i < x[k]->ndim; i++) {
            int64_t have = x[k]->dim[i], *want = &probe.dim[probe.ndim - x[k]->ndim + i];
            GRAPH_CHECK(have == 1 || *want == 1 || have == *want, "%s: shapes do not fit: %s and %s%s%s", op_name(op),
                        shape_text(x[0]), shape_text(x[1]), n > 2 ? " and " : "", n > 2 ? shape_text(x[2]) : "");
            if (have != 1)
                *want = have;
        }
    for (int k = 0; k < n; k++) {
        int64_t d[MAX_DIM];
        int lead = probe.ndim - x[k]->ndim;
        for (int i = 0; i < probe.ndim; i++)
            d[i] = i < lead ? 1 : x[k]->dim[i - lead];
        x[k] = broadcast(g, reshape_shape(g, x[k], probe.ndim, d), probe.ndim, probe.dim);
    }
}

static tensor *binary(struct graph *g, enum op op, tensor *x, tensor *y) {
    tensor *in[2] = {x, y};
    join_shapes(g, op, in, 2);
    return like(g, op, in[0], 2, in);
}

static tensor *unary(struct graph *g, enum op op, tensor *x, float f0, float f1) {
    need_float(op, x);
    tensor *t = like(g, op, x, 1, IN(x));
    t->a.f[0] = f0, t->a.f[1] = f1;
    return t;
}

tensor *add(struct graph *g, tensor *x, tensor *y) { return binary(g, OP_add, x, y); }
tensor *sub(struct graph *g, tensor *x, tensor *y) { return binary(g, OP_sub, x, y); }
tensor *mul(struct graph *g, tensor *x, tensor *y) { return binary(g, OP_mul, x, y); }

tensor *fma3(struct graph *g, tensor *x, tensor *y, tensor *z) {
    tensor *in[3] = {x, y, z};
    join_shapes(g, OP_fma, in, 3);
    return like(g, OP_fma, in[0], 3, in);
}

tensor *scale(struct graph *g, tensor *x, float factor, float offset) { return unary(g, OP_scale, x, factor, offset); }
tensor *exp1(struct graph *g, tensor *x) { return unary(g, OP_exp, x, 0, 0); }
tensor *log1(struct graph *g, tensor *x) { return unary(g, OP_log, x, 0, 0); }
tensor *sqrt1(struct graph *g, tensor *x) { return unary(g, OP_sqrt, x, 0, 0); }
tensor *rsqrt1(struct graph *g, tensor *x) { return unary(g, OP_rsqrt, x, 0, 0); }
tensor *recip(struct graph *g, tensor *x) { return unary(g, OP_recip, x, 0, 0); }
tensor *square(struct graph *g, tensor *x) { return unary(g, OP_square, x, 0, 0); }
tensor *softplus(struct graph *g, tensor *x) { return unary(g, OP_softplus, x, 0, 0); }
tensor *sigmoid(struct graph *g, tensor *x) { return unary(g, OP_sigmoid, x, 0, 0); }
tensor *tanh1(struct graph *g, tensor *x) { return unary(g, OP_tanh, x, 0, 0); }
tensor *lrelu(struct graph *g, tensor *x, float slope) { return unary(g, OP_lrelu, x, slope, 0); }
tensor *step(struct graph *g, tensor *x, float below, float otherwise) { return unary(g, OP_step, x, below, otherwise); }

tensor *clamp(struct graph *g, tensor *x, float low, float high) {
    GRAPH_CHECK(low <= high, "clamp of %s to %g..%g", shape_text(x), (double)low, (double)high);
    return unary(g, OP_clamp, x, low, high);
}

tensor *clamp_mask(struct graph *g, tensor *x, float low, float high) { return unary(g, OP_clamp_mask, x, low, high); }
tensor *sanitize(struct graph *g, tensor *x, float limit) { return unary(g, OP_sanitize, x, limit, 0); }
tensor *nonfinite(struct graph *g, tensor *x) { return unary(g, OP_nonfinite, x, 0, 0); }

/* ---- reductions ---- */
tensor *sum_axes(struct graph *g, tensor *x, unsigned mask) {
    need_float(OP_sum, x);
    GRAPH_CHECK(mask < 1u << x->ndim, "sum_axes: mask %#x of %s", mask, shape_text(x));
    int64_t d[MAX_DIM];
    unsigned real = 0; /* dimensions with something to sum */
    for (int i = 0; i < x->ndim; i++) {
        d[i] = mask >> i & 1 ? 1 : x->dim[i];
        if (d[i] != x->dim[i])
            real |= 1u << i;
    }
    if (!real)
        return cast(g, x, DT_F32);
    tensor *t = node(g, OP_sum, DT_F32, x->ndim, d, 1, IN(x));
    t->a.i[0] = real;
    return t;
}

tensor *sum_all(struct graph *g, tensor *x) { return reshape(g, sum_axes(g, x, (1u << x->ndim) - 1), 1, 1); }

tensor *mean_axes(struct graph *g, tensor *x, unsigned mask) {
    tensor *s = sum_axes(g, x, mask);
    return scale(g, s, (float)((double)tensor_count(s) / (double)tensor_count(x)), 0);
}

tensor *mean_all(struct graph *g, tensor *x) { return scale(g, sum_all(g, x), (float)(1.0 / (double)tensor_count(x)), 0); }

/* ---- linear algebra ---- */
tensor *matmul(struct graph *g, tensor *a, bool ta, tensor *b, bool tb) {
    need_float(OP_matmul, a);
    GRAPH_CHECK(a->ndim == b->ndim && (a->ndim == 2 || a->ndim == 3) && a->dtype == b->dtype,
                "matmul of %s and %s: both need two or three dimensions and one type", shape_text(a), shape_text(b));
    int r = a->ndim - 2;
    int64_t m = a->dim[r + ta], k = a->dim[r + !ta], k2 = b->dim[r + tb], n = b->dim[r + !tb];
    int64_t batch = r && a->dim[0] > b->dim[0] ? a->dim[0] : b->dim[0];
    GRAPH_CHECK(k == k2 && (!r || ((a->dim[0] == batch || a->dim[0] == 1) && (b->dim[0] == batch || b->dim[0] == 1))),
                "matmul of %s%s and %s%s: the inner sizes are %lld and %lld", shape_text(a), ta ? "^T" : "", shape_text(b),
                tb ? "^T" : "", (long long)k, (long long)k2);
    tensor *t = r ? node(g, OP_matmul, a->dtype, 3, (int64_t[]){batch, m, n}, 2, IN(a, b))
                  : node(g, OP_matmul, a->dtype, 2, (int64_t[]){m, n}, 2, IN(a, b));
    t->a.i[0] = ta, t->a.i[1] = tb;
    return t;
}

static int64_t conv_out(int64_t size, int pad, int64_t kernel, int stride) { return (size + 2 * pad - kernel) / stride + 1; }

static void check_conv(enum op op, const tensor *x, const tensor *y, int stride, int pad_h, int pad_w) {
    need_float(op, x);
    GRAPH_CHECK(x->ndim == 4 && y->ndim == 4 && x->dtype == y->dtype, "%s of %s and %s: both need four dimensions and one type",
                op_name(op), shape_text(x), shape_text(y));
    GRAPH_CHECK(stride >= 1 && pad_h >= 0 && pad_w >= 0, "%s: stride %d, padding %d,%d", op_name(op), stride, pad_h, pad_w);
}

static tensor *conv_attr(tensor *t, int stride, int pad_h, int pad_w, int64_t i3, int64_t i4) {
    t->a.i[0] = stride, t->a.i[1] = pad_h, t->a.i[2] = pad_w, t->a.i[3] = i3, t->a.i[4] = i4;
    return t;
}

tensor *conv2d(struct graph *g, tensor *x, tensor *w, int stride, int pad_h, int pad_w) {
    check_conv(OP_conv2d, x, w, stride, pad_h, pad_w);
    GRAPH_CHECK(x->dim[3] == w->dim[3] && x->dim[1] + 2 * pad_h >= w->dim[1] && x->dim[2] + 2 * pad_w >= w->dim[2],
                "conv2d of %s with %s, padding %d,%d: channels must agree and the kernel must fit", shape_text(x), shape_text(w),
                pad_h, pad_w);
    int64_t d[4] = {x->dim[0], conv_out(x->dim[1], pad_h, w->dim[1], stride), conv_out(x->dim[2], pad_w, w->dim[2], stride),
                    w->dim[0]};
    return conv_attr(node(g, OP_conv2d, x->dtype, 4, d, 2, IN(x, w)), stride, pad_h, pad_w, 0, 0);
}

tensor *conv2d_input_grad(struct graph *g, tensor *dy, tensor *w, int stride, int pad_h, int pad_w, int64_t H, int64_t W) {
    check_conv(OP_conv2d_input_grad, dy, w, stride, pad_h, pad_w);
    GRAPH_CHECK(dy->dim[3] == w->dim[0] && conv_out(H, pad_h, w->dim[1], stride) == dy->dim[1] &&
                    conv_out(W, pad_w, w->dim[2], stride) == dy->dim[2],
                "conv2d_input_grad of %s with %s to %lldx%lld, stride %d, padding %d,%d: conv2d of that size gives another shape",
                shape_text(dy), shape_text(w), (long long)H, (long long)W, stride, pad_h, pad_w);
    int64_t d[4] = {dy->dim[0], H, W, w->dim[3]};
    return conv_attr(node(g, OP_conv2d_input_grad, dy->dtype, 4, d, 2, IN(dy, w)), stride, pad_h, pad_w, H, W);
}

tensor *conv2d_weight_grad(struct graph *g, tensor *x, tensor *dy, int stride, int pad_h, int pad_w, int64_t R, int64_t S) {
    check_conv(OP_conv2d_weight_grad, x, dy, stride, pad_h, pad_w);
    GRAPH_CHECK(x->dim[0] == dy->dim[0] && conv_out(x->dim[1], pad_h, R, stride) == dy->dim[1] &&
                    conv_out(x->dim[2], pad_w, S, stride) == dy->dim[2],
                "conv2d_weight_grad of %s and %s for a %lldx%lld kernel, stride %d, padding %d,%d", shape_text(x),
                shape_text(dy), (long long)R, (long long)S, stride, pad_h, pad_w);
    int64_t d[4] = {dy->dim[3], R, S, x->dim[3]};
    return conv_attr(node(g, OP_conv2d_weight_grad, DT_F32, 4, d, 2, IN(x, dy)), stride, pad_h, pad_w, R, S);
}

/* ---- pictures ---- */
static void need_picture(enum op op, const tensor *x) {
    need_float(op, x);
    GRAPH_CHECK(x->ndim == 4, "%s of %s: pictures are [N,H,W,C]", op_name(op), shape_text(x));
}

tensor *upfirdn2d(struct graph *g, tensor *x, tensor *f, struct upfirdn u) {
    need_picture(OP_upfirdn2d, x);
    GRAPH_CHECK(f->dtype == DT_F32 && (f->ndim == 2 || (f->ndim == 3 && f->dim[0] == x->dim[0])),
                "upfirdn2d of %s: filter %s is not F32 [fh,fw] or [N,fh,fw]", shape_text(x), shape_text(f));
    GRAPH_CHECK(u.up_y >= 1 && u.up_x >= 1 && u.down_y >= 1 && u.down_x >= 1, "upfirdn2d: factors up %d,%d down %d,%d", u.up_y,
                u.up_x, u.down_y, u.down_x);
    int64_t fh = f->dim[f->ndim - 2], fw = f->dim[f->ndim - 1];
    int64_t h = x->dim[1] * u.up_y + u.pad_y0 + u.pad_y1, w = x->dim[2] * u.up_x + u.pad_x0 + u.pad_x1;
    GRAPH_CHECK(h >= fh && w >= fw, "upfirdn2d of %s: padded size %lldx%lld is smaller than the filter %s", shape_text(x),
                (long long)h, (long long)w, shape_text(f));
    int64_t d[4] = {x->dim[0], (h - fh) / u.down_y + 1, (w - fw) / u.down_x + 1, x->dim[3]};
    tensor *t = node(g, OP_upfirdn2d, x->dtype, 4, d, 2, IN(x, f));
    int values[9] = {u.up_y, u.up_x, u.down_y, u.down_x, u.pad_y0, u.pad_y1, u.pad_x0, u.pad_x1, u.flip};
    for (int i = 0; i < 9; i++)
        t->a.i[i] = values[i];
    t->a.f[0] = u.gain;
    return t;
}

static tensor *reflect(struct graph *g, enum op op, tensor *x, int64_t H, int64_t W, const int pads[4]) {
    need_picture(op, x);
    /* H, W: the unpadded size */
    GRAPH_CHECK(pads[0] >= 0 && pads[1] >= 0 && pads[2] >= 0 && pads[3] >= 0 && pads[0] < H && pads[1] < H && pads[2] < W &&
                    pads[3] < W,
                "%s of %s: pads %d,%d,%d,%d; each must be smaller than the unpadded picture", op_name(op), shape_text(x), pads[0],
                pads[1], pads[2], pads[3]);
    bool forward = op == OP_reflect_pad2d;
    int64_t d[4] = {x->dim[0], forward ? H + pads[0] + pads[1] : H, forward ? W + pads[2] + pads[3] : W, x->dim[3]};
    tensor *t = node(g, op, x->dtype, 4, d, 1, IN(x));
    for (int i = 0; i < 4; i++)
        t->a.i[i] = pads[i];
    return t;
}

tensor *reflect_pad2d(struct graph *g, tensor *x, int y0, int y1, int x0, int x1) {
    return reflect(g, OP_reflect_pad2d, x, x->dim[1], x->dim[2], (int[]){y0, y1, x0, x1});
}

tensor *reflect_pad2d_adj(struct graph *g, tensor *dy, int y0, int y1, int x0, int x1) {
    return reflect(g, OP_reflect_pad2d_adj, dy, dy->dim[1] - y0 - y1, dy->dim[2] - x0 - x1, (int[]){y0, y1, x0, x1});
}

static tensor *affine(struct graph *g, enum op op, int nin, tensor *const *in, int64_t h, int64_t w) {
    tensor *x = in[0], *theta = in[1];
    need_picture(op, x);
    GRAPH_CHECK(theta->dtype == DT_F32 && theta->ndim == 3 && theta->dim[0] == x->dim[0] && theta->dim[1] == 2 &&
                    theta->dim[2] == 3,
                "%s of %s: theta %s is not F32 [N,2,3]", op_name(op), shape_text(x), shape_text(theta));
    int64_t d[4] = {x->dim[0], h, w, x->dim[3]};
    tensor *t = node(g, op, x->dtype, 4, d, nin, in);
    t->a.i[0] = h, t->a.i[1] = w;
    return t;
}

tensor *affine_sample(struct graph *g, tensor *x, tensor *theta, int64_t P, int64_t Q) {
    return affine(g, OP_affine_sample, 2, IN(x, theta), P, Q);
}

tensor *affine_sample_adj(struct graph *g, tensor *dy, tensor *theta, int64_t H, int64_t W) {
    return affine(g, OP_affine_sample_adj, 2, IN(dy, theta), H, W);
}

static tensor *mirror(struct graph *g, enum op op, tensor *x, tensor *theta, tensor *f, int64_t h, int64_t w) {
    GRAPH_CHECK(f->dtype == DT_F32 && f->ndim == 1 && f->dim[0] == 12, "%s of %s: filter %s is not F32 [12]", op_name(op), shape_text(x),
                shape_text(f));
    return affine(g, op, 3, IN(x, theta, f), h, w);
}

tensor *mirror_sample(struct graph *g, tensor *x, tensor *theta, tensor *f, int64_t P, int64_t Q) {
    return mirror(g, OP_mirror_sample, x, theta, f, P, Q);
}

tensor *mirror_sample_adj(struct graph *g, tensor *dy, tensor *theta, tensor *f, int64_t H, int64_t W) {
    return mirror(g, OP_mirror_sample_adj, dy, theta, f, H, W);
}

static tensor *pool(struct graph *g, enum op op, tensor *x, int size, int stride, int pad) {
    need_picture(op, x);
    GRAPH_CHECK(size >= 1 && stride >= 1 && pad >= 0 && pad < size && x->dim[1] + 2 * pad >= size && x->dim[2] + 2 * pad >= size,
                "%s of %s: size %d, stride %d, padding %d", op_name(op), shape_text(x), size, stride, pad);
    int64_t d[4] = {x->dim[0], conv_out(x->dim[1], pad, size, stride), conv_out(x->dim[2], pad, size, stride), x->dim[3]};
    tensor *t = node(g, op, x->dtype, 4, d, 1, IN(x));
    t->a.i[0] = size, t->a.i[1] = stride, t->a.i[2] = pad;
    return t;
}

tensor *maxpool2d(struct graph *g, tensor *x, int size, int stride, int pad) { return pool(g, OP_maxpool2d, x, size, stride, pad); }
tensor *avgpool2d(struct graph *g, tensor *x, int size, int stride, int pad) { return pool(g, OP_avgpool2d, x, size, stride, pad); }

tensor *to_u8(struct graph *g, tensor *x) {
    GRAPH_CHECK(dtype_is_float(x->dtype), "to_u8 of %s", shape_text(x));
    return node(g, OP_to_u8, DT_U8, x->ndim, x->dim, 1, IN(x));
}

tensor *take(struct graph *g, tensor *table, tensor *index) {
    GRAPH_CHECK(table->ndim == 4 && table->dtype == DT_U8 && index->ndim == 1 && index->dtype == DT_I64,
                "take from %s by %s: a table is U8 [N,H,W,C], an index I64 [B]", shape_text(table), shape_text(index));
    int64_t d[4] = {index->dim[0], table->dim[1], table->dim[2], table->dim[3]};
    return node(g, OP_take, DT_U8, 4, d, 2, IN(table, index));
}

static tensor *draw(struct graph *g, enum op op, tensor *key, uint32_t use, int ndim, const int64_t *dim) {
    GRAPH_CHECK(key->dtype == DT_U64 && (tensor_count(key) == 2 || (key->ndim == 2 && key->dim[0] == dim[0] && key->dim[1] == 2)),
                "%s: key %s is neither U64 [2] nor U64 [%lld,2]", op_name(op), shape_text(key), (long long)dim[0]);
    tensor *t = node(g, op, DT_F32, ndim, dim, 1, IN(key));
    t->a.i[0] = use;
    return t;
}

tensor *random_normal(struct graph *g, tensor *key, uint32_t use, int ndim, const int64_t *dim) {
    return draw(g, OP_random_normal, key, use, ndim, dim);
}

tensor *random_uniform(struct graph *g, tensor *key, uint32_t use, int ndim, const int64_t *dim) {
    return draw(g, OP_random_uniform, key, use, ndim, dim);
}

/* ---- effects ---- */
/* The window an effect writes: an input, or a reshape of one. */
static void need_window(enum op op, const tensor *view) {
    const tensor *t = view;
    while (t->op == OP_reshape)
        t = t->in[0];
    GRAPH_CHECK(t->op == OP_input, "%s: %s is not a window on a buffer (graph_input)", op_name(op), shape_text(view));
    GRAPH_CHECK(!t->constant, "%s: %s is marked constant", op_name(op), shape_text(view));
}

void assign(struct graph *g, tensor *buffer_view, tensor *value) {
    need_window(OP_assign, buffer_view);
    GRAPH_CHECK(tensor_count(buffer_view) == tensor_count(value) && buffer_view->dtype == value->dtype,
                "assign of %s to %s: counts and types must agree", shape_text(value), shape_text(buffer_view));
    like(g, OP_assign, buffer_view, 2, IN(buffer_view, value));
}

void adam(struct graph *g, tensor *p, tensor *grad, tensor *m, tensor *v, tensor *hyper) {
    need_window(OP_adam, p);
    need_window(OP_adam, m);
    need_window(OP_adam, v);
    tensor *all[5] = {p, grad, m, v, hyper};
    for (int i = 0; i < 5; i++)
        GRAPH_CHECK(all[i]->dtype == DT_F32 && tensor_count(all[i]) == (i < 4 ? tensor_count(p) : 6),
                    "adam: operand %d is %s; parameter %s, gradient and moments have one size, hyper is [6], all F32", i,
                    shape_text(all[i]), shape_text(p));
    like(g, OP_adam, p, 5, all);
}

void lerp(struct graph *g, tensor *buffer_view, tensor *to, tensor *t) {
    need_window(OP_lerp, buffer_view);
    GRAPH_CHECK(buffer_view->dtype == DT_F32 && to->dtype == DT_F32 && t->dtype == DT_F32 &&
                    tensor_count(buffer_view) == tensor_count(to) && tensor_count(t) == 1,
                "lerp of %s towards %s by %s: two F32 of one size and one number", shape_text(buffer_view), shape_text(to),
                shape_text(t));
    like(g, OP_lerp, buffer_view, 3, IN(buffer_view, to, t));
}
