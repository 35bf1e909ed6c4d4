/* test_sink.c - pictures leave in the order they came in and with the same bytes, however many threads encode them; failures end it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/mem.h"
#include "common/stream/sink.h"

#define N 60

static char folder[] = "/tmp/test_sink.XXXXXX";

static int make_folder(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    char *command = xasprintf("rm -r %s", folder);
    int bad = system(command);
    free(command);
    return bad;
}

/* Sizes differ much, so that an order by who is ready first would show. */
static enum status put(struct sink *k, int i, struct error *e) {
    struct sample s = {0};
    struct image im;
    int side = i % 7 ? 8 : 200;
    snprintf(s.key, sizeof s.key, "%05d", i);
    image_alloc(&im, side, side, 3);
    for (int b = 0; b < side * side * 3; b++)
        im.data[b] = (uint8_t)((b * 2654435761u + (unsigned)i * 977u) >> 13);
    return sink_put(k, &s, &im, e);
}

/* The stream of N pictures, written to standard output, which is a file meanwhile. */
static void stream(enum image_format format, int jobs, struct bytes *out) {
    char *path = xasprintf("%s/stream", folder);
    struct error e;
    fflush(stdout);
    int keep = dup(STDOUT_FILENO), fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0666);
    assert_true(keep >= 0 && fd >= 0 && dup2(fd, STDOUT_FILENO) >= 0);
    struct sink *k;
    enum status st = sink_open(&k, &(struct sink_options){.format = format, .quality = 90, .depth = 8, .jobs = jobs}, &e);
    for (int i = 0; i < N && st == ST_OK; i++)
        st = put(k, i, &e);
    if (st == ST_OK)
        st = sink_close(k, &e);
    dup2(keep, STDOUT_FILENO);
    close(keep);
    assert_int_equal(st, ST_OK);
    off_t size = lseek(fd, 0, SEEK_END);
    bytes_reserve(out, (size_t)size);
    assert_int_equal(pread(fd, out->data, (size_t)size, 0), size);
    out->size = (size_t)size;
    close(fd);
    free(path);
}

static void test_order(void **state) {
    (void)state;
    static const enum image_format formats[] = {IMAGE_PNG, IMAGE_JPEG, IMAGE_UNKNOWN};
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) {
        struct bytes one = {0};
        stream(formats[f], 0, &one);
        assert_true(one.size > N * 1024);
        for (int jobs = 1; jobs <= 16; jobs += 5) {
            struct bytes many = {0};
            stream(formats[f], jobs, &many);
            assert_int_equal(many.size, one.size);
            assert_memory_equal(many.data, one.data, one.size);
            bytes_free(&many);
        }
        bytes_free(&one);
    }
}

static struct sink *open_folder(const char *path, int jobs) {
    struct sink *k;
    struct error e;
    assert_int_equal(sink_open(&k, &(struct sink_options){.path = path, .quality = 90, .depth = 8, .jobs = jobs}, &e), ST_OK);
    return k;
}

static void test_flush(void **state) {
    (void)state;
    struct error e;
    for (int jobs = 0; jobs < 4; jobs++) {
        char *path = xasprintf("%s/flushed%d", folder, jobs);
        struct sink *k = open_folder(path, jobs);
        for (int i = 0; i < N; i++) {
            assert_int_equal(put(k, i, &e), ST_OK);
            if (i % 20 == 19) {
                sink_flush(k);
                char *last = xasprintf("%s/%05d.png", path, i);
                assert_int_equal(access(last, R_OK), 0);
                free(last);
            }
        }
        sink_cancel(k);
        free(path);
    }
}

static void test_failure(void **state) {
    (void)state;
    for (int jobs = 0; jobs < 4; jobs++) {
        struct error e;
        char *path = xasprintf("%s/gone%d", folder, jobs), *moved = xasprintf("%s/moved%d", folder, jobs);
        struct sink *k = open_folder(path, jobs);
        enum status st = put(k, 0, &e);
        assert_int_equal(st, ST_OK);
        sink_flush(k);
        assert_int_equal(rename(path, moved), 0); /* a file where the folder was */
        assert_int_equal(close(open(path, O_CREAT | O_WRONLY, 0666)), 0);
        int i = 1;
        while (i < N && st == ST_OK)
            st = put(k, i++, &e);
        assert_true(st == ST_FAIL && i < N);
        sink_flush(k); /* does not wait for what is not written */
        e.text[0] = 0;
        assert_int_equal(sink_close(k, &e), ST_FAIL);
        assert_non_null(strstr(e.text, path));
        free(path);
        free(moved);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_order), cmocka_unit_test(test_flush), cmocka_unit_test(test_failure)};
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
