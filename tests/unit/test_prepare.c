/* test_prepare.c - the resizing rules before a network. As a tool, for comparison with PIL and NumPy in fid-features.bats:
 *
 *     test_prepare RULE SIDE < picture > float32 [SIDE,SIDE,3]     RULE: number of enum resize_rule */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/mem.h"
#include "common/metrics/prepare.h"

static struct image noise(int width, int height, unsigned seed) {
    struct image im;
    image_alloc(&im, width, height, 3);
    for (int i = 0; i < width * height * 3; i++)
        im.data[i] = (uint8_t)((seed = seed * 1664525u + 1013904223u) >> 24);
    return im;
}

/* The dense matrices of the two axes give what prepare_picture gives, and so do floats; up, down, and not square. */
static void ways_agree(void **state) {
    (void)state;
    static const int sizes[][2] = {{7, 5}, {40, 16}, {16, 33}, {1, 1}, {24, 24}};
    for (int rule = RESIZE_TF1; rule <= RESIZE_TRIANGLE; rule++)
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
            enum { SIDE = 24 };
            int w = sizes[k][0], h = sizes[k][1];
            struct prepare p = {.rule = (enum resize_rule)rule, .side = SIDE, .scale = 1 / 127.5f, .offset = -1};
            struct image im = noise(w, h, (unsigned)(rule * 10 + w));
            float got[SIDE * SIDE * 3], floats[SIDE * SIDE * 3], *wide = xmalloc((size_t)w * h * 3 * sizeof *wide);
            for (int i = 0; i < w * h * 3; i++)
                wide[i] = im.data[i];
            prepare_picture(&p, &im, got);
            prepare_float(&p, wide, w, h, floats);
            struct prepare_axis x, y;
            prepare_axis(&x, w, 0, w, SIDE, p.rule);
            prepare_axis(&y, h, 0, h, SIDE, p.rule);
            float *across = xmalloc((size_t)w * 3 * SIDE * 3 * sizeof *across), *down = xmalloc((size_t)h * SIDE * sizeof *down);
            prepare_matrix(&x, 3, across);
            prepare_matrix(&y, 1, down);
            for (int v = 0; v < SIDE; v++)
                for (int u = 0; u < SIDE * 3; u++) {
                    double sum = 0;
                    for (int r = 0; r < h; r++)
                        for (int c = 0; c < w * 3; c++)
                            sum += (double)down[r * SIDE + v] * wide[r * w * 3 + c] * across[c * SIDE * 3 + u];
                    sum = sum * p.scale + p.offset;
                    assert_true(fabs(sum - got[v * SIDE * 3 + u]) < 1e-5);
                    assert_true(fabs(sum - floats[v * SIDE * 3 + u]) < 1e-5);
                }
            prepare_axis_free(&x);
            prepare_axis_free(&y);
            free(across);
            free(down);
            free(wide);
            image_free(&im);
        }
}

/* Weights of every target sum to 1, inside the source: a grey picture stays as it is. */
static void grey_stays_grey(void **state) {
    (void)state;
    for (int rule = RESIZE_TF1; rule <= RESIZE_TRIANGLE; rule++)
        for (int in = 1; in < 700; in += 37) {
            struct prepare_axis a;
            prepare_axis(&a, in, 0, in, 299, (enum resize_rule)rule);
            for (int i = 0; i < 299; i++) {
                double sum = 0;
                assert_true(a.first[i] >= 0 && a.n[i] >= 1 && a.first[i] + a.n[i] <= in && a.n[i] <= a.most);
                for (int k = 0; k < a.n[i]; k++)
                    sum += a.weight[i * a.most + k];
                assert_true(fabs(sum - 1) < 1e-5);
            }
            prepare_axis_free(&a);
        }
}

static int tool(char **argv) {
    struct bytes file = {0};
    struct image im;
    struct error e;
    uint8_t block[4096];
    for (size_t n; (n = fread(block, 1, sizeof block, stdin)) > 0;)
        bytes_append(&file, block, n);
    struct prepare p = {.rule = (enum resize_rule)atoi(argv[1]), .side = atoi(argv[2]), .scale = 1, .offset = 0};
    if (image_decode(file.data, file.size, 3, &im, &e) != ST_OK) {
        fprintf(stderr, "test_prepare: %s\n", e.text);
        return 1;
    }
    size_t n = (size_t)p.side * p.side * 3;
    float *out = xmalloc(n * sizeof *out);
    prepare_picture(&p, &im, out);
    int code = fwrite(out, sizeof *out, n, stdout) == n && fflush(stdout) == 0 ? 0 : 1;
    free(out);
    image_free(&im);
    bytes_free(&file);
    return code;
}

int main(int argc, char **argv) {
    if (argc == 3)
        return tool(argv);
    const struct CMUnitTest tests[] = {cmocka_unit_test(ways_agree), cmocka_unit_test(grey_stays_grey)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
