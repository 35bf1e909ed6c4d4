/* test_grad.c - first and second derivatives of every differentiable operation against central differences.
 *
 * To add a test: one struct case with the shapes of the inputs, their range, where the operation has kinks, and a function that
 * builds y. The loss is sum(r y + q y^2) with fixed random r and q, so that also linear operations have a second derivative; the
 * second derivative is that of sum(p_i dloss/dx_i). Both are compared along a random direction with the five-point central
 * difference of f(x + t d), where f is summed in float64 on the host from float32 tensors read back. Inputs nearer than 3h to a
 * kink are moved away. Words around every output must stay untouched.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/engine/device.h"
#include "common/engine/engine.h"
#include "common/engine/graph.h"
#include "common/rng/philox.h"

#define INPUTS 3
#define GUARD 64 /* floats before and after each output */

struct shape {
    int ndim;
    int64_t dim[MAX_DIM];
};

struct test_case {
    const char *name;
    tensor *(*build)(struct graph *g, tensor **x);
    struct shape in[INPUTS];
    float low, high;   /* of inputs; 0,0 = -1..1 */
    float kink[3];     /* values of x[0] where the derivative jumps */
    int kinks;
    float tolerance;   /* relative to the larger of the two numbers, or to a tenth of the sum without signs; 0 = 1e-3 */
    float h;           /* 0 = 1e-2 */
    int constants;     /* the last n inputs get no gradient (filters, positions) */
};

#define S(...) {sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), {__VA_ARGS__}}

/* ---- the operations ---- */
#define B(name, expression) static tensor *b_##name(struct graph *g, tensor **x) { return expression; }
B(add, add(g, x[0], x[1]))
B(sub, sub(g, x[0], x[1]))
B(mul, mul(g, x[0], x[1]))
B(fma, fma3(g, x[0], x[1], x[2]))
B(scale, scale(g, x[0], -1.7f, 0.3f))
B(exp, exp1(g, x[0]))
B(log, log1(g, x[0]))
B(sqrt, sqrt1(g, x[0]))
B(rsqrt, rsqrt1(g, x[0]))
B(recip, recip(g, x[0]))
B(square, square(g, x[0]))
B(softplus, softplus(g, x[0]))
B(sigmoid, sigmoid(g, x[0]))
B(tanh, tanh1(g, x[0]))
B(lrelu, lrelu(g, x[0], 0.2f))
B(relu, lrelu(g, x[0], 0))
B(clamp, clamp(g, x[0], -0.4f, 0.5f))
B(masks, mul(g, x[0], add(g, step(g, x[0], 0.5f, 2), clamp_mask(g, x[0], -0.4f, 0.5f))))
B(cast, cast(g, mul(g, cast(g, x[0], DT_BF16), cast(g, x[1], DT_BF16)), DT_F32))
B(broadcast, broadcast(g, x[0], 4, (int64_t[]){2, 3, 4, 5}))
B(sum_0, sum_axes(g, x[0], 1))
B(sum_12, sum_axes(g, x[0], 6))
B(sum_02, sum_axes(g, x[0], 5))
B(sum_3, sum_axes(g, x[0], 8))
B(sum_all, sum_all(g, x[0]))
B(mean, mean_axes(g, x[0], 14))
B(reshape, mul(g, reshape(g, x[0], 2, 6, -1), x[1]))
B(slice, slice(g, x[0], 1, 1, 2))
B(pad, pad_axis(g, x[0], 2, 1, 2))
B(crop, pad_axis(g, x[0], 1, -1, 2))
B(concat, concat(g, x, 3, 1))
B(permute, permute(g, x[0], (int[]){2, 0, 3, 1}))
B(matmul, matmul(g, x[0], false, x[1], false))
B(matmul_ta, matmul(g, x[0], true, x[1], false))
B(matmul_tb, matmul(g, x[0], false, x[1], true))
B(matmul_tab, matmul(g, x[0], true, x[1], true))
B(conv, conv2d(g, x[0], x[1], 1, 1, 1))
B(conv_stride, conv2d(g, x[0], x[1], 2, 0, 1))
B(conv_1x1, conv2d(g, x[0], x[1], 1, 0, 0))
B(conv_dx, conv2d_input_grad(g, x[0], x[1], 1, 1, 1, 5, 4))
B(conv_up, conv2d_input_grad(g, x[0], x[1], 2, 0, 0, 8, 7))
B(conv_dw, conv2d_weight_grad(g, x[0], x[1], 1, 1, 1, 3, 3))
B(conv_dw_stride, conv2d_weight_grad(g, x[0], x[1], 2, 1, 0, 3, 2))
B(upfirdn, upfirdn2d(g, x[0], x[1], (struct upfirdn){1, 1, 1, 1, 2, 1, 1, 2, false, 1.5f}))
B(upfirdn_up, upfirdn2d(g, x[0], x[1], (struct upfirdn){2, 2, 1, 1, 2, 1, 2, 1, false, 4}))
B(upfirdn_down, upfirdn2d(g, x[0], x[1], (struct upfirdn){1, 1, 2, 2, 1, 1, 1, 1, true, 1}))
B(upfirdn_odd, upfirdn2d(g, x[0], x[1], (struct upfirdn){2, 3, 3, 2, -1, 4, 3, -2, true, 1}))
B(upfirdn_each, upfirdn2d(g, x[0], x[1], (struct upfirdn){1, 1, 1, 1, 1, 1, 0, 2, true, 1}))
B(reflect, reflect_pad2d(g, x[0], 2, 1, 3, 0))
B(reflect_adj, reflect_pad2d_adj(g, x[0], 2, 1, 1, 0))
B(affine, affine_sample(g, x[0], x[1], 5, 6))
B(affine_adj, affine_sample_adj(g, x[0], x[1], 4, 3))
B(mirror, mirror_sample(g, x[0], x[1], x[2], 9, 10))
B(mirror_adj, mirror_sample_adj(g, x[0], x[1], x[2], 3, 4))
/* the pointwise layer of a synthesis block: x * demodulation + noise + bias, leaky ReLU, gain, clamp */
B(layer, clamp(g, scale(g, lrelu(g, add(g, mul(g, x[0], x[1]), x[2]), 0.2f), 1.414f, 0), -2.5f, 2.5f))

