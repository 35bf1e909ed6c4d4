/* test_numpy_rng.c - RandomState's numbers, taken from NumPy 1.24.
 *
 * As a tool for the program tests: test_numpy_rng SEED N >float32
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/rng/numpy_rng.h"

static void first_numbers(void **state) {
    (void)state;
    static const struct {
        uint32_t seed;
        double want[3];
    } cases[] = {
        {0u, {1.764052345967664, 0.4001572083672233, 0.9787379841057392}},
        {1u, {1.6243453636632417, -0.6117564136500754, -0.5281717522634557}},
        {85u, {0.1768507210788626, 2.3777541249700573, 0.998732857053734}},
        {12345u, {-0.20470765948471295, 0.47894333805754824, -0.5194387150567381}},
        {2147483648u, {0.3184761273282464, -0.34575349241475667, 0.2255674496017024}},
        {4294967295u, {0.6484086742306527, 0.6693235306338161, -1.0805437227474493}}
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct numpy_rng r;
        numpy_rng_seed(&r, cases[i].seed);
        for (int k = 0; k < 3; k++)
            assert_true(numpy_rng_gauss(&r) == cases[i].want[k]);
    }
}

/* 100,001 numbers: the generator's state has been renewed some 400 times. */
static void long_run(void **state) {
    (void)state;
    struct numpy_rng r;
    numpy_rng_seed(&r, 85);
    double v = 0;
    for (int i = 0; i < 100001; i++)
        v = numpy_rng_gauss(&r);
    assert_true(v == 0.3050674665994612);
}

static void uniform(void **state) {
    (void)state;
    struct numpy_rng r;
    numpy_rng_seed(&r, 4294967295u);
    assert_true(numpy_rng_double(&r) == 0.0976320289940138);
    assert_true(numpy_rng_double(&r) == 0.9123828453026218);
}

static void float32_rows(void **state) {
    (void)state;
    float out[512];
    numpy_randn(0, out, 512);
    assert_true(out[0] == 1.76405239f && out[1] == 0.400157213f && out[2] == 0.97873801f);
    assert_true(out[511] == 1.37496412f);
}

static int write_randn(uint32_t seed, int64_t n) {
    float *out = malloc((size_t)n * sizeof *out);
    numpy_randn(seed, out, n);
    size_t written = fwrite(out, sizeof *out, (size_t)n, stdout);
    free(out);
    return written == (size_t)n ? 0 : 1;
}

int main(int argc, char **argv) {
    if (argc > 2)
        return write_randn((uint32_t)strtoul(argv[1], NULL, 10), atol(argv[2]));
    const struct CMUnitTest tests[] = {cmocka_unit_test(first_numbers), cmocka_unit_test(long_run), cmocka_unit_test(uniform),
                                       cmocka_unit_test(float32_rows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
