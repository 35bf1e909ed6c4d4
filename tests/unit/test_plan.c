/* test_plan.c - the planner: what each pass must do on small graphs, three conditions that must hold for every plan, and random
 * graphs whose planned program must agree with the same graph run node by node with nothing shared, folded or moved.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/engine/plan.h"
#include "common/rng/philox.h"
#include "common/stylegan2/trainer_internal.h"
#include "tests/unit/recorder.h"

static struct device *device;
static struct buffer *in, *out; /* 1 MB each */
static const struct plan_options eager = {true, true, true, true};

static tensor *input(struct graph *g, int64_t offset, int ndim, int64_t a, int64_t b, int64_t c, int64_t d) {
    char name[32];
    snprintf(name, sizeof name, "in%ld", (long)offset);
    return graph_input_shape(g, in, offset * 4, DT_F32, name, ndim, (int64_t[]){a, b, c, d});
}

static void output(struct graph *g, int64_t offset, tensor *t) {
    assign(g, graph_input_shape(g, out, offset * 4, t->dtype, "out", t->ndim, t->dim), t);
}

static int count_op(const struct plan *p, enum op op) {
    int n = 0;
    for (int u = 0; u < p->n_unit; u++)
        n += p->unit[u].op == op;
    return n;
}

/* ---- the three conditions ---- */
struct extent {
    const void *base;
    int64_t from, to;
};
static struct extent extent_of(const struct plan *p, int id) {
    const struct pnode *n = &p->node[plan_base(p, id)];
    struct extent e = {NULL, n->place_offset, 0};
    if (n->op == OP_input)
        e.base = n->buffer, e.from = n->offset;
    else
        e.base = n->place == PLACE_BUFFER ? (void *)n->place_buffer : n->place == PLACE_ARENA ? "arena" : "constants";
    e.to = e.from + pnode_bytes(n);
    return e;
}

static bool overlap(struct extent a, struct extent b) { return a.base == b.base && a.from < b.to && b.from < a.to; }

static void check_plan(const struct plan *p) {
    /* topological, and constants first */
    int *birth = calloc((size_t)p->n, sizeof *birth), *death = calloc((size_t)p->n, sizeof *death);
    for (int i = 0; i < p->n; i++)
        birth[i] = death[i] = -1;
    for (int u = 0; u < p->n_unit; u++) {
        const struct unit *q = &p->unit[u];
        assert_true(q->n_in <= MAX_IN && q->n_out <= MAX_OUT);
        assert_true(u == 0 || p->unit[u - 1].constant >= q->constant);
        for (int k = 0; k < q->n_in; k++) {
            int b = plan_base(p, q->in[k]);
            if (p->node[b].op == OP_input)
                continue;
            if (birth[b] < 0 || birth[b] == u)
                fail_msg("unit %d reads node %d before it is computed", u, b);
            death[b] = u;
        }
        for (int k = 0; k < q->n_out; k++)
            birth[q->out[k]] = death[q->out[k]] = u;
    }
    /* no common byte while both live; an output may take over an input that dies in the very unit */
    for (int a = 0; a < p->n; a++)
        for (int b = 0; b < a; b++) {
            if (birth[a] < 0 || birth[b] < 0 || !overlap(extent_of(p, a), extent_of(p, b)))
                continue;
            bool apart = death[a] < birth[b] || death[b] < birth[a];
            bool taken = (death[b] == birth[a] || death[a] == birth[b]) && birth[a] != birth[b] &&
                         p->unit[birth[a] > birth[b] ? birth[a] : birth[b]].op == OP_fused;
            bool kept = p->node[a].place == PLACE_BUFFER; /* a later assign to the same window: checked by running */
            if (!apart && !taken && !kept)
                fail_msg("nodes %d [%d,%d] and %d [%d,%d] share bytes", a, birth[a], death[a], b, birth[b], death[b]);
        }
    free(birth);
    free(death);
}

static struct plan *make(struct graph *g, const struct plan_options *o) {
    struct plan *p = plan_create(g, o);
    check_plan(p);
    return p;
}

/* ---- what each pass does ---- */
static void dead_nodes_go(void **state) {
    (void)state;
    struct graph *g = graph_create("dead");
    tensor *x = input(g, 0, 2, 4, 4, 0, 0);
    matmul(g, exp1(g, x), false, x, false);
    output(g, 0, square(g, x));
    struct plan *p = make(g, NULL);
    assert_int_equal(p->dead, 2);
    assert_int_equal(p->n_unit, 1);
    plan_free(p);
    graph_free(g);
}

