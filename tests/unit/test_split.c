/* test_split.c - float32 convolutions as three products of TF32 halves (kernels/conv_split.h): the halves hold 11 bits each and give
 * back the number, and all three convolutions of operands laid side by side are those of the operands themselves, far within the 1e-4
 * that the project promises. What tensor cores do when adding up is not seen here; tests/bench/bench_launches compares on a GPU.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/mem.h"
#include "kernels/conv2d.h"
#include "kernels/conv2d_input_grad.h"
#include "kernels/conv2d_weight_grad.h"
#include "kernels/conv_split.h"
#include "kernels/cpu.h"

static uint64_t seed = 7;
static float uniform(void) /* -1..1, 24 bits */
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (float)((int64_t)(seed >> 40) - (1 << 23)) / (float)(1 << 23);
}

static void test_halves(void **state)
{
    (void)state;
    double worst = 0, worst_product = 0;
    for (int i = 0; i < 1000000; i++) {
        float x = ldexpf(uniform(), i % 200 - 100), w = uniform(), h[2], l[2];
        split_two(x, &h[0], &l[0]);
        split_two(w, &h[1], &l[1]);
        for (int k = 0; k < 2; k++) {
            uint32_t bits[2];
            memcpy(&bits[0], &h[k], 4);
            memcpy(&bits[1], &l[k], 4);
            assert_int_equal((bits[0] | bits[1]) & 0x1fff, 0); /* TF32 holds them: nothing is rounded on the way in */
        }
        double r = fabs((double)x - h[0] - l[0]), product = (double)x * w;
        double three = (double)h[0] * h[1] + (double)h[0] * l[1] + (double)l[0] * h[1];
        worst = fmax(worst, x != 0 ? r / fabs(x) : 0);
        worst_product = fmax(worst_product, product != 0 ? fabs(three - product) / fabs(product) : 0);
    }
    assert_true(worst <= ldexp(1, -23));
    assert_true(worst_product <= ldexp(1, -21));
    assert_true(worst_product > ldexp(1, -24)); /* the low parts are not exact either: both bounds are near */
    static const float exact[] = {0, -0.0f, 1, -3, 1025, 0x1p-100f};
    for (size_t i = 0; i < sizeof exact / sizeof *exact; i++) {
        float h, l;
        split_two(exact[i], &h, &l);
        assert_true(h == exact[i] && l == 0);
    }
    float h, l;
    split_two(1 + 0x1p-11f, &h, &l); /* a tie goes to even */
    assert_true(h == 1 && l == 0x1p-11f);
}

static struct operand make(int64_t a, int64_t b, int64_t c, int64_t d)
{
    struct operand o = {NULL, DT_F32, 4, {a, b, c, d}};
    int64_t n = a * b * c * d;
    float *p = aligned_alloc(256, (size_t)((n * 4 + 255) / 256 * 256));
    for (int64_t i = 0; i < n; i++)
        p[i] = uniform();
    o.data = p;
    return o;
}

/* What kernels/conv_f32.cu makes: rows of `part` values, each followed by its two other parts. */
static struct operand side_by_side(const struct operand *o, int along, enum split_order order)
{
    int64_t n = o->dim[0] * o->dim[1] * o->dim[2] * o->dim[3], part = along == 3 ? o->dim[3] : n;
    struct operand s = make(o->dim[0] * (along == 0 ? 3 : 1), o->dim[1], o->dim[2], o->dim[3] * (along == 3 ? 3 : 1));
    for (int64_t i = 0; i < n; i++) {
        float high, low, *to = (float *)s.data + i / part * part * 3 + i % part;
        split_two(((const float *)o->data)[i], &high, &low);
        for (int k = 0; k < 3; k++)
            to[k * part] = k == split_low(order) ? low : high;
    }
    return s;
}

static void run(const struct kernel *k, const struct operand *a, const struct operand *b, struct operand *out, const int64_t i[5])
{
    struct kernel_call c = {.n_in = 2, .n_out = 1, .in = {*a, *b}, .out = {*out}};
    struct cpu_context cpu = {.threads = 2};
    struct error e;
    memcpy(c.a.i, i, 5 * sizeof *i);
    if (k->prepare)
        assert_int_equal(k->prepare(&cpu, &c, &e), ST_OK);
    c.workspace = aligned_alloc(256, (size_t)(c.workspace_bytes / 256 * 256 + 256));
    k->run(&cpu, &c);
    free(c.workspace);
    if (k->release)
        k->release(&cpu, &c);
}

static void test_convolutions(void **state)
{
    (void)state;
    static const struct {
        int64_t N, H, W, C, K, R, stride, pad;
    } cases[] = {{2, 9, 8, 16, 24, 3, 1, 1}, {3, 9, 9, 12, 20, 3, 2, 0}, {2, 6, 7, 8, 4, 1, 1, 0}, {2, 4, 4, 512, 512, 3, 1, 1}};
    for (size_t t = 0; t < sizeof cases / sizeof *cases; t++)
        for (int kind = 0; kind < 3; kind++) {
            int64_t N = cases[t].N, H = cases[t].H, W = cases[t].W, C = cases[t].C, K = cases[t].K, R = cases[t].R;
            int64_t stride = cases[t].stride, pad = cases[t].pad, P = (H + 2 * pad - R) / stride + 1, Q = (W + 2 * pad - R) / stride + 1;
            struct operand x = make(N, H, W, C), w = make(K, R, R, C), y = make(N, P, Q, K);
            const struct kernel *k = kind == 0 ? &kernel_conv2d_cpu : kind == 1 ? &kernel_conv2d_input_grad_cpu : &kernel_conv2d_weight_grad_cpu;
            struct operand *a = kind == 1 ? &y : &x, *b = kind == 2 ? &y : &w, *model = kind == 0 ? &y : kind == 1 ? &x : &w;
            const int64_t attributes[5] = {stride, pad, pad, kind == 2 ? R : H, kind == 2 ? R : W};
            struct operand sa = side_by_side(a, kind == 2 ? 0 : 3, SPLIT_HLH), sb = side_by_side(b, kind == 0 ? 3 : 0, SPLIT_LHH);
            struct operand want = make(model->dim[0], model->dim[1], model->dim[2], model->dim[3]);
            struct operand got = make(model->dim[0], model->dim[1], model->dim[2], model->dim[3]);
            run(k, a, b, &want, attributes);
            run(k, &sa, &sb, &got, attributes);
            double difference = 0, size = 0;
            for (int64_t i = 0; i < model->dim[0] * model->dim[1] * model->dim[2] * model->dim[3]; i++) {
                difference = fmax(difference, fabs((double)((float *)got.data)[i] - ((float *)want.data)[i]));
                size = fmax(size, fabs(((float *)want.data)[i]));
            }
            if (!(difference <= 2e-6 * size))
                fail_msg("case %zu, kind %d: %g of %g", t, kind, difference, size);
            struct operand *all[] = {&x, &w, &y, &sa, &sb, &want, &got};
            for (size_t i = 0; i < sizeof all / sizeof *all; i++)
                free(all[i]->data);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_halves), cmocka_unit_test(test_convolutions)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
