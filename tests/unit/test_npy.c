/* test_npy.c - arrays as NumPy writes them, and headers that lie.
 *
 * As a tool for the program tests: test_npy copy f4|f8 <arrays >arrays
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/stream/npy.h"

static struct error e;

/* An .npy file of the given version, header text and data. */
static struct bytes file(int version, const char *header, const void *data, size_t size) {
    struct bytes b = {0};
    size_t n = strlen(header);
    uint8_t head[12] = {0x93, 'N', 'U', 'M', 'P', 'Y', (uint8_t)version, 0, (uint8_t)n, (uint8_t)(n >> 8), 0, 0};
    bytes_append(&b, head, version == 1 ? 10 : 12);
    bytes_append(&b, header, n);
    bytes_append(&b, data, size);
    return b;
}

static void expect(int version, const char *header, const void *data, size_t size, int n, const double *want) {
    struct bytes b = file(version, header, data, size);
    for (int w = NPY_F32; w <= NPY_F64; w++) {
        struct npy a;
        if (npy_parse(b.data, b.size, (enum npy_want)w, &a, &e))
            fail_msg("%s: %s", header, e.text);
        assert_int_equal(a.count, n);
        for (int i = 0; i < n; i++)
            assert_true(w == NPY_F32 ? a.f32[i] == (float)want[i] : a.f64[i] == want[i]);
        npy_free(&a);
    }
    bytes_free(&b);
}

static void expect_fail(const void *bytes, size_t size, const char *text) {
    struct npy a;
    uint8_t *copy = malloc(size ? size : 1);
    memcpy(copy, bytes, size);
    e.text[0] = '\0';
    if (npy_parse(copy, size, NPY_F32, &a, &e) != ST_FAIL || !strstr(e.text, text))
        fail_msg("%zu bytes: \"%s\" where \"%s\" was expected", size, e.text, text);
    assert_null(a.f32);
    free(copy);
}

static void expect_refused(const char *header, const char *text) {
    struct bytes b = file(1, header, "12345678", 8);
    expect_fail(b.data, b.size, text);
    bytes_free(&b);
}

static void types(void **state) {
    (void)state;
    expect(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", (float[]){1.5f, -2}, 8, 2, (double[]){1.5, -2});
    expect(2, "{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }\n", "\x3f\xc0\0\0", 4, 1, (double[]){1.5});
    expect(3, "{'descr':'<f8','fortran_order':False,'shape':(1,)}", (double[]){0.1}, 8, 1, (double[]){0.1});
    expect(1, "{'descr': '<f2', 'fortran_order': False, 'shape': (2,)}", "\x00\x3c\x00\xc0", 4, 2, (double[]){1, -2});
    expect(1, "{'descr': '|i1', 'fortran_order': False, 'shape': (2,)}", "\xff\x7f", 2, 2, (double[]){-1, 127});
    expect(1, "{'descr': '|u1', 'fortran_order': False, 'shape': (2,)}", "\xff\x7f", 2, 2, (double[]){255, 127});
    expect(1, "{'descr': '|b1', 'fortran_order': False, 'shape': (2,)}", "\x01\x00", 2, 2, (double[]){1, 0});
    expect(1, "{'descr': '>i2', 'fortran_order': False, 'shape': (1,)}", "\xff\xfe", 2, 1, (double[]){-2});
    expect(1, "{'descr': '<i4', 'fortran_order': False, 'shape': (1,)}", "\xfe\xff\xff\xff", 4, 1, (double[]){-2});
    expect(1, "{'descr': '<u4', 'fortran_order': False, 'shape': (1,)}", "\xfe\xff\xff\xff", 4, 1, (double[]){4294967294.0});
    expect(1, "{'descr': '<i8', 'fortran_order': False, 'shape': (1,)}", (int64_t[]){-5}, 8, 1, (double[]){-5});
    expect(1, "{'descr': '<f4', 'fortran_order': False, 'shape': ()}", (float[]){7}, 4, 1, (double[]){7});
    expect(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 512)}", "", 0, 0, NULL);
    expect(1, "{\"shape\": (1L,), \"descr\": \"<f4\", \"fortran_order\": False}", (float[]){7}, 4, 1, (double[]){7});
}