static void equal_nodes_are_joined(void **state) {
    (void)state;
    struct graph *g = graph_create("joined");
    tensor *x = input(g, 0, 2, 4, 4, 0, 0), *same = input(g, 0, 2, 4, 4, 0, 0), *other = input(g, 16, 2, 4, 4, 0, 0);
    output(g, 0, matmul(g, exp1(g, x), false, x, false));
    output(g, 64, matmul(g, exp1(g, same), false, same, false));
    output(g, 128, matmul(g, exp1(g, other), false, other, false));
    struct plan *p = make(g, NULL);
    assert_int_equal(count_op(p, OP_matmul), 2);
    assert_int_equal(count_op(p, OP_assign), 1); /* the second assign of one value is a copy */
    plan_free(p);
    graph_free(g);
}

/* The same expression before and after a write to what it reads is not the same value. */
static void effects_separate_equal_nodes(void **state) {
    (void)state;
    for (int planned = 0; planned < 2; planned++) {
        struct error e = {""};
        struct graph *g = graph_create("effects");
        tensor *x = graph_input(g, out, 0, DT_F32, "x", 1, 4), *one = graph_input(g, in, 0, DT_F32, "one", 1, 4);
        tensor *wide = broadcast(g, reshape(g, x, 2, 4, 1), 2, (int64_t[]){4, 3}); /* of the old content */
        tensor *before = scale(g, x, 2, 0);
        assign(g, x, add(g, x, one));
        tensor *after = scale(g, x, 2, 0);
        output(g, 64, before);
        output(g, 128, after);
        output(g, 192, exp1(g, scale(g, wide, 0.5f, 0)));
        struct program *p;
        assert_int_equal(program_create_with(&p, g, device, planned ? NULL : &eager, &e), ST_OK);
        graph_free(g);
        float v[12] = {1, 1, 1, 1};
        buffer_write(in, 0, v, 16);
        for (int i = 0; i < 4; i++)
            v[i] = (float)i;
        buffer_write(out, 0, v, 16);
        program_run(p);
        buffer_read(out, 0, v, 16);
        for (int i = 0; i < 4; i++)
            assert_true(v[i] == (float)i + 1);
        buffer_read(out, 256, v, 16);
        for (int i = 0; i < 4; i++)
            assert_true(v[i] == 2 * (float)i);
        buffer_read(out, 512, v, 16);
        for (int i = 0; i < 4; i++)
            assert_true(v[i] == 2 * (float)i + 2);
        buffer_read(out, 768, v, 48);
        for (int i = 0; i < 12; i++)
            assert_true(fabsf(v[i] - expf(0.5f * (float)(i / 3))) < 1e-5f);
        program_free(p);
    }
}

static void trivial_arithmetic_folds(void **state) {
    (void)state;
    struct graph *g = graph_create("folds");
    tensor *x = input(g, 0, 2, 4, 6, 0, 0);
    tensor *y = add(g, mul(g, x, scalar(g, 1)), fill_like(g, 0, x));
    y = scale(g, y, 1, 0);
    y = permute(g, reshape(g, y, 3, 4, 1, 6), (int[]){1, 0, 2});
    output(g, 0, y); /* nothing but a copy */
    output(g, 64, sum_axes(g, fill_like(g, 2, x), 3));
    struct plan *p = make(g, NULL);
    assert_int_equal(p->n_unit, 3); /* the copy; 48, computed once; its copy */
    assert_int_equal(count_op(p, OP_assign), 2);
    assert_int_equal(count_op(p, OP_sum), 0);
    plan_free(p);
    graph_free(g);
}

static void constants_are_computed_once(void **state) {
    (void)state;
    struct error e = {""};
    struct graph *g = graph_create("constants");
    tensor *w = input(g, 0, 2, 4, 4, 0, 0), *x = input(g, 64, 2, 4, 4, 0, 0);
    graph_mark_constant(w);
    output(g, 0, matmul(g, x, false, square(g, matmul(g, w, false, w, true)), false));
    struct plan *p = make(g, NULL);
    int constant = 0;
    for (int u = 0; u < p->n_unit; u++)
        constant += p->unit[u].constant;
    assert_int_equal(constant, 2);
    assert_true(p->constant_bytes >= 64);
    plan_free(p);
    struct program *q;
    float v[16], first[16], second[16];
    for (int i = 0; i < 16; i++)
        v[i] = sinf((float)i);
    buffer_write(in, 0, v, 64);
    buffer_write(in, 256, v, 64);
    assert_int_equal(program_create(&q, g, device, &e), ST_OK);
    assert_int_equal(program_get_info(q).launches, 1);
    program_run(q);
    buffer_read(out, 0, first, 64);
    for (int i = 0; i < 16; i++)
        v[i] *= 2;
    buffer_write(in, 0, v, 64); /* not noticed, as promised, until it is said */
    program_run(q);
    buffer_read(out, 0, second, 64);
    assert_memory_equal(first, second, 64);
    program_constants_changed(q);
    program_run(q);
    buffer_read(out, 0, second, 64);
    for (int i = 0; i < 16; i++)
        assert_true(fabsf(second[i] - 16 * first[i]) < 1e-4f);
    program_free(q);
    graph_free(g);
}

