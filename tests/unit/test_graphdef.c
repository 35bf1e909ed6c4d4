/* test_graphdef.c - frozen TensorFlow graphs, good and bad, made here byte by byte. Whole Inception graphs are fid-features.bats' business. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/mem.h"
#include "common/store/graphdef.h"

static void varint(struct bytes *b, uint64_t v) {
    do {
        uint8_t byte = (uint8_t)((v & 0x7f) | (v > 0x7f) << 7);
        bytes_append(b, &byte, 1);
    } while (v >>= 7);
}

static void length(struct bytes *b, int number, const void *data, size_t n) {
    varint(b, (uint64_t)number << 3 | 2);
    varint(b, n);
    bytes_append(b, data, n);
}

static void number(struct bytes *b, int field, uint64_t v) {
    varint(b, (uint64_t)field << 3);
    varint(b, v);
}

/* Appends `part` as field and empties it. */
static void wrap(struct bytes *b, int field, struct bytes *part) {
    length(b, field, part->data, part->size);
    bytes_free(part);
    *part = (struct bytes){0};
}

enum how { CONTENT, FLOAT_VAL, SHORT, INTEGERS, UNKNOWN_RANK, HUGE_SHAPE };

static void add_constant(struct bytes *graph, const char *name, const float *data, int rows, int columns, enum how how) {
    struct bytes node = {0}, attr = {0}, value = {0}, tensor = {0}, shape = {0}, dim = {0};
    const int64_t dims[2] = {how == HUGE_SHAPE ? 1 << 30 : rows, how == HUGE_SHAPE ? 1 << 30 : columns};
    for (int i = 0; i < 2; i++) {
        number(&dim, 1, (uint64_t)dims[i]);
        wrap(&shape, 2, &dim);
    }
    if (how == UNKNOWN_RANK)
        number(&shape, 3, 1);
    number(&tensor, 1, how == INTEGERS ? 3 : 1);
    wrap(&tensor, 2, &shape);
    length(&tensor, how == FLOAT_VAL ? 5 : 4, data, (size_t)(rows * columns - (how == SHORT)) * 4);
    wrap(&value, 8, &tensor);
    length(&attr, 1, "value", 5);
    wrap(&attr, 2, &value);
    length(&node, 1, name, strlen(name));
    length(&node, 2, "Const", 5);
    wrap(&node, 5, &attr);
    wrap(graph, 1, &node);
}

static void add_batchnorm(struct bytes *graph, const char *name, float epsilon, bool scaled) {
    struct bytes node = {0}, attr = {0}, value = {0};
    length(&node, 1, name, strlen(name));
    length(&node, 2, "BatchNormWithGlobalNormalization", 32);
    length(&node, 3, "input", 5);
    varint(&value, 4 << 3 | 5);
    bytes_append(&value, &epsilon, 4);
    length(&attr, 1, "variance_epsilon", 16);
    wrap(&attr, 2, &value);
    wrap(&node, 5, &attr);
    number(&value, 5, scaled);
    length(&attr, 1, "scale_after_normalization", 25);
    wrap(&attr, 2, &value);
    wrap(&node, 5, &attr);
    wrap(graph, 1, &node);
}

static const float data[6] = {1, 2, 3, 4, 5, 6};

static struct bytes sample(void) {
    struct bytes b = {0};
    add_constant(&b, "z/weights", data, 2, 3, CONTENT);
    add_batchnorm(&b, "conv/batchnorm", 0.001f, true);
    add_constant(&b, "conv/packed", data, 3, 2, FLOAT_VAL);
    add_constant(&b, "left out/short", data, 2, 3, SHORT);
    add_constant(&b, "left out/integers", data, 2, 3, INTEGERS);
    add_constant(&b, "left out/unknown", data, 2, 3, UNKNOWN_RANK);
    add_constant(&b, "left out/huge", data, 2, 3, HUGE_SHAPE);
    add_batchnorm(&b, "plain", 0.5f, false);
    number(&b, 3, 8);
    return b;
}

static void constants_and_attributes(void **state) {
    (void)state;
    struct bytes b = sample();
    struct graphdef *g;
    struct error e;
    assert_true(graphdef_detect(b.data, b.size));
    if (graphdef_parse(&g, b.data, b.size, "sample", &e) != ST_OK)
        fail_msg("%s", e.text);
    assert_int_equal(graphdef_count(g), 2);
    const struct st_tensor *t = graphdef_find(g, "conv/packed");
    assert_ptr_equal(t, graphdef_at(g, 0));
    assert_true(t->ndim == 2 && t->dim[0] == 3 && t->dim[1] == 2 && t->count == 6 && t->dtype == DT_F32);
    assert_memory_equal(t->data, data, sizeof data);
    assert_non_null(graphdef_find(g, "z/weights"));
    assert_null(graphdef_find(g, "left out/short"));
    assert_null(graphdef_find(g, "conv/batchnorm"));
    float epsilon;
    bool scaled;
    assert_true(graphdef_batchnorm(g, "conv/batchnorm", &epsilon, &scaled));
    assert_true(epsilon == 0.001f && scaled);
    assert_true(graphdef_batchnorm(g, "plain", &epsilon, &scaled));
    assert_true(epsilon == 0.5f && !scaled);
    assert_false(graphdef_batchnorm(g, "z/weights", &epsilon, &scaled));
    graphdef_close(g);
    bytes_free(&b);
}

static void refused(void **state) {
    (void)state;
    struct bytes b = sample(), twice = {0}, many = {0};
    struct graphdef *g;
    struct error e;
    for (size_t n = 0; n < b.size; n++) { /* cut anywhere: a graph of the nodes so far, or refused; never beyond the end */
        uint8_t *exact = xmalloc(n + 1);
        memcpy(exact, b.data, n);
        if (graphdef_parse(&g, exact, n, "cut", &e) == ST_OK)
            assert_true(graphdef_count(g) <= 2);
        graphdef_close(g);
        free(exact);
    }
    for (size_t i = 0; i < b.size; i++) {
        b.data[i] ^= 0xff;
        graphdef_parse(&g, b.data, b.size, "changed", &e);
        graphdef_close(g);
        b.data[i] ^= 0xff;
    }
    add_constant(&twice, "a", data, 2, 3, CONTENT);
    add_constant(&twice, "a", data, 2, 3, CONTENT);
    assert_int_equal(graphdef_parse(&g, twice.data, twice.size, "twice", &e), ST_BAD);
    assert_non_null(strstr(e.text, "occurs twice"));
    for (int i = 0; i <= GRAPHDEF_MAX_NODES; i++)
        length(&many, 1, "", 0);
    assert_int_equal(graphdef_parse(&g, many.data, many.size, "many", &e), ST_BAD);
    assert_non_null(strstr(e.text, "more than"));
    assert_int_equal(graphdef_parse(&g, "", 0, "empty", &e), ST_BAD);
    assert_false(graphdef_detect("PK\3\4 zip", 8));
    bytes_free(&b);
    bytes_free(&twice);
    bytes_free(&many);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(constants_and_attributes), cmocka_unit_test(refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