static const struct test_case cases[] = {
    {"add", b_add, {S(3, 4), S(4)}},
    {"add broadcast both", b_add, {S(3, 1, 2), S(5, 1)}},
    {"sub", b_sub, {S(2, 3, 4), S(3, 1)}},
    {"mul", b_mul, {S(2, 3, 2, 5), S(2, 1, 1, 5)}},
    {"fma", b_fma, {S(2, 3), S(3), S(2, 1)}},
    {"scale", b_scale, {S(7)}},
    {"exp", b_exp, {S(11)}},
    {"log", b_log, {S(11)}, 0.5f, 3, .h = 3e-3f},
    {"sqrt", b_sqrt, {S(11)}, 0.5f, 3, .h = 3e-3f},
    {"rsqrt", b_rsqrt, {S(11)}, 0.5f, 3, .h = 3e-3f},
    {"recip", b_recip, {S(11)}, 0.5f, 3, .h = 3e-3f},
    {"square", b_square, {S(11)}},
    {"softplus", b_softplus, {S(11)}, -4, 4},
    {"sigmoid", b_sigmoid, {S(11)}, -4, 4},
    {"tanh", b_tanh, {S(11)}, -2, 2},
    {"lrelu", b_lrelu, {S(40)}, .kink = {0}, .kinks = 1},
    {"relu", b_relu, {S(40)}, .kink = {0}, .kinks = 1},
    {"clamp", b_clamp, {S(40)}, .kink = {-0.4f, 0.5f}, .kinks = 2},
    {"step, clamp_mask", b_masks, {S(40)}, .kink = {-0.4f, 0, 0.5f}, .kinks = 3},
    {"cast", b_cast, {S(40), S(40)}, .tolerance = 0.1f, .h = 0.2f},
    {"broadcast", b_broadcast, {S(2, 1, 4, 1)}},
    {"sum 0", b_sum_0, {S(3, 4, 5)}},
    {"sum 12", b_sum_12, {S(3, 4, 5)}},
    {"sum 02", b_sum_02, {S(3, 4, 5)}},
    {"sum 3", b_sum_3, {S(2, 3, 2, 7)}},
    {"sum all", b_sum_all, {S(3, 4)}},
    {"mean", b_mean, {S(2, 3, 4, 2)}},
    {"reshape", b_reshape, {S(2, 3, 4), S(6, 4)}},
    {"slice", b_slice, {S(2, 4, 3)}},
    {"pad", b_pad, {S(2, 2, 3)}},
    {"crop and pad", b_crop, {S(2, 4, 3)}},
    {"concat", b_concat, {S(2, 1, 3), S(2, 2, 3), S(2, 4, 3)}},
    {"permute", b_permute, {S(2, 3, 4, 5)}},
    {"matmul", b_matmul, {S(3, 4), S(4, 5)}},
    {"matmul ta", b_matmul_ta, {S(4, 3), S(4, 5)}},
    {"matmul tb", b_matmul_tb, {S(3, 4), S(5, 4)}},
    {"matmul ta tb", b_matmul_tab, {S(4, 3), S(5, 4)}},
    {"matmul batched", b_matmul, {S(2, 3, 4), S(2, 4, 5)}},
    {"matmul shared a", b_matmul_ta, {S(1, 4, 3), S(3, 4, 5)}},
    {"matmul shared b", b_matmul_tb, {S(3, 3, 4), S(1, 5, 4)}},
    {"conv2d 3x3", b_conv, {S(2, 5, 4, 3), S(2, 3, 3, 3)}},
    {"conv2d stride 2", b_conv_stride, {S(2, 6, 5, 3), S(2, 3, 3, 3)}},
    {"conv2d 1x1", b_conv_1x1, {S(2, 3, 3, 4), S(3, 1, 1, 4)}},
    {"conv2d_input_grad", b_conv_dx, {S(2, 5, 4, 2), S(2, 3, 3, 3)}},
    {"conv2d_input_grad stride 2", b_conv_up, {S(2, 3, 3, 2), S(2, 3, 3, 3)}},
    {"conv2d_weight_grad", b_conv_dw, {S(2, 4, 3, 2), S(2, 4, 3, 3)}},
    {"conv2d_weight_grad stride 2", b_conv_dw_stride, {S(2, 5, 4, 2), S(2, 3, 2, 3)}},
    {"upfirdn2d", b_upfirdn, {S(2, 4, 3, 2), S(4, 3)}, .constants = 1},
    {"upfirdn2d up", b_upfirdn_up, {S(1, 4, 3, 2), S(4, 4)}, .constants = 1},
    {"upfirdn2d down", b_upfirdn_down, {S(1, 6, 5, 2), S(4, 3)}, .constants = 1},
    {"upfirdn2d odd", b_upfirdn_odd, {S(1, 5, 4, 2), S(3, 4)}, .constants = 1},
    {"upfirdn2d a filter each", b_upfirdn_each, {S(3, 4, 3, 2), S(3, 3, 2)}, .constants = 1},
    {"reflect_pad2d", b_reflect, {S(2, 3, 4, 2)}},
    {"reflect_pad2d_adj", b_reflect_adj, {S(2, 6, 4, 2)}},
    {"affine_sample", b_affine, {S(2, 4, 3, 2), S(2, 2, 3)}, .constants = 1},
    {"affine_sample_adj", b_affine_adj, {S(2, 5, 6, 2), S(2, 2, 3)}, .constants = 1},
    {"mirror_sample", b_mirror, {S(2, 4, 3, 3), S(2, 2, 3), S(12)}, .constants = 2},
    {"mirror_sample_adj", b_mirror_adj, {S(2, 5, 6, 2), S(2, 2, 3), S(12)}, .constants = 2},
    {"layer", b_layer, {S(2, 3, 2, 4), S(2, 1, 1, 4), S(4)}, .tolerance = 5e-3f, .h = 2e-3f},
};
#define CASES (sizeof cases / sizeof *cases)