/* Demodulation, noise, bias, leaky ReLU, gain, clamp, next style: one pass that writes once. */
static void a_layer_is_one_pass(void **state) {
    (void)state;
    struct graph *g = graph_create("layer");
    tensor *x = input(g, 0, 4, 2, 8, 8, 16), *w = input(g, 4096, 4, 16, 3, 3, 16), *d = input(g, 8192, 4, 2, 1, 1, 16);
    tensor *noise = input(g, 9000, 4, 2, 8, 8, 1), *bias = input(g, 10000, 1, 16, 0, 0, 0), *style = input(g, 8300, 4, 2, 1, 1, 16);
    tensor *y = add(g, add(g, mul(g, conv2d(g, x, w, 1, 1, 1), d), noise), bias);
    y = mul(g, clamp(g, scale(g, lrelu(g, y, 0.2f), 1.4142f, 0), -256, 256), style);
    output(g, 0, conv2d(g, y, w, 1, 1, 1));
    struct plan *p = make(g, NULL);
    assert_int_equal(p->n_unit, 3);
    assert_int_equal(p->unit[1].op, OP_fused);
    assert_int_equal(p->unit[1].n_in, 5);
    assert_int_equal(p->unit[1].n_out, 1);
    assert_int_equal(p->unit[1].fused->ndim, 3); /* N, HW, C */
    assert_string_equal(p->node[p->unit[1].out[0]].reason, "in place of its input");
    plan_free(p);
    graph_free(g);
}

/* What the backward pass needs of such a layer is recomputed from the convolution's result, not stored. */
static void backward_recomputes(void **state) {
    (void)state;
    struct graph *g = graph_create("backward");
    tensor *x = input(g, 0, 4, 2, 32, 32, 16), *w = input(g, 40960, 4, 16, 3, 3, 16), *d = input(g, 50000, 4, 2, 1, 1, 16);
    tensor *bias = input(g, 50200, 1, 16, 0, 0, 0), *style = input(g, 50100, 4, 2, 1, 1, 16), *wrt[] = {w, bias, d, style}, *dx[4];
    tensor *y = add(g, mul(g, conv2d(g, x, w, 1, 1, 1), d), bias);
    y = mul(g, clamp(g, scale(g, lrelu(g, y, 0.2f), 1.4142f, 0), -256, 256), style);
    graph_grad(g, sum_all(g, square(g, conv2d(g, y, w, 1, 1, 1))), wrt, 4, dx);
    for (int i = 0; i < 4; i++)
        output(g, 4096 * i, dx[i]);
    struct plan *p = make(g, NULL);
    int u = 0;
    while (p->unit[u].op != OP_fused)
        u++;
    assert_int_equal(p->unit[u].n_out, 1); /* the forward pass stores the next convolution's input only */
    assert_true(p->cloned > 0);
    plan_free(p);
    graph_free(g);
}

/* Assigns cost nothing when the producer can write there, and stay copies when that would be seen. */
static void assigns_in_place(void **state) {
    (void)state;
    struct graph *g = graph_create("assigns");
    tensor *x = input(g, 0, 2, 8, 8, 0, 0), *y = graph_input(g, out, 0, DT_F32, "y", 2, 8, 8);
    assign(g, y, matmul(g, x, false, x, false));
    struct plan *p = make(g, NULL);
    assert_int_equal(count_op(p, OP_assign), 0);
    plan_free(p);
    graph_free(g);

    g = graph_create("read between");
    x = input(g, 0, 2, 8, 8, 0, 0), y = graph_input(g, out, 0, DT_F32, "y", 2, 8, 8);
    tensor *v = matmul(g, x, false, x, false);
    output(g, 64, matmul(g, y, false, y, false)); /* must see the old y */
    assign(g, y, v);
    p = make(g, NULL);
    assert_int_equal(count_op(p, OP_assign), 1);
    plan_free(p);
    graph_free(g);

    g = graph_create("overwritten");
    x = input(g, 0, 2, 8, 8, 0, 0), y = graph_input(g, out, 0, DT_F32, "y", 2, 8, 8);
    v = matmul(g, x, false, x, false);
    assign(g, y, v);
    assign(g, y, x);
    output(g, 64, matmul(g, v, false, x, false)); /* must see v, not x */
    p = make(g, NULL);
    assert_int_equal(count_op(p, OP_assign), 2);
    plan_free(p);
    graph_free(g);
}

static void see_nothing(void *arg, const struct kernel_call *c) { (void)arg, (void)c; }

