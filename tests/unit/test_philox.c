/* test_philox.c - Philox4x32-10 against the known answers published with Random123 (Salmon et al. 2011), and the distributions. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/rng/philox.h"

static void known_answers(void **state) {
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], want[4];
    } cases[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const uint32_t *c = cases[i].counter, *k = cases[i].key;
        uint32_t out[4];
        philox4x32((uint64_t)k[1] << 32 | k[0], (uint64_t)c[3] << 32 | c[2], c[1], c[0], out);
        assert_memory_equal(out, cases[i].want, sizeof out);
    }
}

static void unit_interval(void **state) {
    (void)state;
    assert_true(philox_unit(0) > 0);
    assert_true(philox_unit(0xffffffff) < 1);
    assert_true(philox_unit(0x80000000) > 0.5f && philox_unit(0x7fffffff) < 0.5f);
}

/* A run of n numbers is a prefix of a longer run: lengths that are no multiple of four included. */
static void prefixes(void **state) {
    (void)state;
    float all[64], some[64];
    philox_fill_normal(7, 1ull << 40, 3, all, 64);
    for (int n = 0; n <= 64; n++) {
        for (int i = 0; i < 64; i++)
            some[i] = -99;
        philox_fill_normal(7, 1ull << 40, 3, some, n);
        assert_memory_equal(all, some, sizeof *all * (size_t)n);
        for (int i = n; i < 64; i++)
            assert_true(some[i] == -99);
    }
}

static void box_muller(void **state) {
    (void)state;
    uint32_t bits[4];
    float got[4];
    philox4x32(11, 22, 33, 0, bits);
    philox_fill_normal(11, 22, 33, got, 4);
    for (int k = 0; k < 4; k += 2) {
        double r = sqrt(-2 * log(philox_unit(bits[k]))), a = 2 * M_PI * philox_unit(bits[k + 1]);
        assert_true(fabs(got[k] - r * cos(a)) < 1e-6 && fabs(got[k + 1] - r * sin(a)) < 1e-6);
    }
}

static void moments(void **state) {
    (void)state;
    enum { N = 400000 };
    float *x = malloc(sizeof *x * N);
    double m1 = 0, m2 = 0, m4 = 0;
    philox_fill_normal(1, 2, 3, x, N);
    for (int i = 0; i < N; i++)
        m1 += x[i], m2 += x[i] * x[i], m4 += pow(x[i], 4);
    assert_true(fabs(m1 / N) < 0.006 && fabs(m2 / N - 1) < 0.01 && fabs(m4 / N - 3) < 0.06);
    philox_fill_uniform(1, 2, 4, x, N);
    m1 = m2 = 0;
    for (int i = 0; i < N; i++)
        m1 += x[i] - 0.5, m2 += (x[i] - 0.5) * (x[i] - 0.5);
    assert_true(fabs(m1 / N) < 0.002 && fabs(m2 / N - 1.0 / 12) < 0.001);
    free(x);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(known_answers), cmocka_unit_test(unit_interval), cmocka_unit_test(prefixes),
                                       cmocka_unit_test(box_muller), cmocka_unit_test(moments)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