/* ---- the harness ---- */
static struct device *device;
static bool covered[OP_COUNT];

struct window { /* a guarded piece of the output buffer */
    int64_t offset, n;
};

struct harness {
    const struct test_case *c;
    struct buffer *in, *out;
    float x[1 << 12], d[1 << 12]; /* all inputs behind one another, and the direction */
    int64_t at[INPUTS], n[INPUTS], total, out_floats;
    int inputs, wrt;
    struct window y, g1[INPUTS], g2[INPUTS];
    float *result; /* the output buffer read back */
    struct program *program;
    int64_t rows_of_y; /* random numbers are keyed by row */
};

static float draw(int64_t i, uint32_t use) {
    uint32_t bits[4];
    philox4x32(2024, (uint64_t)i, use, 0, bits);
    return 2 * philox_unit(bits[0]) - 1;
}

static int64_t shape_count(const struct shape *s) {
    int64_t n = 1;
    for (int i = 0; i < s->ndim; i++)
        n *= s->dim[i];
    return n;
}

static struct window window(struct harness *h, int64_t n) {
    struct window w = {(h->out_floats + GUARD + 63) / 64 * 64, n};
    h->out_floats = w.offset + n + GUARD;
    return w;
}

static void store(struct harness *h, struct graph *g, struct window w, tensor *t) {
    assign(g, graph_input_shape(g, h->out, w.offset * 4, DT_F32, NULL, t->ndim, t->dim), t);
}