/* [[0 1 2] [3 4 5]] stored column by column, and a 2x3x2 likewise. */
static void fortran_order(void **state) {
    (void)state;
    expect(1, "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3)}", (float[]){0, 3, 1, 4, 2, 5}, 24, 6, (double[]){0, 1, 2, 3, 4, 5});
    uint8_t data[12];
    double want[12];
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 3; j++)
            for (int k = 0; k < 2; k++) {
                want[(i * 3 + j) * 2 + k] = i * 100 + j * 10 + k;
                data[i + 2 * (j + 3 * k)] = (uint8_t)(i * 100 + j * 10 + k);
            }
    expect(1, "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3, 2)}", data, 12, 12, want);
}

static void refused(void **state) {
    (void)state;
    expect_refused("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", "object arrays");
    expect_refused("{'descr': '<c8', 'fortran_order': False, 'shape': (1,)}", "dtype");
    expect_refused("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", "structured");
    expect_refused("{'descr': '<f4', 'fortran_order': Maybe, 'shape': (1,)}", "fortran_order");
    expect_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", "shape");
    expect_refused("{'descr': '<f4', 'fortran_order': False, 'shape': 3}", "shape");
    expect_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (1,2,3,4,5,6,7)}", "dimensions");
    expect_refused("{'descr': '<f4', 'fortran_order': False}", "lacks");
    expect_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} import os", "behind");
    expect_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1}", "unknown key");
    expect_refused("[1]", "dict");
    expect_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296, 4294967296)}", "limit");
    expect_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}", "shape");
    expect_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (2000000000,)}", "truncated"); /* 8 GB claimed, 8 bytes there */
    expect_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", "behind");            /* 4 bytes too many */
    expect_fail("", 0, "empty");
    expect_fail("hello world", 11, "no .npy");
    expect_fail("\x93NUMPY\x09\0", 8, "version 9");
    struct bytes b = file(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", "12345678", 8);
    for (size_t n = 1; n < b.size; n++)
        expect_fail(b.data, n, "truncated");
    bytes_free(&b);
}

static void streams(void **state) {
    (void)state;
    FILE *f = tmpfile();
    float data[12];
    double big[2] = {1e300, -0.5};
    for (int i = 0; i < 12; i++)
        data[i] = (float)i / 3;
    assert_int_equal(npy_write(f, "<f4", 2, (int64_t[]){3, 4}, data, &e), ST_OK);
    assert_int_equal(ftell(f) % 64, 48); /* the data began on a multiple of 64 */
    assert_int_equal(npy_write(f, "<f8", 1, (int64_t[]){2}, big, &e), ST_OK);
    assert_int_equal(npy_write(f, "<f4", 3, (int64_t[]){1, 2, 6}, data, &e), ST_OK);
    assert_int_equal(npy_write(f, "<f4", 2, (int64_t[]){0, 6}, NULL, &e), ST_OK);
    rewind(f);
    struct npy a;
    assert_int_equal(npy_read(f, "t", NPY_F32, &a, &e), ST_OK);
    assert_int_equal(a.ndim, 2);
    assert_int_equal(a.dim[1], 4);
    assert_memory_equal(a.f32, data, sizeof data);
    npy_free(&a);
    assert_int_equal(npy_read(f, "t", NPY_F64, &a, &e), ST_OK);
    assert_memory_equal(a.f64, big, sizeof big);
    npy_free(&a);
    assert_int_equal(npy_read(f, "t", NPY_F64, &a, &e), ST_OK);
    assert_int_equal(a.dim[2], 6);
    assert_true(a.f64[1] == (double)data[1]);
    npy_free(&a);
    assert_int_equal(npy_read(f, "t", NPY_F32, &a, &e), ST_OK);
    assert_int_equal(a.count, 0);
    npy_free(&a);
    assert_int_equal(npy_read(f, "t", NPY_F32, &a, &e), ST_END);
    fclose(f);
    f = fopen("/dev/full", "w");
    setvbuf(f, NULL, _IONBF, 0);
    assert_int_equal(npy_write(f, "<f4", 1, (int64_t[]){2}, data, &e), ST_FAIL);
    assert_non_null(strstr(e.text, "No space"));
    fclose(f);
}

