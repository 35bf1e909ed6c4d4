/* test_graph.c - building: shapes come out right, mistakes abort with a message that names both shapes; and the small kernels that
 * only move data, against plain loops. */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/engine/engine.h"

static struct device *device;
static struct buffer *room;

static tensor *input(struct graph *g, int ndim, int64_t a, int64_t b, int64_t c, int64_t d) {
    return graph_input_shape(g, room, 0, DT_F32, "x", ndim, (int64_t[]){a, b, c, d});
}

/* ---- shapes ---- */
static void has_shape(const tensor *t, int ndim, int64_t a, int64_t b, int64_t c, int64_t d) {
    const int64_t want[4] = {a, b, c, d};
    assert_int_equal(t->ndim, ndim);
    for (int i = 0; i < ndim; i++)
        assert_int_equal(t->dim[i], want[i]);
}

static void shapes(void **state) {
    (void)state;
    struct graph *g = graph_create("shapes");
    tensor *x = input(g, 4, 2, 8, 7, 3), *w = input(g, 4, 5, 3, 3, 3), *v = input(g, 1, 3, 0, 0, 0);
    tensor *f = input(g, 2, 4, 4, 0, 0), *m = input(g, 2, 6, 4, 0, 0);
    has_shape(add(g, v, x), 4, 2, 8, 7, 3);
    has_shape(conv2d(g, x, w, 1, 1, 1), 4, 2, 8, 7, 5);
    has_shape(conv2d(g, x, w, 2, 0, 1), 4, 2, 3, 4, 5);
    has_shape(conv2d_input_grad(g, conv2d(g, x, w, 2, 0, 1), w, 2, 0, 1, 8, 7), 4, 2, 8, 7, 3);
    has_shape(conv2d_weight_grad(g, x, conv2d(g, x, w, 1, 1, 1), 1, 1, 1, 3, 3), 4, 5, 3, 3, 3);
    has_shape(upfirdn2d(g, x, f, (struct upfirdn){2, 2, 1, 1, 2, 1, 2, 1, false, 1}), 4, 2, 16, 14, 3);
    has_shape(upfirdn2d(g, x, f, (struct upfirdn){1, 1, 2, 2, 1, 1, 1, 1, false, 1}), 4, 2, 4, 3, 3);
    has_shape(matmul(g, m, true, reshape(g, x, 2, 6, -1), false), 2, 4, 56, 0, 0);
    has_shape(sum_axes(g, x, 6), 4, 2, 1, 1, 3);
    has_shape(sum_all(g, x), 1, 1, 0, 0, 0);
    has_shape(pad_axis(g, x, 1, -2, 3), 4, 2, 9, 7, 3);
    has_shape(permute(g, x, (int[]){0, 3, 1, 2}), 4, 2, 3, 8, 7);
    has_shape(reflect_pad2d(g, x, 1, 2, 3, 4), 4, 2, 11, 14, 3);
    has_shape(concat(g, (tensor *[]){x, x, x, x, x, x, x, x, x, x}, 10, 3), 4, 2, 8, 7, 30);
    has_shape(maxpool2d(g, x, 3, 2, 0), 4, 2, 3, 3, 3);
    assert_ptr_equal(reshape(g, x, 4, 2, 8, 7, 3), x);
    assert_ptr_equal(cast(g, x, DT_F32), x);
    assert_false(add(g, x, v)->constant);
    assert_true(exp1(g, scalar(g, 1))->constant);
    graph_free(g);
}