/* A fixed random tensor of t's shape, values that differ from use to use. */
static tensor *random_like(struct graph *g, struct buffer *key, uint32_t use, const tensor *t) {
    return scale(g, random_uniform(g, graph_input(g, key, 0, DT_U64, "key", 1, 2), use, t->ndim, t->dim), 2, -1);
}

static void prepare(struct harness *h, struct buffer *key) {
    const struct test_case *c = h->c;
    struct error e = {""};
    struct graph *g = graph_create(c->name);
    tensor *x[INPUTS], *g1[INPUTS], *g2[INPUTS];
    for (int i = 0; i < h->inputs; i++) {
        char name[2] = {(char)('a' + i), 0};
        x[i] = graph_input_shape(g, h->in, h->at[i] * 4, DT_F32, name, c->in[i].ndim, c->in[i].dim);
    }
    int first = g->n;
    tensor *y = c->build(g, x);
    for (int i = first; i < g->n; i++)
        covered[g->node[i]->op] = true;
    tensor *r = random_like(g, key, 1, y), *q = random_like(g, key, 2, y);
    tensor *loss = sum_all(g, add(g, mul(g, r, y), mul(g, q, square(g, y))));
    graph_grad(g, loss, x, h->wrt, g1);
    tensor *mixed = NULL;
    for (int i = 0; i < h->wrt; i++) {
        assert_true(same_shape(g1[i], x[i]));
        tensor *s = sum_all(g, mul(g, random_like(g, key, 3 + (uint32_t)i, x[i]), g1[i]));
        mixed = mixed ? add(g, mixed, s) : s;
    }
    graph_grad(g, mixed, x, h->wrt, g2);
    h->y = window(h, tensor_count(y));
    h->rows_of_y = y->dim[0];
    for (int i = 0; i < h->wrt; i++) {
        h->g1[i] = window(h, h->n[i]);
        h->g2[i] = window(h, h->n[i]);
    }
    h->out = buffer_create(device, h->out_floats * 4, "out");
    h->result = malloc((size_t)h->out_floats * 4);
    store(h, g, h->y, y);
    for (int i = 0; i < h->wrt; i++) {
        store(h, g, h->g1[i], g1[i]);
        store(h, g, h->g2[i], g2[i]);
    }
    if (program_create(&h->program, g, device, &e) != ST_OK)
        fail_msg("%s: %s", c->name, e.text);
    graph_free(g);
}

