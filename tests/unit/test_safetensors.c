/* test_safetensors.c - what is read back is what was written; every kind of lie in a header is refused with its reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <signal.h>
#include <unistd.h>

#include "common/base/mem.h"
#include "common/store/safetensors.h"

static char folder[] = "/tmp/test_safetensors.XXXXXX";

static char *in_folder(const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* Header text and n bytes of data behind it, as a file in memory. */
static struct bytes make(const char *header, size_t n) {
    struct bytes b = {0};
    uint64_t length = strlen(header);
    bytes_append(&b, &length, 8);
    bytes_append(&b, header, length);
    for (size_t i = 0; i < n; i++)
        bytes_append(&b, &(uint8_t){(uint8_t)i}, 1);
    return b;
}

/* A copy that ends where its allocation ends, so that the sanitizer sees a byte read too many. */
static enum status parse_tight(struct safetensors **s, const struct bytes *b, size_t size, struct error *e) {
    static void *kept;
    free(kept);
    kept = malloc(size ? size : 1);
    if (size)
        memcpy(kept, b->data, size);
    return safetensors_parse(s, kept, size, "test", e);
}

static void refused(const char *header, size_t data, const char *why) {
    struct safetensors *s;
    struct error e = {""};
    struct bytes b = make(header, data);
    enum status st = parse_tight(&s, &b, b.size, &e);
    if (st != ST_BAD || !strstr(e.text, why) || s)
        fail_msg("%s\n  status %d, \"%s\", expected \"%s\"", header, st, e.text, why);
    bytes_free(&b);
}

static void accepted(const char *header, size_t data, int count) {
    struct safetensors *s;
    struct error e = {""};
    struct bytes b = make(header, data);
    if (parse_tight(&s, &b, b.size, &e) != ST_OK)
        fail_msg("%s\n  %s", header, e.text);
    assert_int_equal(safetensors_count(s), count);
    safetensors_close(s);
    bytes_free(&b);
}

#define T(name, dtype, shape, begin, end) \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" begin "," end "]}"

