/* test_sheet.c - labels, the layout of tables, and what their cells hold. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/image/label.h"
#include "common/image/sheet.h"
#include "common/latent/table.h"

static void paper(struct image *im, int width, int height, int channels) {
    image_alloc(im, width, height, channels);
    memset(im->data, 255, (size_t)width * (size_t)height * (size_t)channels);
}

static int ink(const struct image *im) {
    int n = 0;
    for (int i = 0; i < im->width * im->height; i++)
        n += im->data[i * im->channels] == 32;
    return n;
}

static void test_labels(void **unused) {
    (void)unused;
    assert_int_equal(label_width(""), 0);
    assert_int_equal(label_width("-1.5"), 23);
    struct image im;
    paper(&im, 12, 9, 3);
    label_draw(&im, 1, 1, "1", 1, 32);
    static const char *const one[7] = {"  #  ", " ##  ", "  #  ", "  #  ", "  #  ", "  #  ", " ### "};
    for (int y = 0; y < 7; y++)
        for (int x = 0; x < 5; x++)
            assert_int_equal(im.data[((y + 1) * 12 + x + 1) * 3] == 32, one[y][x] == '#');
    int once = ink(&im);
    image_free(&im);
    /* twice as large has four times the pixels, small letters are capitals, what is unknown is a box */
    paper(&im, 24, 18, 1);
    label_draw(&im, 2, 2, "1", 2, 32);
    assert_int_equal(ink(&im), 4 * once);
    image_free(&im);
    int count[3];
    for (int i = 0; i < 3; i++) {
        paper(&im, 8, 8, 4);
        label_draw(&im, 0, 0, (const char *[]){"q", "Q", "~"}[i], 1, 32);
        count[i] = ink(&im);
        image_free(&im);
    }
    assert_int_equal(count[0], count[1]);
    assert_int_equal(count[2], 20);
    /* every character that numbers and names need is in the font, and no two look alike */
    const char *all = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ.,:+-=/%#_()>";
    uint64_t looks[64];
    for (int i = 0; all[i]; i++) {
        paper(&im, 5, 7, 1);
        label_draw(&im, 0, 0, (char[]){all[i], 0}, 1, 32);
        looks[i] = 0;
        for (int p = 0; p < 35; p++)
            looks[i] |= (uint64_t)(im.data[p] == 32) << p;
        image_free(&im);
        assert_true(looks[i] != 0);
        for (int k = 0; k < i; k++)
            assert_true(looks[k] != looks[i]);
    }
    /* over the edges: what lies outside is left out */
    paper(&im, 6, 6, 3);
    label_draw(&im, -20, -3, "0123456789", 3, 32);
    assert_true(ink(&im) > 0);
    image_free(&im);
}

static void test_layout(void **unused) {
    (void)unused;
    const char *const top[] = {"-0.5", "1", "a long heading"}, *const left[] = {"85", "4294967295"};
    struct error e;
    for (int edges = 0; edges < 2; edges++) {
        struct sheet s = {.columns = 3, .rows = 2, .width = 16, .height = 8, .channels = 3, .top = top, .left = left, .edges = edges};
        assert_int_equal(sheet_begin(&s, &e), ST_OK);
        assert_true(s.pitch >= label_width(top[2]));
        int before = ink(&s.picture);
        struct image tile;
        image_alloc(&tile, 16, 8, 3);
        memset(tile.data, 32, 16 * 8 * 3);
        for (int i = 0; i < 6; i++) { /* no tile covers a heading or another tile, and none is cut */
            sheet_place(&s, i / 3, i % 3, &tile);
            assert_int_equal(ink(&s.picture), before + (i + 1) * 16 * 8);
        }
        image_free(&tile);
        sheet_free(&s);
    }
    struct sheet plain = {.columns = 2, .rows = 2, .width = 16, .height = 8, .channels = 1};
    assert_int_equal(sheet_begin(&plain, &e), ST_OK);
    assert_int_equal(plain.picture.height, 16);
    sheet_free(&plain);
    struct sheet large = {.columns = 100, .rows = 2, .width = 1024, .height = 1024, .channels = 3};
    assert_int_equal(sheet_begin(&large, &e), ST_BAD);
    assert_non_null(strstr(e.text, "100x2 pictures"));
    large = (struct sheet){.columns = 60, .rows = 60, .width = 1024, .height = 1024, .channels = 3};
    assert_int_equal(sheet_begin(&large, &e), ST_BAD);
}

static void test_cells(void **unused) {
    (void)unused;
    float rows[2][6] = {{1, 1, 2, 2, 3, 3}, {4, 4, 5, 5, 6, 6}}, columns[1][6] = {{7, 7, 8, 8, 9, 9}}, mean[2] = {1, 0}, ws[6];
    float direction[2] = {0, 1};
    uint64_t row_names[2] = {85, 9}, column_names[1] = {3}, name;
    const double amount[2] = {-2, 0.5};
    struct latent_table t = {.kind = TABLE_MIX, .shape = {3, 2}, .mask = 1, .rows = {2, rows[0], row_names},
                             .columns = {1, columns[0], column_names}, .amount = amount, .n_amount = 2, .mean = {mean, false},
                             .direction = direction, .n_direction = 1};
    assert_int_equal(table_cells(&t), 5);
    assert_false(table_cell(&t, 0, 0, ws, &name));
    assert_true(table_cell(&t, 0, 1, ws, &name) && name == 3);
    assert_memory_equal(ws, columns[0], sizeof ws);
    assert_true(table_cell(&t, 2, 0, ws, &name) && name == 9);
    assert_memory_equal(ws, rows[1], sizeof ws);
    assert_true(table_cell(&t, 1, 1, ws, &name) && name == 85);
    assert_memory_equal(ws, ((const float[6]){7, 7, 2, 2, 3, 3}), sizeof ws);
    t.kind = TABLE_TRUNC;
    t.mask = 6;
    assert_int_equal(table_cells(&t), 4);
    assert_true(table_cell(&t, 1, 1, ws, &name) && name == 9);
    assert_memory_equal(ws, ((const float[6]){4, 4, 3, 2.5f, 3.5f, 3}), sizeof ws);
    t.kind = TABLE_MOVE;
    assert_true(table_cell(&t, 0, 0, ws, &name) && name == 85);
    assert_memory_equal(ws, ((const float[6]){1, 1, 2, 0, 3, 1}), sizeof ws);
}

static void test_factors(void **unused) {
    (void)unused;
    struct error e;
    float f[6];
    assert_int_equal(latent_factors_parse("0.5", 6, f, &e), ST_OK);
    assert_true(f[0] == 0.5f && f[5] == 0.5f);
    assert_int_equal(latent_factors_parse("0-1=0,3=-2.5,5=1e1", 6, f, &e), ST_OK);
    assert_memory_equal(f, ((const float[6]){0, 0, 1, -2.5f, 1, 10}), sizeof f);
    static const char *const bad[] = {"", ",", "x", "1,2", "0=1,", "0=1,2", "=1", "0=", "0=x", "6=1", "2-1=1", "0=1=2", "nan", "inf", "2000"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(latent_factors_parse(bad[i], 6, f, &e), ST_BAD);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_labels), cmocka_unit_test(test_layout), cmocka_unit_test(test_cells),
                                       cmocka_unit_test(test_factors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