/* Runs at x + t d and leaves the outputs in h->result. */
static void evaluate(struct harness *h, float t) {
    float moved[1 << 12];
    for (int64_t i = 0; i < h->total; i++)
        moved[i] = h->x[i] + t * h->d[i];
    buffer_write(h->in, 0, moved, h->total * 4);
    for (int64_t i = 0; i < h->out_floats; i++)
        h->result[i] = 12345.5f;
    buffer_write(h->out, 0, h->result, h->out_floats * 4);
    program_run(h->program);
    buffer_read(h->out, 0, h->result, h->out_floats * 4);
}

/* The same numbers as random_like. */
static float fixed(int64_t i, int64_t row_length, uint32_t use) {
    uint32_t bits[4];
    philox4x32(77, (uint64_t)(i / row_length), use, (uint32_t)(i % row_length / 4), bits);
    return 2 * philox_unit(bits[i % row_length % 4]) - 1;
}

static double loss_of(const struct harness *h) {
    double s = 0;
    int64_t length = h->y.n / h->rows_of_y;
    for (int64_t i = 0; i < h->y.n; i++) {
        double y = (double)h->result[h->y.offset + i];
        s += (double)fixed(i, length, 1) * y + (double)fixed(i, length, 2) * y * y;
    }
    return s;
}

static double mixed_of(const struct harness *h) {
    double s = 0;
    for (int k = 0; k < h->wrt; k++) {
        int64_t length = h->n[k] / h->c->in[k].dim[0];
        for (int64_t i = 0; i < h->n[k]; i++)
            s += (double)fixed(i, length, 3 + (uint32_t)k) * (double)h->result[h->g1[k].offset + i];
    }
    return s;
}

/* The derivative along d; *size: the sum without signs, what rounding is relative to. */
static double along(const struct harness *h, const struct window *g, double *size) {
    double s = 0;
    *size = 0;
    for (int k = 0; k < h->wrt; k++)
        for (int64_t i = 0; i < h->n[k]; i++) {
            double term = (double)h->result[g[k].offset + i] * (double)h->d[h->at[k] + i];
            s += term;
            *size += fabs(term);
        }
    return s;
}

static void check_guards(const struct harness *h) {
    struct window all[2 * INPUTS + 1];
    int n = 0;
    all[n++] = h->y;
    for (int i = 0; i < h->wrt; i++)
        all[n++] = h->g1[i], all[n++] = h->g2[i];
    for (int64_t i = 0; i < h->out_floats; i++) {
        bool inside = false;
        for (int k = 0; k < n; k++)
            inside |= i >= all[k].offset && i < all[k].offset + all[k].n;
        if (!inside && h->result[i] != 12345.5f)
            fail_msg("%s: wrote outside its outputs, at float %ld", h->c->name, (long)i);
    }
}

static void compare(const struct harness *h, const char *what, double got, double want, double size) {
    double tolerance = h->c->tolerance ? (double)h->c->tolerance : 1e-3;
    if (!(fabs(got - want) <= tolerance * fmax(fmax(fabs(got), fabs(want)), 0.1 * size) + 1e-6))
        fail_msg("%s: %s derivative is %.7g, finite differences say %.7g", h->c->name, what, got, want);
}