/* Row by row: other types, Fortran order, arrays without rows, and ends that come too early. */
static void rows(void **state) {
    (void)state;
    FILE *f = tmpfile();
    static float many[3000 * 4], got[3000 * 4];
    static double wide[3000 * 4];
    struct npy_rows r;
    for (int i = 0; i < 3000 * 4; i++)
        wide[i] = many[i] = (float)(i * 7 % 1001);
    const int16_t column_by_column[6] = {1, 4, 2, 5, 3, 6};
    struct bytes fortran = file(1, "{'descr': '<i2', 'fortran_order': True, 'shape': (2, 3)}", column_by_column, 12);
    assert_int_equal(npy_write(f, "<f4", 2, (int64_t[]){3000, 4}, many, &e), ST_OK);
    assert_int_equal(npy_write(f, "<f8", 3, (int64_t[]){3000, 2, 2}, wide, &e), ST_OK);
    assert_int_equal(npy_write(f, "<f4", 2, (int64_t[]){0, 6}, NULL, &e), ST_OK);
    assert_int_equal(fwrite(fortran.data, 1, fortran.size, f), fortran.size);
    assert_int_equal(npy_write(f, "<f4", 0, NULL, many, &e), ST_OK);
    assert_int_equal(npy_write_header(f, "<f4", 2, (int64_t[]){(int64_t)1 << 40, 4}, &e), ST_OK);
    assert_int_equal(fwrite(many, 16, 5, f), 5);
    rewind(f);
    for (int k = 0; k < 2; k++) { /* in uneven pieces */
        assert_int_equal(npy_rows_open(f, "t", &r, &e), ST_OK);
        assert_true(r.ndim == 2 + k && r.dim[1] == (k ? 2 : 4) && r.row == 4 && r.rows == 3000 && r.left == 3000);
        memset(got, 0, sizeof got);
        for (int64_t n = 700; r.left; n = r.left < 1100 ? r.left : 1100)
            assert_int_equal(npy_rows_read(&r, got + (3000 - r.left) * 4, n, &e), ST_OK);
        assert_memory_equal(got, many, sizeof many);
        npy_rows_close(&r);
    }
    assert_int_equal(npy_rows_open(f, "t", &r, &e), ST_OK);
    assert_true(r.left == 0 && r.dim[1] == 6);
    npy_rows_close(&r);
    assert_int_equal(npy_rows_open(f, "t", &r, &e), ST_OK);
    assert_int_equal(npy_rows_read(&r, got, 1, &e), ST_OK);
    assert_int_equal(npy_rows_read(&r, got + 3, 1, &e), ST_OK);
    for (int i = 0; i < 6; i++)
        assert_true(got[i] == (float)(i + 1));
    npy_rows_close(&r);
    assert_int_equal(npy_rows_open(f, "t", &r, &e), ST_OK);
    assert_true(r.ndim == 0 && r.left == 1 && r.row == 1);
    assert_int_equal(npy_rows_read(&r, got, 1, &e), ST_OK);
    npy_rows_close(&r);
    assert_int_equal(npy_rows_open(f, "t", &r, &e), ST_OK); /* claims 16 TB */
    assert_int_equal(npy_rows_read(&r, got, 5, &e), ST_OK);
    assert_int_equal(npy_rows_read(&r, got, 1, &e), ST_FAIL);
    assert_non_null(strstr(e.text, "truncated"));
    npy_rows_close(&r);
    assert_int_equal(npy_rows_open(f, "t", &r, &e), ST_END);
    bytes_free(&fortran);
    fclose(f);
}

static int copy(bool wide) {
    struct npy a;
    enum status st;
    while (!(st = npy_read(stdin, "stdin", wide ? NPY_F64 : NPY_F32, &a, &e))) {
        st = npy_write(stdout, wide ? "<f8" : "<f4", a.ndim, a.dim, wide ? (void *)a.f64 : (void *)a.f32, &e);
        npy_free(&a);
        if (st)
            break;
    }
    if (st != ST_END)
        fprintf(stderr, "test_npy: %s\n", e.text);
    return st == ST_END ? 0 : 1;
}

int main(int argc, char **argv) {
    if (argc > 2 && !strcmp(argv[1], "copy"))
        return copy(!strcmp(argv[2], "f8"));
    const struct CMUnitTest tests[] = {cmocka_unit_test(types), cmocka_unit_test(fortran_order), cmocka_unit_test(refused),
                                       cmocka_unit_test(streams), cmocka_unit_test(rows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
