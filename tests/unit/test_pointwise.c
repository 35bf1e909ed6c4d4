/* test_pointwise.c - what planned programs compute on the CPU: formulas against libm, broadcasts over blocks, Adam and lerp, random
 * numbers by rows; and the same bits whatever the number of threads. What the planner makes of graphs, test_plan.c tests.
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

static struct device *device;
static struct buffer *in, *out; /* 1 MB each */

static void output(struct graph *g, int64_t offset, tensor *t) {
    assign(g, graph_input_shape(g, out, offset * 4, t->dtype, "out", t->ndim, t->dim), t);
}

/* The same bits whatever the number of threads, on tensors large enough to be cut. */
static void threads_do_not_matter(void **state) {
    (void)state;
    enum { N = 2 * 64 * 64 * 24 };
    static float first[N + 4096], got[N + 4096];
    for (int threads = 1; threads <= 4; threads++) {
        struct error e = {""};
        struct device *d;
        assert_int_equal(device_open(&d, "cpu", threads, &e), ST_OK);
        struct buffer *b = buffer_create(d, (N + 4096) * 4, "b"), *key = buffer_create(d, 16, "key");
        buffer_write(key, 0, (uint64_t[]){3, 1000}, 16);
        struct graph *g = graph_create("threads");
        tensor *k = graph_input(g, key, 0, DT_U64, "key", 1, 2);
        tensor *x = random_normal(g, k, 9, 4, (int64_t[]){2, 64, 64, 24});
        tensor *y = softplus(g, mul(g, x, sum_axes(g, x, 6)));
        assign(g, graph_input(g, b, 0, DT_F32, "y", 4, 2, 64, 64, 24), y);
        assign(g, graph_input(g, b, N * 4, DT_F32, "s", 4, 1, 1, 1, 24), sum_axes(g, y, 7));
        assign(g, graph_input(g, b, (N + 64) * 4, DT_F32, "t", 1, 1), sum_all(g, y));
        assign(g, graph_input(g, b, (N + 128) * 4, DT_F32, "u", 4, 2, 1, 64, 1), sum_axes(g, y, 10));
        struct program *p;
        assert_int_equal(program_create(&p, g, d, &e), ST_OK);
        program_run(p);
        buffer_read(b, 0, threads == 1 ? first : got, sizeof got);
        if (threads > 1)
            assert_memory_equal(first, got, sizeof got);
        program_free(p);
        graph_free(g);
        buffer_free(b);
        buffer_free(key);
        device_close(d);
    }
}

/* ---- pointwise formulas against libm, over wide ranges ---- */
static void pointwise_accuracy(void **state) {
    (void)state;
    enum { N = 40000 };
    static float x[N], got[N];
    struct graph *g = graph_create("accuracy");
    struct error e = {""};
    tensor *t = graph_input(g, in, 0, DT_F32, "x", 1, N);
    tensor *y[] = {exp1(g, t), log1(g, t), softplus(g, t), sigmoid(g, t), tanh1(g, t), rsqrt1(g, t), sanitize(g, t, 100), nonfinite(g, t)};
    struct buffer *b = buffer_create(device, 8 * N * 4, "y");
    for (int i = 0; i < 8; i++)
        assign(g, graph_input(g, b, i * N * 4, DT_F32, "y", 1, N), y[i]);
    struct program *p;
    assert_int_equal(program_create(&p, g, device, &e), ST_OK);
    graph_free(g);
    for (int i = 0; i < N; i++) {
        uint32_t bits[4];
        philox4x32(6, (uint64_t)i, 0, 0, bits);
        x[i] = (bits[1] & 1 ? 1.0f : -1.0f) * expf(24 * philox_unit(bits[0]) - 18); /* 1e-8 .. 400 both signs */
    }
    const float special[] = {0, -0.0f, 1, -1, 88.7f, 88.8f, -87, -100, -104, -110, INFINITY, -INFINITY, NAN, 1e-40f, 3e38f};
    memcpy(x, special, sizeof special);
    buffer_write(in, 0, x, sizeof x);
    program_run(p);
    double worst[6] = {0};
    for (int f = 0; f < 8; f++) {
        buffer_read(b, f * N * 4, got, sizeof got);
        for (int i = 0; i < N; i++) {
            double v = (double)x[i], w = f == 0 ? exp(v) : f == 1 ? log(v) : f == 2 ? (v > 30 ? v : log1p(exp(v)))
                     : f == 3 ? 1 / (1 + exp(-v)) : f == 4 ? tanh(v) : f == 5 ? 1 / sqrt(v)
                     : f == 6 ? (isnan(v) ? 0 : isinf(v) ? (v < 0 ? -100 : 100) : v) : !isfinite(v);
            float want = (float)w;
            if (isnan(want) ? isnan(got[i]) : want == got[i])
                continue;
            if (f >= 6 || isnan(want) || isinf(want) || isnan(got[i]) || isinf(got[i]))
                fail_msg("function %d of %g: %g, not %g", f, v, (double)got[i], w);
            double error = fabs((double)got[i] - w) / fmax(fabs(w), 1.2e-38);
            if (error > worst[f])
                worst[f] = error;
        }
    }
    for (int f = 0; f < 6; f++)
        if (worst[f] > 5e-7)
            fail_msg("function %d: relative error %.2g", f, worst[f]);
    program_free(p);
    buffer_free(b);
}