static void run_case(const struct test_case *c, struct buffer *key) {
    struct harness *h = calloc(1, sizeof *h);
    h->c = c;
    float step_size = c->h ? c->h : 1e-2f;
    for (h->inputs = 0; h->inputs < INPUTS && c->in[h->inputs].ndim; h->inputs++) {
        h->n[h->inputs] = shape_count(&c->in[h->inputs]);
        h->at[h->inputs] = h->total;
        h->total += (h->n[h->inputs] + 63) / 64 * 64;
    }
    h->wrt = h->inputs - c->constants;
    assert_true(h->total < 1 << 12);
    float low = c->low == 0 && c->high == 0 ? -1 : c->low, high = c->low == 0 && c->high == 0 ? 1 : c->high;
    for (int64_t i = 0; i < h->total; i++) {
        h->x[i] = low + (high - low) * (draw(i, 1) + 1) / 2;
        h->d[i] = c->constants && i >= h->at[h->wrt] ? 0 : draw(i, 2);
        for (int k = 0; k < c->kinks; k++)
            if (fabsf(h->x[i] - c->kink[k]) < 3 * step_size)
                h->x[i] = c->kink[k] + (h->x[i] < c->kink[k] ? -3 : 3) * step_size;
    }
    h->in = buffer_create(device, h->total * 4, "in");
    prepare(h, key);
    evaluate(h, 0);
    check_guards(h);
    double size1, size2, first = along(h, h->g1, &size1), second = along(h, h->g2, &size2);
    double loss = 0, mixed = 0;
    static const struct {
        int at, weight;
    } stencil[] = {{-2, 1}, {-1, -8}, {1, 8}, {2, -1}};
    for (int i = 0; i < 4; i++) {
        evaluate(h, (float)stencil[i].at * step_size);
        loss += stencil[i].weight * loss_of(h);
        mixed += stencil[i].weight * mixed_of(h);
    }
    compare(h, "first", first, loss / (12 * (double)step_size), size1);
    compare(h, "second", second, mixed / (12 * (double)step_size), size2);
    program_free(h->program);
    buffer_free(h->in);
    buffer_free(h->out);
    free(h->result);
    free(h);
}

static void derivatives(void **state) {
    (void)state;
    struct buffer *key = buffer_create(device, 16, "key");
    buffer_write(key, 0, (uint64_t[]){77, 0}, 16);
    for (size_t i = 0; i < CASES; i++)
        run_case(&cases[i], key);
    buffer_free(key);
}

static void every_rule_is_covered(void **state) {
    (void)state;
    for (int op = 0; op < OP_COUNT; op++)
        if (op_differentiable((enum op)op) && !covered[op])
            fail_msg("no case differentiates %s", op_name((enum op)op));
}

/* Gradients add up where a tensor is used twice, are zero where allowed, and reach intermediate tensors. */
static void accumulation(void **state) {
    (void)state;
    struct error e = {""};
    struct buffer *b = buffer_create(device, 4096, "b");
    float x[4] = {1, 2, 3, 4}, got[4];
    buffer_write(b, 0, x, sizeof x);
    struct graph *g = graph_create("accumulation");
    tensor *t = graph_input(g, b, 0, DT_F32, "x", 1, 4), *other = graph_input(g, b, 256, DT_F32, "other", 1, 4);
    tensor *s = square(g, t), *y = add(g, mul(g, s, t), t); /* x^3 + x */
    tensor *wrt[3] = {t, s, other}, *grads[3];
    graph_vjp(g, y, fill_like(g, 1, y), wrt, 3, grads, true);
    assert_string_equal(grads[0]->name, "grad of x");
    for (int i = 0; i < 3; i++)
        assign(g, graph_input(g, b, 512 + 256 * i, DT_F32, NULL, 1, 4), grads[i]);
    struct program *p;
    assert_int_equal(program_create(&p, g, device, &e), ST_OK);
    graph_free(g);
    program_run(p);
    buffer_read(b, 512, got, 16);
    for (int i = 0; i < 4; i++)
        assert_true(got[i] == 3 * x[i] * x[i] + 1);
    buffer_read(b, 768, got, 16);
    for (int i = 0; i < 4; i++)
        assert_true(got[i] == x[i]);
    buffer_read(b, 1024, got, 16);
    for (int i = 0; i < 4; i++)
        assert_true(got[i] == 0);
    program_free(p);
    buffer_free(b);
}

static int open_device(void **state) {
    struct error e;
    (void)state;
    return device_open(&device, getenv("FACEMILL_CHECK_DEVICE") ? getenv("FACEMILL_CHECK_DEVICE") : "cpu", 2, &e) == ST_OK ? 0 : -1;
}

static int close_device(void **state) {
    (void)state;
    device_close(device);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(derivatives), cmocka_unit_test(every_rule_is_covered),
                                       cmocka_unit_test(accumulation)};
    return cmocka_run_group_tests(tests, open_device, close_device);
}