/* Where the backend can, sums over pixels are outputs of the launch that computes their terms, which are then not stored. */
static void sums_join_their_terms(void **state) {
    (void)state;
    for (int kept = 0; kept < 2; kept++) {
        struct device *d = device_dry(see_nothing, NULL);
        struct buffer *big = buffer_create(d, 1 << 24, "big"), *to = buffer_create(d, 1 << 24, "to");
        struct graph *g = graph_create("sums");
        tensor *x = graph_input(g, big, 0, DT_F32, "x", 4, 4, 64, 64, 64), *y = graph_input(g, big, 4 << 20, DT_F32, "y", 4, 4, 64, 64, 64);
        tensor *product = mul(g, x, y), *channel = sum_axes(g, product, 7), *style = sum_axes(g, product, 6);
        assign(g, graph_input(g, to, 8 << 20, DT_F32, "s", 4, 4, 1, 1, 64), style);
        assign(g, graph_input(g, to, 9 << 20, DT_F32, "c", 4, 1, 1, 1, 64), channel);
        assign(g, graph_input(g, to, 10 << 20, DT_F32, "r", 4, 4, 64, 64, 1), sum_axes(g, x, 8)); /* rows are not summed so */
        if (kept)
            assign(g, graph_input(g, to, 0, DT_F32, "p", 4, 4, 64, 64, 64), product);
        struct plan *p = make(g, NULL), *q = make(g, &(struct plan_options){.sums = true});
        assert_int_equal(count_op(p, OP_sum), 3);
        assert_int_equal(count_op(q, OP_sum), 1);
        assert_int_equal(count_op(q, OP_fused), 1);
        for (int u = 0; u < q->n_unit; u++)
            if (q->unit[u].op == OP_fused) {
                const struct fused_program *f = q->unit[u].fused;
                int64_t outs[MAX_OUT] = {0};
                assert_int_equal(f->n_out, 2 + kept);
                assert_int_equal(q->unit[u].n_out, 2 + kept);
                for (int k = 0; k < f->n_out; k++) {
                    outs[k] = pnode_count(&q->node[q->unit[u].out[k]]);
                    int64_t n = 1;
                    for (int i = 0; i < f->ndim; i++)
                        n *= f->sum[k] >> i & 1 ? 1 : f->dim[i];
                    assert_int_equal(n, outs[k]);
                }
                assert_int_equal(outs[0] + outs[1] + outs[2], 4 * 64 + 64 + (kept ? 1 << 20 : 0));
                assert_int_equal(f->dim[f->ndim - 1], 64);
            }
        plan_free(p);
        plan_free(q);
        graph_free(g);
        buffer_free(big);
        buffer_free(to);
        device_close(d);
    }
}

/* The sum over pixels of noise times a sum over channels adds up channels last, in the launch that computes what is summed. */
static void sums_of_products_join(void **state) {
    (void)state;
    struct device *d = device_dry(see_nothing, NULL);
    struct buffer *big = buffer_create(d, 1 << 25, "big");
    struct graph *g = graph_create("noise");
    tensor *x = graph_input(g, big, 0, DT_F32, "x", 4, 4, 64, 64, 64), *y = graph_input(g, big, 4 << 20, DT_F32, "y", 4, 4, 64, 64, 64);
    tensor *noise = graph_input(g, big, 8 << 20, DT_F32, "noise", 4, 4, 64, 64, 1);
    tensor *rows = sum_axes(g, mul(g, x, y), 8); /* [4,64,64,1] */
    assign(g, graph_input(g, big, 9 << 20, DT_F32, "strength", 4, 1, 1, 1, 1), sum_axes(g, mul(g, rows, noise), 7));
    struct plan *p = make(g, NULL), *q = make(g, &(struct plan_options){.sums = true});
    assert_int_equal(count_op(p, OP_sum), 2);
    assert_int_equal(count_op(p, OP_fused), 2);
    assert_int_equal(count_op(q, OP_sum), 1); /* of 64 */
    assert_int_equal(count_op(q, OP_fused), 1);
    for (int u = 0; u < q->n_unit; u++)
        assert_true(q->unit[u].n_out == 0 || pnode_count(&q->node[q->unit[u].out[0]]) <= 64);
    plan_free(p);
    plan_free(q);
    graph_free(g);
    buffer_free(big);
    device_close(d);
}

/* The same, when noise or terms are overwritten between the product and its sum: what was built reads the old content. */
static void sums_of_products_see_what_was(void **state) {
    (void)state;
    struct device *d = device_dry(see_nothing, NULL);
    struct buffer *big = buffer_create(d, 1 << 24, "big");
    for (int which = 0; which < 4; which++) {
        struct graph *g = graph_create("noise");
        tensor *z = graph_input(g, big, 0, DT_F32, "z", 4, 4, 64, 64, 64);
        tensor *noise = graph_input(g, big, 8 << 20, DT_F32, "noise", 4, 4, 64, 64, 1);
        tensor *product = mul(g, sum_axes(g, z, 8), noise);
        if (which & 1)
            assign(g, z, scale(g, z, 2, 7));
        if (which & 2)
            assign(g, noise, scale(g, noise, 2, 5));
        assign(g, graph_input(g, big, 9 << 20, DT_F32, "strength", 4, 1, 1, 1, 1), sum_axes(g, product, 7));
        struct plan *p = make(g, &(struct plan_options){.sums = true});
        int rows = 0;
        for (int i = 0; i < p->n; i++)
            rows += p->node[i].op == OP_sum && p->node[i].unit >= 0 && p->node[i].dim[0] == 4;
        assert_int_equal(rows, which ? 1 : 0); /* columns first where nothing stands against it */
        plan_free(p);
        graph_free(g);
    }
    buffer_free(big);
    device_close(d);
}