/* Broadcasts of every kind over several blocks, rows and images, against plain loops. */
static void broadcasts_over_blocks(void **state) {
    (void)state;
    static const int64_t sizes[][4] = {{2, 33, 31, 40}, {5, 17, 19, 3}, {40, 3, 3, 7}, {2, 5, 1, 3000}, {3, 1, 2049, 1}};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        const int64_t *d = sizes[k], n = d[0] * d[1] * d[2] * d[3], small = 65536;
        struct error e = {""};
        struct buffer *b = buffer_create(device, 2 * n * 4, "b"), *s = buffer_create(device, 5 * small * 4, "s");
        float *x = malloc((size_t)n * 4), *v = malloc((size_t)small * 5 * 4);
        for (int64_t i = 0; i < n; i++)
            x[i] = sinf((float)i);
        for (int64_t i = 0; i < 5 * small; i++)
            v[i] = cosf(0.37f * (float)i);
        buffer_write(b, 0, x, n * 4);
        buffer_write(s, 0, v, 5 * small * 4);
        struct graph *g = graph_create("broadcasts");
        tensor *t = graph_input_shape(g, b, 0, DT_F32, "x", 4, d);
        t = mul(g, t, graph_input_shape(g, s, 0, DT_F32, "nc", 4, (int64_t[]){d[0], 1, 1, d[3]}));
        t = add(g, t, graph_input_shape(g, s, small * 4, DT_F32, "nhw", 4, (int64_t[]){d[0], d[1], d[2], 1}));
        t = add(g, t, graph_input_shape(g, s, 2 * small * 4, DT_F32, "c", 1, &d[3]));
        t = mul(g, t, graph_input_shape(g, s, 3 * small * 4, DT_F32, "hc", 4, (int64_t[]){1, d[1], 1, d[3]}));
        t = add(g, t, graph_input(g, s, 4 * small * 4, DT_F32, "one", 1, 1));
        assign(g, graph_input_shape(g, b, n * 4, DT_F32, "y", 4, d), t);
        struct program *p;
        assert_int_equal(program_create(&p, g, device, &e), ST_OK);
        assert_int_equal(program_get_info(p).launches, 1);
        graph_free(g);
        program_run(p);
        float *y = malloc((size_t)n * 4);
        buffer_read(b, n * 4, y, n * 4);
        int64_t i = 0;
        for (int64_t a = 0; a < d[0]; a++)
            for (int64_t h = 0; h < d[1]; h++)
                for (int64_t w = 0; w < d[2]; w++)
                    for (int64_t c = 0; c < d[3]; c++, i++) {
                        float want = x[i] * v[a * d[3] + c] + v[small + (a * d[1] + h) * d[2] + w] + v[2 * small + c];
                        want = want * v[3 * small + h * d[3] + c] + v[4 * small];
                        if (!(fabsf(y[i] - want) < 1e-5f))
                            fail_msg("size %zu, element %ld: %g, not %g", k, (long)i, (double)y[i], (double)want);
                    }
        program_free(p);
        buffer_free(b);
        buffer_free(s);
        free(x), free(v), free(y);
    }
}