static void test_headers(void **state) {
    (void)state;
    accepted("{}", 0, 0);
    accepted("{\"__metadata__\":{\"a\":\"b\"}}   ", 0, 0);
    accepted("{" T("x", "F32", "2,3", "0", "24") "}", 24, 1);
    accepted("{" T("scalar", "F64", "", "0", "8") "," T("none", "F32", "0,7", "8", "8") "}", 8, 2);
    accepted("{" T("b", "U8", "3", "4", "7") "," T("a", "F32", "1", "0", "4") "}", 7, 2); /* any order in the header */
    accepted("{" T("e", "U8", "9007199254740992,0", "0", "0") "}", 0, 1);

    refused("{" T("x", "F32", "2,3", "0", "24") "}", 23, "lies outside the file");
    refused("{" T("x", "F32", "2,3", "0", "24") "}", 25, "1 bytes after the last tensor");
    refused("{" T("x", "F32", "2,3", "0", "20") "}", 24, "span 20 bytes but its shape needs 24");
    refused("{" T("x", "F32", "2,3", "24", "0") "}", 24, "data_offsets are not");
    refused("{" T("x", "F32", "2,3", "-24", "0") "}", 24, "data_offsets are not");
    refused("{" T("x", "F32", "2,3", "0.5", "24.5") "}", 25, "data_offsets are not");
    refused("{" T("x", "F32", "2,3", "0", "1e300") "}", 24, "data_offsets are not");
    refused("{" T("x", "F32", "2,3", "18446744073709551592", "18446744073709551616") "}", 24, "data_offsets are not");
    refused("{" T("x", "F32", "1", "0", "4") "," T("y", "F32", "1", "2", "6") "}", 6, "overlap");
    refused("{" T("x", "F32", "1", "0", "4") "," T("y", "F32", "1", "0", "4") "}", 4, "overlap");
    refused("{" T("x", "F32", "1", "0", "4") "," T("y", "F32", "1", "8", "12") "}", 12, "4 bytes before tensor y");
    refused("{" T("x", "F32", "1", "0", "4") "," T("x", "F32", "1", "4", "8") "}", 8, "x appears twice");
    refused("{" T("x", "F32", "4294967296,4294967296", "0", "0") "}", 0, "overflows");
    refused("{" T("x", "F32", "9007199254740992,9007199254740992,0", "0", "0") "}", 0, "overflows");
    refused("{" T("x", "F32", "-2,-3", "0", "24") "}", 24, "dimension 0");
    refused("{" T("x", "F32", "2.5", "0", "10") "}", 10, "dimension 0");
    refused("{" T("x", "F32", "\"2\"", "0", "8") "}", 8, "dimension 0");
    refused("{" T("x", "F32", "1,1,1,1,1,1,1,1,1", "0", "4") "}", 4, "more than 8 dimensions");
    refused("{" T("x", "BOOL", "4", "0", "4") "}", 4, "element type BOOL");
    refused("{\"x\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "not {dtype, shape, data_offsets}");
    refused("{\"x\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "not {dtype");
    refused("{\"x\":[1,2]}", 4, "not {dtype");
    refused("{\"x\":null}", 0, "not {dtype");
    refused("{\"x\":{\"dtype\":7,\"shape\":{},\"data_offsets\":[0,4]}}", 4, "not {dtype");
    refused("{\"__metadata__\":7}", 0, "not an object");
    refused("{\"__metadata__\":{\"a\":7}}", 0, "value of a is not text");
    refused("{\"__metadata__\":{},\"__metadata__\":{}}", 0, "appears twice");
    refused("{} x", 0, "not one JSON object");
    refused("{\"x\":", 0, "not one JSON object");
    refused("[1,2]     ", 0, "not JSON");
    refused("  {}", 0, "not JSON");
}

static void test_lengths(void **state) {
    (void)state;
    struct safetensors *s;
    struct error e;
    struct bytes b = make("{" T("x", "F32", "2,3", "0", "24") "}", 24);
    for (size_t size = 0; size < b.size; size++) /* cut anywhere */
        if (parse_tight(&s, &b, size, &e) != ST_BAD)
            fail_msg("cut to %zu bytes it was accepted", size);
    static const uint64_t lies[] = {0, 1, 79, 81, 105, 1000, (uint64_t)100 << 20, ((uint64_t)100 << 20) + 1, 1ull << 63, UINT64_MAX,
                                    UINT64_MAX - 7};
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        memcpy(b.data, &lies[i], 8);
        if (parse_tight(&s, &b, b.size, &e) != ST_BAD)
            fail_msg("a header of %llu bytes was accepted", (unsigned long long)lies[i]);
    }
    bytes_free(&b);

    /* a header that would take gigabytes of JSON nodes, and one nested a million deep */
    size_t n = 40 << 20;
    char *text = malloc(n + 1);
    memset(text, ',', n);
    text[0] = '{';
    text[n] = 0;
    refused(text, 0, "header has over");
    n = 1 << 20;
    memset(text, '[', n);
    memcpy(text, "{\"a\":", 5);
    text[n] = 0;
    refused(text, 0, "not one JSON object");
    free(text);
}

static void test_write_and_read(void **state) {
    (void)state;
    struct error e = {""};
    struct safetensors *s;
    uint8_t u8[3] = {0, 7, 255};
    float f32[4] = {1.5f, -0.0f, INFINITY, NAN};
    uint16_t f16[2] = {0x3c00, 0xfc00}, bf16[2] = {0x3f80, 0x7fc0};
    double f64[1] = {0.1};
    int32_t i32[2] = {-7, INT32_MAX};
    int64_t i64[1] = {-(1ll << 40)};
    struct st_entry t[] = {{"bytes \"quoted\" \xc3\xa9", DT_U8, 1, {3}, u8},
                           {"single", DT_F32, 2, {2, 2}, f32},
                           {"half", DT_F16, 1, {2}, f16},
                           {"brain", DT_BF16, 1, {2}, bf16},
                           {"double", DT_F64, 0, {0}, f64},
                           {"nothing", DT_F32, 2, {0, 5}, NULL},
                           {"int", DT_I32, 1, {2}, i32},
                           {"long", DT_I64, 1, {1}, i64}};
    struct st_meta meta[] = {{"config", "{\"z\": 512,\n \"text\": \"\\u0001\"}"}, {"empty", ""}};
    int n = sizeof t / sizeof *t;
    assert_int_equal(safetensors_write(in_folder("a"), t, n, meta, 2, &e), ST_OK);
    assert_int_equal(safetensors_open(&s, in_folder("a"), &e), ST_OK);
    assert_int_equal(safetensors_count(s), n);
    assert_string_equal(safetensors_metadata(s, "config"), meta[0].value);
    assert_string_equal(safetensors_metadata(s, "empty"), "");
    assert_null(safetensors_metadata(s, "absent"));
    assert_null(safetensors_find(s, "absent"));
    for (int i = 0; i < n; i++) {
        const struct st_tensor *x = safetensors_find(s, t[i].name);
        assert_non_null(x);
        assert_string_equal(x->name, t[i].name);
        assert_int_equal(x->dtype, t[i].dtype);
        assert_int_equal(x->ndim, t[i].ndim);
        assert_memory_equal(x->dim, t[i].dim, (size_t)t[i].ndim * sizeof *t[i].dim);
        assert_int_equal((uintptr_t)x->data % (size_t)dtype_size(x->dtype), 0); /* aligned, whatever the order given */
        if (x->count)
            assert_memory_equal(x->data, t[i].data, (size_t)x->count * (size_t)dtype_size(x->dtype));
    }
    float out[4];
    st_to_f32(safetensors_find(s, "single"), out);
    assert_true(out[0] == 1.5f && signbit(out[1]) && isinf(out[2]) && isnan(out[3]));
    st_to_f32(safetensors_find(s, "half"), out);
    assert_true(out[0] == 1 && out[1] == -INFINITY);
    st_to_f32(safetensors_find(s, "brain"), out);
    assert_true(out[0] == 1 && isnan(out[1]));
    st_to_f32(safetensors_find(s, "double"), out);
    assert_true(out[0] == 0.1f);
    st_to_f32(safetensors_find(s, t[0].name), out);
    assert_true(out[0] == 0 && out[1] == 7 && out[2] == 255);
    st_to_f32(safetensors_find(s, "int"), out);
    assert_true(out[0] == -7 && out[1] == 2147483648.0f);
    st_to_f32(safetensors_find(s, "long"), out);
    assert_true(out[0] == -1099511627776.0f);
    safetensors_close(s);

    struct st_entry twice[] = {t[1], t[1]}, reserved = t[1];
    reserved.name = "__metadata__";
    assert_int_equal(safetensors_write(in_folder("b"), twice, 2, NULL, 0, &e), ST_FAIL);
    assert_non_null(strstr(e.text, "two tensors are named single"));
    assert_int_equal(safetensors_write(in_folder("b"), &reserved, 1, NULL, 0, &e), ST_FAIL);
    assert_int_equal(access(in_folder("b"), F_OK), -1);
    assert_int_equal(safetensors_write(in_folder("b"), NULL, 0, NULL, 0, &e), ST_OK);
    assert_int_equal(safetensors_open(&s, in_folder("b"), &e), ST_OK);
    assert_int_equal(safetensors_count(s), 0);
    assert_null(safetensors_find(s, ""));
    safetensors_close(s);
}

/* A write that fails leaves the old file and nothing else. */
static void test_atomic(void **state) {
    (void)state;
    struct error e = {""};
    struct safetensors *s;
    float *big = calloc(1 << 20, 4), one = 1;
    struct st_entry small = {"x", DT_F32, 1, {1}, &one}, large = {"x", DT_F32, 1, {1 << 20}, big};
    struct rlimit before, tight;
    assert_int_equal(safetensors_write(in_folder("c"), &small, 1, NULL, 0, &e), ST_OK);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    tight = before;
    tight.rlim_cur = 100000;
    setrlimit(RLIMIT_FSIZE, &tight);
    assert_int_equal(safetensors_write(in_folder("c"), &large, 1, NULL, 0, &e), ST_FAIL);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_non_null(strstr(e.text, "File too large"));
    char *temporary = xasprintf("%s.tmp-%ld", in_folder("c"), (long)getpid());
    assert_int_equal(access(temporary, F_OK), -1);
    free(temporary);
    assert_int_equal(safetensors_open(&s, in_folder("c"), &e), ST_OK);
    assert_int_equal(safetensors_at(s, 0)->count, 1);
    safetensors_close(s);
    assert_int_equal(safetensors_write("/nowhere/at/all", &small, 1, NULL, 0, &e), ST_FAIL);
    free(big);
}

static void test_files(void **state) {
    (void)state;
    struct safetensors *s;
    struct error e;
    assert_int_equal(safetensors_open(&s, in_folder("absent"), &e), ST_FAIL);
    assert_non_null(strstr(e.text, "No such file"));
    assert_int_equal(safetensors_open(&s, folder, &e), ST_FAIL);
    assert_non_null(strstr(e.text, "not a regular file"));
    assert_int_equal(mkfifo(in_folder("pipe"), 0600), 0);
    assert_int_equal(safetensors_open(&s, in_folder("pipe"), &e), ST_FAIL); /* and does not wait for a writer */
    FILE *f = fopen(in_folder("zip"), "w");
    fputs("PK\3\4 and so on and on", f);
    fclose(f);
    assert_int_equal(safetensors_open(&s, in_folder("zip"), &e), ST_BAD);
    assert_non_null(strstr(e.text, "PyTorch"));
    f = fopen(in_folder("nil"), "w");
    fclose(f);
    assert_int_equal(safetensors_open(&s, in_folder("nil"), &e), ST_BAD);
    assert_non_null(strstr(e.text, "empty"));
    safetensors_close(NULL);
}

static int set_up(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    char *command = xasprintf("rm -rf '%s'", folder);
    int rc = system(command);
    free(command);
    return rc;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_headers), cmocka_unit_test(test_lengths), cmocka_unit_test(test_write_and_read),
                                       cmocka_unit_test(test_atomic), cmocka_unit_test(test_files)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