/* A gradient times 0 is 0: Adam takes a factor of 0 for none, and must not be given it. */
static void a_factor_of_nothing(void **state) {
    (void)state;
    struct error e = {""};
    struct graph *g = graph_create("nothing");
    tensor *t[4], *hyper = graph_input(g, in, 1024, DT_F32, "hyper", 1, 6);
    for (int i = 0; i < 4; i++)
        t[i] = graph_input(g, out, 64 * i, DT_F32, "t", 1, 4);
    adam(g, t[0], sanitize(g, scale(g, t[1], 0, 0), 3), t[2], t[3], hyper);
    struct program *p;
    assert_int_equal(program_create(&p, g, device, &e), ST_OK);
    graph_free(g);
    float v[4] = {1, 2, 3, 4}, zero[4] = {0};
    for (int i = 0; i < 4; i++)
        buffer_write(out, 64 * i, i < 2 ? v : zero, sizeof v);
    buffer_write(in, 1024, (float[]){0.01f, 0.5f, 0.99f, 1e-8f, 0.5f, 0.01f}, 24);
    program_run(p);
    float got[4];
    buffer_read(out, 0, got, sizeof got);
    assert_memory_equal(got, v, sizeof v);
    program_free(p);
}

/* A 1x1 convolution of a 16-bit picture is part of the pass that reads it, where sums are too; others stay convolutions. */
static void pictures_are_convolved_by_channels(void **state) {
    (void)state;
    struct device *d = device_dry(see_nothing, NULL);
    struct buffer *big = buffer_create(d, 1 << 25, "big");
    for (int channels = 3; channels <= 4; channels++) {
        struct graph *g = graph_create("picture");
        tensor *x = cast(g, graph_input(g, big, 0, DT_F32, "x", 4, 4, 64, 64, channels), DT_BF16);
        tensor *w = cast(g, graph_input(g, big, 1 << 20, DT_F32, "w", 4, 64, 1, 1, channels), DT_BF16);
        tensor *b = graph_input(g, big, 2 << 20, DT_F32, "b", 1, 64);
        tensor *y = lrelu(g, add(g, conv2d(g, x, w, 1, 0, 0), b), 0.2f);
        assign(g, graph_input(g, big, 4 << 20, DT_BF16, "y", 4, 4, 64, 64, 64), y);
        struct plan *p = make(g, NULL), *q = make(g, &(struct plan_options){.sums = true});
        assert_int_equal(count_op(p, OP_conv2d), 1);
        assert_int_equal(count_op(q, OP_conv2d), channels == 4);
        assert_int_equal(count_op(q, OP_slice), channels == 4 ? 0 : 6);
        assert_int_equal(count_op(q, OP_fused), 3); /* two casts and the pass */
        plan_free(p);
        plan_free(q);
        graph_free(g);
    }
    buffer_free(big);
    device_close(d);
}

/* What a gradient is summed for does not keep it from the launch where it meets another. */
static void readers_follow(void **state) {
    (void)state;
    struct graph *g = graph_create("followers");
    tensor *x = input(g, 0, 2, 64, 64, 0, 0), *y = input(g, 4096, 2, 64, 64, 0, 0);
    tensor *one = matmul(g, x, false, x, false);
    tensor *style = scale(g, sum_axes(g, mul(g, one, x), 1), 2, 0);
    tensor *other = matmul(g, x, false, y, false);
    tensor *both = add(g, mul(g, one, y), other);
    output(g, 0, both);
    output(g, 4096, style);
    output(g, 8192, matmul(g, style, false, both, false));
    struct plan *p = make(g, NULL);
    assert_int_equal(count_op(p, OP_fused), 2); /* mul mul add, and what is made of the sum */
    plan_free(p);
    graph_free(g);
}

static void limits_are_kept(void **state) {
    (void)state;
    struct graph *g = graph_create("limits");
    tensor *sum = input(g, 0, 1, 64, 0, 0, 0);
    for (int i = 1; i < 40; i++)
        sum = add(g, mul(g, sum, input(g, 64 * i, 1, 64, 0, 0, 0)), tanh1(g, sum));
    output(g, 0, sum);
    struct plan *p = make(g, NULL);
    for (int u = 0; u < p->n_unit; u++)
        if (p->unit[u].fused)
            assert_true(p->unit[u].fused->n_ops <= FUSED_MAX_OPS && p->unit[u].fused->n_in <= MAX_IN);
    assert_true(p->n_unit < 12);
    plan_free(p);
    graph_free(g);
}