/* ---- mistakes ---- */
static void bad_add(struct graph *g) { add(g, input(g, 2, 3, 4, 0, 0), input(g, 2, 3, 5, 0, 0)); }
static void bad_matmul(struct graph *g) { matmul(g, input(g, 2, 3, 4, 0, 0), false, input(g, 2, 5, 3, 0, 0), false); }
static void bad_conv(struct graph *g) { conv2d(g, input(g, 4, 1, 8, 8, 3), input(g, 4, 5, 3, 3, 4), 1, 1, 1); }
static void bad_grad_size(struct graph *g) {
    conv2d_input_grad(g, input(g, 4, 1, 4, 4, 5), input(g, 4, 5, 3, 3, 4), 2, 1, 1, 9, 9);
}
static void bad_reshape(struct graph *g) { reshape(g, input(g, 2, 3, 4, 0, 0), 2, 5, 2); }
static void bad_slice(struct graph *g) { slice(g, input(g, 2, 3, 4, 0, 0), 1, 2, 3); }
static void bad_window(struct graph *g) { graph_input(g, room, buffer_bytes(room) - 8, DT_F32, "w", 1, 3); }
static void bad_assign(struct graph *g) { assign(g, exp1(g, input(g, 1, 3, 0, 0, 0)), input(g, 1, 3, 0, 0, 0)); }
static void bad_loss(struct graph *g) {
    tensor *x = input(g, 1, 3, 0, 0, 0), *dx;
    graph_grad(g, square(g, x), &x, 1, &dx);
}
static void bad_wrt(struct graph *g) {
    tensor *x = input(g, 1, 3, 0, 0, 0), *y = graph_input(g, room, 256, DT_F32, "unused", 1, 3), *dx;
    graph_grad(g, sum_all(g, x), &y, 1, &dx);
}
static void bad_rule(struct graph *g) {
    tensor *x = input(g, 4, 1, 8, 8, 3), *dx;
    graph_grad(g, sum_all(g, maxpool2d(g, x, 2, 2, 0)), &x, 1, &dx);
}
static void bad_constant(struct graph *g) {
    tensor *x = input(g, 1, 3, 0, 0, 0);
    square(g, x);
    graph_mark_constant(x);
}