/* ---- effects ---- */
static void adam_and_lerp(void **state) {
    (void)state;
    enum { N = 1000 };
    struct error e = {""};
    struct graph *g = graph_create("adam");
    struct buffer *b = buffer_create(device, 8 * 4096, "b");
    tensor *t[5];
    for (int i = 0; i < 4; i++)
        t[i] = graph_input(g, b, 4096 * i, DT_F32, "t", 1, N);
    t[4] = graph_input(g, b, 4096 * 4, DT_F32, "hyper", 1, 6);
    tensor *ema = graph_input(g, b, 4096 * 5, DT_F32, "ema", 1, N), *beta = graph_input(g, b, 4096 * 6, DT_F32, "beta", 1, 1);
    adam(g, t[0], sanitize(g, scale(g, t[1], 2, 0), 3), t[2], t[3], t[4]); /* by Adam itself: no pass of its own */
    lerp(g, ema, t[0], beta);
    struct program *q;
    struct plan *plan = plan_create(g, NULL);
    assert_int_equal(plan->n_unit, 2);
    plan_free(plan);
    assert_int_equal(program_create(&q, g, device, &e), ST_OK);
    graph_free(g);
    float p[N], gr[N], got[N], beta_value = 0.9f;
    double m[N] = {0}, v[N] = {0}, w[N], average[N];
    for (int i = 0; i < N; i++) {
        p[i] = sinf((float)i);
        gr[i] = cosf(3 * (float)i);
        w[i] = (double)p[i];
        average[i] = 0;
    }
    buffer_write(b, 0, p, sizeof p);
    gr[3] = NAN, gr[4] = INFINITY, gr[5] = -INFINITY, gr[6] = 2e38f; /* twice that is infinite */
    buffer_write(b, 4096, gr, sizeof gr);
    for (int i = 0; i < N; i++)
        gr[i] = i == 3 ? 0 : i == 4 || i == 6 ? 3 : i == 5 ? -3 : 2 * gr[i];
    buffer_write(b, 4096 * 6, &beta_value, 4);
    for (int step_nr = 1; step_nr <= 3; step_nr++) {
        float h[6] = {0.01f, 0.5f, 0.99f, 1e-8f, 1 - powf(0.5f, (float)step_nr), 1 - powf(0.99f, (float)step_nr)};
        buffer_write(b, 4096 * 4, h, sizeof h);
        program_run(q);
        for (int i = 0; i < N; i++) {
            m[i] = 0.5 * m[i] + 0.5 * (double)gr[i];
            v[i] = 0.99 * v[i] + 0.01 * (double)gr[i] * (double)gr[i];
            w[i] -= 0.01 * (m[i] / (double)h[4]) / (sqrt(v[i] / (double)h[5]) + 1e-8);
            average[i] = w[i] + 0.9 * (average[i] - w[i]);
        }
    }
    buffer_read(b, 0, got, sizeof got);
    for (int i = 0; i < N; i++)
        assert_true(fabs((double)got[i] - w[i]) < 2e-6);
    buffer_read(b, 4096 * 5, got, sizeof got);
    for (int i = 0; i < N; i++)
        assert_true(fabs((double)got[i] - average[i]) < 2e-6);
    program_free(q);
    buffer_free(b);
}

/* Rows are streams of their own: a batch of 4 from index 10 is two batches of 2, from 10 and from 12. */
static void random_rows(void **state) {
    (void)state;
    float all[4 * 15], half[2 * 15], want[15];
    for (int n = 4; n >= 2; n -= 2)
        for (uint64_t first = 10; first <= (n == 4 ? 10u : 12u); first += 2) {
            struct error e = {""};
            struct graph *g = graph_create("rows");
            buffer_write(in, 0, (uint64_t[]){99, first}, 16);
            tensor *key = graph_input(g, in, 0, DT_U64, "key", 1, 2);
            output(g, 0, random_normal(g, key, 5, 3, (int64_t[]){n, 3, 5}));
            struct program *p;
            assert_int_equal(program_create(&p, g, device, &e), ST_OK);
            graph_free(g);
            program_run(p);
            buffer_read(out, 0, n == 4 ? all : half, n * 15 * 4);
            if (n == 2)
                assert_memory_equal(half, all + (first - 10) * 15, sizeof half);
            program_free(p);
        }
    philox_fill_normal(99, 13, 5, want, 15);
    assert_memory_equal(want, all + 45, sizeof want);
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
        cmocka_unit_test(threads_do_not_matter), cmocka_unit_test(pointwise_accuracy), cmocka_unit_test(broadcasts_over_blocks),
        cmocka_unit_test(adam_and_lerp),         cmocka_unit_test(random_rows),
    };
    return cmocka_run_group_tests(tests, open_device, close_device);
}