/* ---- random programs ---- */
static uint64_t seed;
static int pick(int n) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (int)((seed >> 33) % (uint64_t)n);
}

enum { POOL = 48 };
static const int64_t shapes[][4] = {{3, 4, 5, 6}, {3, 1, 1, 6}, {1, 1, 1, 6}, {3, 4, 5, 1}, {1, 1, 1, 1}, {3, 4, 5, 6}};

static tensor *random_node(struct graph *g, tensor **pool, int n) {
    tensor *x = pool[pick(n)], *y = pool[pick(n)], *z = pool[pick(n)];
    float a = (float)(pick(9) - 4) * 0.25f;
    switch (pick(24)) {
    case 0: return tanh1(g, x);
    case 1: return sigmoid(g, x);
    case 2: return tanh1(g, softplus(g, x));
    case 3: return lrelu(g, x, 0.2f);
    case 4: return clamp(g, x, -0.5f, 0.7f);
    case 5: return clamp_mask(g, x, -0.5f, 0.7f);
    case 6: return scale(g, x, a, 0.25f);
    case 7: return exp1(g, scale(g, tanh1(g, x), 0.5f, -0.5f));
    case 8: return rsqrt1(g, scale(g, square(g, x), 1, 1));
    case 9: return log1(g, scale(g, square(g, x), 1, 1));
    case 10: return scale(g, add(g, x, y), 0.5f, 0);
    case 11: return sub(g, x, scale(g, y, 0.5f, 0));
    case 12: return mul(g, tanh1(g, x), y);
    case 13: return tanh1(g, fma3(g, x, y, z));
    case 14: return scale(g, sum_axes(g, x, (unsigned)pick(15) + 1), 0.01f, 0);
    case 15: return tanh1(g, broadcast(g, x, 4, shapes[0]));
    case 16: return x->dim[1] > 2 ? pad_axis(g, slice(g, x, 1, 1, 2), 1, 0, x->dim[1] - 2) : x;
    case 17: {
        int order[4] = {0, 2, 1, 3};
        return permute(g, exp1(g, tanh1(g, permute(g, x, order))), order);
    }
    case 18: return tensor_count(x) == 360 ? reshape_shape(g, tanh1(g, reshape(g, x, 2, 12, -1)), 4, x->dim) : x;
    case 19: {
        tensor *full = reshape(g, broadcast(g, x, 4, shapes[0]), 2, 60, 6);
        return reshape_shape(g, scale(g, matmul(g, full, false, matmul(g, full, true, full, false), false), 0.002f, 0), 4, shapes[0]);
    }
    case 20: return step(g, x, a, 1);
    case 21: return mul(g, x, fill_like(g, pick(2) ? 1 : 0.5f, x));
    case 22: return add(g, x, scalar(g, pick(2) ? 0 : 0.125f));
    default: return mul(g, x, y->dim[1] == 1 ? y : x);
    }
}

/* Inputs, constants, 40 nodes, and effects between them whose windows are read again. */
static struct graph *random_graph(void) {
    struct graph *g = graph_create("random");
    tensor *pool[POOL + 40];
    int n = 0, stores = 0;
    for (int i = 0; i < 6; i++) {
        pool[n++] = graph_input_shape(g, in, 4096 * i, DT_F32, NULL, 4, shapes[i]);
        if (i == 5 && pick(2))
            graph_mark_constant(pool[n - 1]);
    }
    pool[n++] = graph_input_shape(g, out, 0, DT_F32, "state", 4, shapes[0]);
    pool[n++] = graph_input_shape(g, out, 4096, DT_F32, "state2", 4, shapes[1]);
    for (int i = 0; i < 40 && n < POOL + 30; i++) {
        tensor *t = random_node(g, pool, n);
        pool[n++] = t;
        if (pick(6) == 0 && t->ndim == 4 && tensor_count(t) == 360)
            assign(g, pool[6], t);
        else if (pick(8) == 0 && tensor_count(t) == 18)
            lerp(g, pool[7], t, reshape(g, scale(g, sum_all(g, pool[0]), 0.001f, 0.5f), 1, 1));
        else if (pick(3) == 0)
            assign(g, graph_input_shape(g, out, 8192 + 2048 * stores++, DT_F32, NULL, t->ndim, t->dim), t);
    }
    return g;
}

static void run_random(struct graph *g, struct device *d, const struct plan_options *o, float *result) {
    struct error e = {""};
    struct program *p;
    static float zero[65536];
    buffer_write(out, 0, zero, sizeof zero);
    if (program_create_with(&p, g, d, o, &e) != ST_OK)
        fail_msg("%s", e.text);
    for (int i = 0; i < 3; i++)
        program_run(p);
    buffer_read(out, 0, result, sizeof zero);
    program_free(p);
}

