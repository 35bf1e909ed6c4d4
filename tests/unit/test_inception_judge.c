/* test_inception_judge.c - pools with derivatives are the pools they stand for, and their derivatives are theirs. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/metrics/inception_internal.h"
#include "common/rng/philox.h"

#define N 2
#define H 9
#define W 12
#define C 5
#define IN (N * H * W * C)

static struct device *device;

struct pools {
    struct buffer *in, *out, *buffers[INCEPTION_MAX_BUFFERS];
    int n_buffers, n_max, n_avg;
    struct program *program;
};

/* out: soft maximum, maximum, soft mean, mean, gradient of sum(soft max * r + soft mean * r) for random r. */
static void create(struct pools *p) {
    struct error e;
    *p = (struct pools){.in = buffer_create(device, IN * 4, "in"), .out = buffer_create(device, 5 * IN * 4, "out")};
    struct graph *g = graph_create("pools");
    struct inception__builder b = {.device = device, .g = g, .buffers = p->buffers, .n_buffers = &p->n_buffers};
    tensor *x = graph_input(g, p->in, 0, DT_F32, "x", 4, N, H, W, C), *grad;
    tensor *y[4] = {inception__soft_maxpool(&b, x), maxpool2d(g, x, 3, 2, 0), inception__soft_avgpool(&b, x), avgpool2d(g, x, 3, 1, 1)};
    p->n_max = (int)tensor_count(y[0]);
    p->n_avg = (int)tensor_count(y[2]);
    for (int i = 0; i < 4; i++)
        assign(g, graph_input_shape(g, p->out, i * IN * 4, DT_F32, NULL, 4, y[i]->dim), y[i]);
    tensor *loss = add(g, sum_all(g, mul(g, y[0], scale(g, square(g, y[0]), 0.3f, 1))), sum_all(g, square(g, y[2])));
    graph_grad(g, loss, &x, 1, &grad);
    assign(g, graph_input(g, p->out, 4 * IN * 4, DT_F32, NULL, 4, N, H, W, C), grad);
    if (program_create(&p->program, g, device, &e))
        fail_msg("%s", e.text);
    graph_free(g);
}

static double loss_of(const float *out, const struct pools *p) {
    double sum = 0;
    for (int i = 0; i < p->n_max; i++)
        sum += (double)out[i] * (0.3 * (double)out[i] * (double)out[i] + 1);
    for (int i = 0; i < p->n_avg; i++)
        sum += (double)out[2 * IN + i] * (double)out[2 * IN + i];
    return sum;
}

static void test_pools(void **unused) {
    (void)unused;
    struct pools p;
    static float x[IN], d[IN], moved[IN], out[5 * IN];
    create(&p);
    philox_fill_normal(1, 0, 0, x, IN);
    philox_fill_normal(2, 0, 0, d, IN);
    buffer_write(p.in, 0, x, sizeof x);
    program_run(p.program);
    buffer_read(p.out, 0, out, sizeof out);
    assert_int_equal(p.n_max, N * 4 * 5 * C);
    assert_int_equal(p.n_avg, IN);
    for (int i = 0; i < p.n_max; i++) /* max(a,b) is a + relu(b - a), which rounds */
        assert_true(fabsf(out[i] - out[IN + i]) < 1e-6f);
    for (int i = 0; i < p.n_avg; i++)
        assert_true(fabsf(out[2 * IN + i] - out[3 * IN + i]) < 1e-6f);
    double along = 0, difference = 0;
    for (int i = 0; i < IN; i++)
        along += (double)out[4 * IN + i] * (double)d[i];
    for (int side = -1; side <= 1; side += 2) {
        const float h = 1e-3f;
        for (int i = 0; i < IN; i++)
            moved[i] = x[i] + (float)side * h * d[i];
        buffer_write(p.in, 0, moved, sizeof moved);
        program_run(p.program);
        buffer_read(p.out, 0, out, sizeof out);
        difference += side * loss_of(out, &p) / (2 * (double)h);
    }
    if (!(fabs(along - difference) < 5e-3 * fabs(difference)))
        fail_msg("derivative %.7g, finite differences say %.7g", along, difference);
    program_free(p.program);
    buffer_free(p.in);
    buffer_free(p.out);
    for (int i = 0; i < p.n_buffers; i++)
        buffer_free(p.buffers[i]);
}

static int open_device(void **unused) {
    struct error e;
    (void)unused;
    return device_open(&device, "cpu", 2, &e) == ST_OK ? 0 : -1;
}

static int close_device(void **unused) {
    (void)unused;
    device_close(device);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pools)};
    return cmocka_run_group_tests(tests, open_device, close_device);
}