static void mistakes_abort(void **state) {
    (void)state;
    static const struct {
        void (*make)(struct graph *g);
        const char *says;
    } cases[] = {
        {bad_add, "x[3,4] F32 and x[3,5] F32"},
        {bad_matmul, "the inner sizes are 4 and 5"},
        {bad_conv, "x[1,8,8,3] F32 with x[5,3,3,4] F32"},
        {bad_grad_size, "to 9x9"},
        {bad_reshape, "x[3,4] F32 to [5,2]"},
        {bad_slice, "2..5 of axis 1"},
        {bad_window, "w[3] F32"},
        {bad_assign, "is not a window on a buffer"},
        {bad_loss, "must be one F32 number"},
        {bad_wrt, "did you pass the parameter itself"},
        {bad_rule, "maxpool2d"},
        {bad_constant, "before anything uses it"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int pipe_fd[2], status;
        char text[1024] = "";
        assert_int_equal(pipe(pipe_fd), 0);
        fflush(NULL);
        pid_t child = fork();
        if (!child) {
            signal(SIGABRT, SIG_DFL);
            dup2(pipe_fd[1], 2);
            cases[i].make(graph_create("mistake"));
            _exit(0);
        }
        close(pipe_fd[1]);
        size_t n = 0;
        for (ssize_t got; n < sizeof text - 1 && (got = read(pipe_fd[0], text + n, sizeof text - 1 - n)) > 0;)
            n += (size_t)got;
        close(pipe_fd[0]);
        waitpid(child, &status, 0);
        if (!WIFSIGNALED(status) || !strstr(text, cases[i].says))
            fail_msg("case %zu: expected an abort that says \"%s\", got: %s", i, cases[i].says, text);
    }
}

/* ---- kernels that move data ---- */
static float value(int64_t i) { return sinf((float)i * 0.7f); }

/* Runs y = build(x) for x of the given shape filled with value(i); out receives y. */
static void evaluate(tensor *(*build)(struct graph *g, tensor *x), int ndim, const int64_t *dim, float *out) {
    struct error e = {""};
    struct graph *g = graph_create("evaluate");
    int64_t n = 1;
    for (int i = 0; i < ndim; i++)
        n *= dim[i];
    float *x = malloc(sizeof *x * (size_t)n);
    for (int64_t i = 0; i < n; i++)
        x[i] = value(i);
    struct buffer *b = buffer_create(device, n * 4, "x");
    buffer_write(b, 0, x, n * 4);
    tensor *y = build(g, graph_input_shape(g, b, 0, DT_F32, "x", ndim, dim));
    struct buffer *o = buffer_create(device, tensor_count(y) * 4, "y");
    assign(g, graph_input_shape(g, o, 0, DT_F32, "y", y->ndim, y->dim), y);
    struct program *p;
    if (program_create(&p, g, device, &e) != ST_OK)
        fail_msg("%s", e.text);
    program_run(p);
    buffer_read(o, 0, out, tensor_count(y) * 4);
    program_free(p);
    graph_free(g);
    buffer_free(b);
    buffer_free(o);
    free(x);
}

static unsigned mask;
static tensor *b_sum(struct graph *g, tensor *x) { return sum_axes(g, x, mask); }

/* Every mask over shapes that reach every path: merged, narrow rows, one long run, many outputs. */
static void sums(void **state) {
    (void)state;
    static const int64_t dims[][4] = {{3, 4, 5, 6}, {2, 64, 33, 3}, {1, 1, 1, 100003}, {70, 3, 2, 40}, {5, 129, 1, 17}, {2, 150, 150, 4}};
    for (size_t k = 0; k < sizeof dims / sizeof *dims; k++)
        for (mask = 1; mask < 16; mask++) {
            const int64_t *d = dims[k];
            int64_t n = d[0] * d[1] * d[2] * d[3], od[4];
            float *got = calloc((size_t)n, sizeof *got);
            double *want = calloc((size_t)n, sizeof *want), *size = calloc((size_t)n, sizeof *size);
            for (int i = 0; i < 4; i++)
                od[i] = mask >> i & 1 ? 1 : d[i];
            evaluate(b_sum, 4, d, got);
            for (int64_t i = 0; i < n; i++) {
                int64_t rest = i, at = 0, stride = 1;
                for (int q = 3; q >= 0; q--) {
                    at += od[q] == 1 ? 0 : rest % d[q] * stride;
                    rest /= d[q];
                    stride *= od[q];
                }
                want[at] += (double)value(i);
                size[at] += fabs((double)value(i));
            }
            for (int64_t i = 0; i < od[0] * od[1] * od[2] * od[3]; i++)
                if (fabs((double)got[i] - want[i]) > 1e-7 * size[i] + 1e-7 * fabs(want[i]))
                    fail_msg("sum of shape %zu, mask %#x, output %ld: %.9g, not %.9g", k, mask, (long)i, (double)got[i], want[i]);
            free(got);
            free(want);
            free(size);
        }
}

static int order[4];
static tensor *b_permute(struct graph *g, tensor *x) { return permute(g, x, order); }

static void permutations(void **state) {
    (void)state;
    const int64_t d[4] = {3, 40, 37, 2};
    static float got[3 * 40 * 37 * 2];
    for (int code = 0; code < 256; code++) {
        unsigned seen = 0;
        for (int i = 0; i < 4; i++)
            seen |= 1u << (order[i] = code >> 2 * i & 3);
        if (seen != 15)
            continue;
        evaluate(b_permute, 4, d, got);
        const int64_t stride[4] = {d[1] * d[2] * d[3], d[2] * d[3], d[3], 1};
        int64_t o = 0;
        for (int64_t a = 0; a < d[order[0]]; a++)
            for (int64_t b = 0; b < d[order[1]]; b++)
                for (int64_t c = 0; c < d[order[2]]; c++)
                    for (int64_t e = 0; e < d[order[3]]; e++, o++)
                        assert_true(got[o] == value(a * stride[order[0]] + b * stride[order[1]] + c * stride[order[2]] + e * stride[order[3]]));
    }
}

static tensor *b_shuffle(struct graph *g, tensor *x) { /* columns 4,5 | two zero columns | columns 0..2 | one zero */
    return concat(g, (tensor *[]){slice(g, x, 1, 4, 2), pad_axis(g, slice(g, x, 1, 0, 3), 1, 2, 1)}, 2, 1);
}

static void slices_pads_concats(void **state) {
    (void)state;
    float got[3 * 8 * 2];
    evaluate(b_shuffle, 3, (int64_t[]){3, 6, 2}, got);
    static const int from[8] = {4, 5, -1, -1, 0, 1, 2, -1};
    for (int n = 0; n < 3; n++)
        for (int k = 0; k < 8; k++)
            for (int c = 0; c < 2; c++)
                assert_true(got[(n * 8 + k) * 2 + c] == (from[k] < 0 ? 0 : value((n * 6 + from[k]) * 2 + c)));
}

static int open_device(void **state) {
    struct error e;
    (void)state;
    if (device_open(&device, "cpu", 2, &e) != ST_OK)
        return -1;
    room = buffer_create(device, 1 << 20, "room");
    return 0;
}

static int close_device(void **state) {
    (void)state;
    buffer_free(room);
    device_close(device);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(shapes), cmocka_unit_test(mistakes_abort), cmocka_unit_test(sums),
                                       cmocka_unit_test(permutations), cmocka_unit_test(slices_pads_concats)};
    return cmocka_run_group_tests(tests, open_device, close_device);
}