static void random_programs(void **state) {
    (void)state;
    static float want[65536], got[65536], x[6144];
    for (int i = 0; i < 6144; i++) {
        uint32_t bits[4];
        philox4x32(5, (uint64_t)i, 0, 0, bits);
        x[i] = 2 * philox_unit(bits[0]) - 1;
    }
    buffer_write(in, 0, x, sizeof x);
    int cloned = 0, joined = 0, folded = 0, dropped = 0; /* the generator must reach every pass */
    for (int k = 0; k < 1000; k++) {
        seed = (uint64_t)k * 977 + 1;
        struct graph *g = random_graph();
        run_random(g, device, &eager, want);
        static const struct plan_options some[] = {{0}, {.clone_bytes = 1}, {.no_fuse = true}, {.no_simplify = true}, {.no_inplace = true}, {.no_clone = true}};
        for (int o = 0; o < 6; o++) {
            if (o > 1 && k % 8)
                break;
            struct plan *p = make(g, &some[o]);
            cloned += p->cloned, joined += p->joined, folded += p->folded, dropped += p->dropped_assigns;
            plan_free(p);
            run_random(g, device, &some[o], got);
            for (int i = 0; i < 65536; i++)
                if (!(fabsf(got[i] - want[i]) <= 2e-6f * fmaxf(1, fabsf(want[i]))) && !(isnan(got[i]) && isnan(want[i])))
                    fail_msg("random program %d, options %d: float %d is %.9g, node by node %.9g", k, o, i, (double)got[i],
                             (double)want[i]);
        }
        graph_free(g);
    }
    assert_true(cloned > 100 && joined > 100 && folded > 100 && dropped > 100);
}

/* ---- lanes: launches side by side ---- */
static int accesses(const struct plan *p, int u, struct extent read[MAX_IN], struct extent written[MAX_OUT], int *n_written) {
    const struct unit *q = &p->unit[u];
    int window[3], n = 0, effects = op_kind(q->op) == EFFECT ? effect_windows(p, &p->node[q->member[0]], window) : 0;
    for (int k = q->op == OP_assign; k < q->n_in; k++)
        read[n++] = extent_of(p, q->in[k]);
    *n_written = 0;
    for (int k = 0; k < q->n_out; k++)
        written[(*n_written)++] = extent_of(p, q->out[k]);
    for (int k = 0; k < effects; k++)
        written[(*n_written)++] = extent_of(p, window[k]);
    return n;
}

static bool conflict(const struct plan *p, int a, int b) {
    struct extent read[2][MAX_IN], written[2][MAX_OUT];
    int unit[2] = {a, b}, n[2], m[2];
    for (int i = 0; i < 2; i++)
        n[i] = accesses(p, unit[i], read[i], written[i], &m[i]);
    for (int i = 0; i < 2; i++)
        for (int w = 0; w < m[i]; w++) {
            for (int r = 0; r < n[!i]; r++)
                if (overlap(written[i][w], read[!i][r]))
                    return true;
            for (int x = 0; x < m[!i]; x++)
                if (overlap(written[i][w], written[!i][x]))
                    return true;
        }
    return false;
}

/* Two units that touch a common byte, of which one writes it, whose order neither lanes nor waits keep; -1: there are none. without: a
 * wait that is left out, as its unit and place, or -1. */
static int unordered(const struct plan *p, const struct lanes *l, int without, int place) {
    int n = p->n_unit, bad = -1, *of_mark = calloc((size_t)l->n_marks, sizeof *of_mark), last[MAX_LANES] = {-1, -1, -1, -1};
    bool *before = calloc((size_t)n * (size_t)n, 1); /* [u][v]: v is done when u begins */
    for (int i = 0; i < l->n_order; i++) {
        int u = l->order[i];
        const struct lane_step *s = &l->step[u];
        int after[1 + MAX_LANES], n_after = 0;
        if (last[s->lane] >= 0)
            after[n_after++] = last[s->lane];
        for (int k = 0; k < s->n_wait; k++)
            if (s->wait[k] && !(u == without && k == place))
                after[n_after++] = of_mark[s->wait[k]];
        for (int k = 0; k < n_after; k++) {
            before[u * n + after[k]] = true;
            for (int v = 0; v < n; v++)
                before[u * n + v] |= before[after[k] * n + v];
        }
        last[s->lane] = u;
        if (s->mark)
            of_mark[s->mark] = u;
    }
    for (int u = 0; u < n && bad < 0; u++)
        for (int v = 0; v < u && bad < 0; v++)
            if (!p->unit[u].constant && !p->unit[v].constant && !before[u * n + v] && conflict(p, u, v))
                bad = u;
    free(of_mark);
    free(before);
    return bad;
}

