/* test_events.c - TensorBoard event files: checksum, framing, cutting back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/image/image.h"
#include "common/run/events.h"

static char path[] = "/tmp/test_events-XXXXXX";

/* RFC 3720, appendix B.4, and the check value of CRC-32C. */
static void known_checksums(void **state) {
    (void)state;
    uint8_t zeros[32] = {0}, ones[32], up[32];
    memset(ones, 0xff, sizeof ones);
    for (int i = 0; i < 32; i++)
        up[i] = (uint8_t)i;
    assert_int_equal(crc32c("123456789", 9), 0xe3069283u);
    assert_int_equal(crc32c(zeros, 32), 0x8a9136aau);
    assert_int_equal(crc32c(ones, 32), 0x62a8ab43u);
    assert_int_equal(crc32c(up, 32), 0x46dd794eu);
    /* the length word of TensorBoard's usual first record (24 bytes), as every such file begins */
    uint64_t length = 24;
    const uint8_t first[] = {0xa3, 0x7f, 0x4b, 0x22};
    uint32_t masked = crc32c_masked(&length, 8);
    assert_memory_equal(&masked, first, 4);
}

static struct bytes content(void) {
    struct bytes b = {0};
    assert_int_equal(file_read(path, 1 << 20, &b, NULL), ST_OK);
    return b;
}

/* The whole file, byte by byte: an independent reading of the format. */
static void bytes_of_a_record(void **state) {
    (void)state;
    struct error e;
    struct events *v;
    assert_int_equal(events_open(&v, path, 0, &e), ST_OK);
    const struct event_scalar s[] = {{"a/b", 1.5}, {"gone", 0.0 / 0.0}};
    assert_int_equal(events_write(v, 2.0, 300, s, 2, &e), ST_OK);
    assert_int_equal(events_close(v, &e), ST_OK);
    struct bytes b = content();
    static const uint8_t head[] = {24, 0, 0, 0, 0, 0, 0, 0, 0xa3, 0x7f, 0x4b, 0x22, 9, 0, 0, 0, 0, 0, 0, 0, 0, 26, 13};
    assert_memory_equal(b.data, head, sizeof head);
    assert_memory_equal(b.data + 23, "brain.Event:2", 13);
    static const uint8_t event[] = {9, 0, 0, 0, 0, 0, 0, 0, 64, 16, 0xac, 2, 42, 12, 10, 10, 10, 3, 'a', '/', 'b', 21, 0, 0, 0xc0, 63};
    assert_int_equal(b.size, 12 + 24 + 4 + 12 + sizeof event + 4);
    assert_int_equal(b.data[40], sizeof event);
    assert_memory_equal(b.data + 52, event, sizeof event);
    bytes_free(&b);
}

static void cut_back(void **state) {
    (void)state;
    struct error e;
    struct events *v;
    assert_int_equal(events_open(&v, path, 0, &e), ST_OK);
    size_t size[5];
    for (int i = 0; i < 5; i++) {
        assert_int_equal(events_write(v, i, i, &(struct event_scalar){"x", i}, 1, &e), ST_OK);
        struct bytes b = content();
        size[i] = b.size;
        bytes_free(&b);
    }
    assert_int_equal(events_close(v, &e), ST_OK);
    struct bytes whole = content();
    assert_int_equal(events_open(&v, path, 3, &e), ST_OK);
    assert_int_equal(events_close(v, &e), ST_OK);
    struct bytes b = content();
    assert_int_equal(b.size, size[2]);
    bytes_free(&b);
    /* the same records again give the same bytes */
    assert_int_equal(events_open(&v, path, 3, &e), ST_OK);
    for (int i = 3; i < 5; i++)
        assert_int_equal(events_write(v, i, i, &(struct event_scalar){"x", i}, 1, &e), ST_OK);
    assert_int_equal(events_close(v, &e), ST_OK);
    b = content();
    assert_int_equal(b.size, whole.size);
    assert_memory_equal(b.data, whole.data, b.size);
    /* a torn or damaged record and all behind it go */
    for (int damage = 0; damage < 2; damage++) {
        if (damage)
            b.data[size[1] + 14] ^= 1;
        assert_int_equal(file_write_atomic(path, b.data, damage ? b.size : size[4] - 3, &e), ST_OK);
        assert_int_equal(events_open(&v, path, 5, &e), ST_OK);
        assert_int_equal(events_close(v, &e), ST_OK);
        struct bytes left = content();
        assert_int_equal(left.size, damage ? size[1] : size[3]);
        bytes_free(&left);
    }
    bytes_free(&b);
    bytes_free(&whole);
}

static void no_place(void **state) {
    (void)state;
    struct error e;
    struct events *v;
    assert_int_equal(events_open(&v, "/nonexistent/events", 0, &e), ST_FAIL);
    assert_null(v);
    assert_non_null(strstr(e.text, "/nonexistent/events"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(known_checksums), cmocka_unit_test(bytes_of_a_record),
                                       cmocka_unit_test(cut_back), cmocka_unit_test(no_place)};
    int fd = mkstemp(path);
    close(fd);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failed;
}