/* Whatever order the lanes allow, the same bits; and no wait is there for nothing. */
static void lanes_keep_every_hazard(void **state) {
    (void)state;
    struct device *d = recorder_open(2);
    static float want[65536], got[65536];
    int needed = 0;
    for (int k = 0; k < 400; k++) {
        seed = (uint64_t)k * 977 + 1;
        struct graph *g = random_graph();
        const struct plan_options o = {.lanes = 2 + k % 3, .min_slack = k % 2 ? 1e-9 : 4e-6, .no_fuse = k % 5 == 0, .no_inplace = k % 7 == 0};
        struct plan *p = make(g, &o);
        struct lanes l = plan_lanes(p, &o);
        if (unordered(p, &l, -1, 0) >= 0)
            fail_msg("random program %d: unit %d may run beside what it needs", k, unordered(p, &l, -1, 0));
        for (int u = 0; u < p->n_unit; u++)
            for (int w = 0; w < l.step[u].n_wait; w++)
                if (l.step[u].wait[w]) {
                    if (unordered(p, &l, u, w) < 0)
                        fail_msg("random program %d: unit %d waits for nothing", k, u);
                    needed++;
                }
        lanes_free(&l);
        plan_free(p);
        device_use_graphs(d, false);
        run_random(g, d, &o, want);
        device_use_graphs(d, true);
        for (int i = 0; i < 3; i++) {
            run_random(g, d, &o, got);
            assert_memory_equal(want, got, sizeof got);
        }
        graph_free(g);
    }
    assert_true(needed > 400 && recorder.beside > 400);
    device_close(d);
}

/* The phases of a training, which share no memory but that of buffers and of the arena. */
static void lanes_of_a_training(void **state) {
    (void)state;
    struct device *d = device_dry(see_nothing, NULL);
    struct trainer_config c;
    struct trainer *t;
    struct error e = {""};
    assert_int_equal(trainer_preset(&c, "auto", 16, 1, &e), ST_OK);
    c.augment = *augment_by_name("bgc");
    assert_int_equal(trainer_create(&t, d, &c, &e), ST_OK);
    for (int i = 0; i < PHASES; i++) {
        const struct plan *p = program_plan(t->program[i]);
        const struct lanes *l = program_lanes(t->program[i]);
        int beside = 0;
        check_plan(p);
        for (int u = 0; u < p->n_unit; u++)
            beside += l->step[u].lane > 0;
        assert_true(beside > 10 && l->n_end <= MAX_LANES);
        assert_int_equal(unordered(p, l, -1, 0), -1);
    }
    trainer_free(t);
    device_close(d);
}

static void see_sizes(void *arg, const struct kernel_call *c) {
    int64_t *most = arg;
    for (int k = 0; k < c->n_in + c->n_out; k++) {
        const struct operand *o = k < c->n_in ? &c->in[k] : &c->out[k - c->n_in];
        int64_t n = 1;
        for (int d = 0; d < o->ndim; d++)
            n *= o->dim[d];
        *most = n > *most ? n : *most;
    }
}

/* cuDNN refuses tensors of 2^31 values: at 1024x1024 fakes and reals go through D one after the other. */
static void tensors_of_a_large_training(void **state) {
    (void)state;
    int64_t most = 0;
    struct device *d = device_dry(see_sizes, &most);
    struct trainer_config c;
    struct trainer *t;
    struct error e;
    assert_int_equal(trainer_preset(&c, "stylegan2", 1024, 1, &e), ST_OK);
    assert_int_equal(c.batch, 32);
    c.half = true;
    assert_int_equal(trainer_create(&t, d, &c, &e), ST_OK);
    assert_true(most > INT32_MAX / 4 && most < INT32_MAX);
    trainer_free(t);
    device_close(d);
}

static int open_device(void **state) {
    struct error e;
    (void)state;
    if (device_open(&device, "cpu", 2, &e) != ST_OK)
        return -1;
    in = buffer_create(device, 1 << 20, "in");
    out = buffer_create(device, 1 << 20, "out");
    return 0;
}

static int close_device(void **state) {
    (void)state;
    buffer_free(in);
    buffer_free(out);
    device_close(device);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dead_nodes_go),        cmocka_unit_test(equal_nodes_are_joined),
        cmocka_unit_test(effects_separate_equal_nodes), cmocka_unit_test(trivial_arithmetic_folds),
        cmocka_unit_test(constants_are_computed_once), cmocka_unit_test(a_layer_is_one_pass),
        cmocka_unit_test(backward_recomputes),  cmocka_unit_test(assigns_in_place),
        cmocka_unit_test(limits_are_kept),      cmocka_unit_test(random_programs),
        cmocka_unit_test(sums_join_their_terms), cmocka_unit_test(sums_of_products_see_what_was),
        cmocka_unit_test(a_factor_of_nothing),
        cmocka_unit_test(lanes_keep_every_hazard), cmocka_unit_test(lanes_of_a_training),
        cmocka_unit_test(sums_of_products_join), cmocka_unit_test(readers_follow),
        cmocka_unit_test(pictures_are_convolved_by_channels), cmocka_unit_test(tensors_of_a_large_training),
    };
    return cmocka_run_group_tests(tests, open_device, close_device);
}
