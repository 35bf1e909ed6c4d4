/* test_sample.c - samples from and to tar streams: grouping, pass-through, limits, and every way a stream can end.
 *
 * As a tool for the program tests: test_sample copy <tar >tar   (bad samples are named on stderr and left out)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/stream/sample.h"

static struct error e;
static const char ppm[] = "P6 2 1 255\n123456";
#define PPM ppm, (sizeof ppm - 1)

/* ---- a tar written by hand, so that it can be wrong ---- */

static void member(struct bytes *tar, const char *name, char type, const void *data, size_t size) {
    uint8_t h[512] = {0};
    snprintf((char *)h, 100, "%s", name);
    memcpy(h + 100, "0000644\0000000000\0000000000\0", 24);
    snprintf((char *)h + 124, 13, "%011zo ", size);
    memcpy(h + 136, "00000000000 ", 12);
    memset(h + 148, ' ', 8);
    h[156] = (uint8_t)type;
    memcpy(h + 257, "ustar\00000", 8);
    unsigned sum = 0;
    for (int i = 0; i < 512; i++)
        sum += h[i];
    snprintf((char *)h + 148, 8, "%06o", sum);
    bytes_append(tar, h, 512);
    bytes_append(tar, data, size);
    static const uint8_t zeros[512];
    bytes_append(tar, zeros, (512 - size % 512) % 512);
}

static void file(struct bytes *tar, const char *name, const void *data, size_t size) { member(tar, name, '0', data, size); }

static void end(struct bytes *tar) {
    static const uint8_t zeros[1024];
    bytes_append(tar, zeros, sizeof zeros);
}

/* Reads the whole stream; the result is one text: "key:format:json:extras ..." with "!text" for ST_BAD and ST_FAIL. */
static void read_all(const struct bytes *tar, char *out, size_t room) {
    FILE *f = tmpfile();
    if (tar->size)
        fwrite(tar->data, 1, tar->size, f);
    fflush(f);
    lseek(fileno(f), 0, SEEK_SET);
    struct sample_reader *r;
    struct sample s = {0};
    enum status st;
    assert_int_equal(sample_reader_open(&r, fileno(f), "test", &e), ST_OK);
    size_t at = 0;
    out[0] = '\0';
    while ((st = sample_read(r, &s, &e)) != ST_END) {
        if (st == ST_OK)
            at += (size_t)snprintf(out + at, room - at, "%s:%s:%d:%d ", s.key, image_format_name(s.format), s.json != NULL, s.n_extras);
        else
            at += (size_t)snprintf(out + at, room - at, "%s!%s ", st == ST_BAD ? s.key : "FAIL", e.text);
        assert_true(at < room);
        if (st == ST_FAIL) {
            assert_int_equal(sample_read(r, &s, &e), ST_FAIL); /* and stays so */
            break;
        }
    }
    sample_free(&s);
    sample_reader_close(r);
    fclose(f);
}

static void expect(const struct bytes *tar, const char *want) {
    char got[8192];
    read_all(tar, got, sizeof got);
    if (strcmp(got, want))
        fail_msg("got  %s\nwant %s", got, want);
}

static void expect_has(const struct bytes *tar, const char *part) {
    char got[8192];
    read_all(tar, got, sizeof got);
    if (!strstr(got, part))
        fail_msg("got  %s\nwithout %s", got, part);
}

static void grouping(void **state) {
    (void)state;
    struct bytes t = {0};
    member(&t, "folder/", '5', "", 0);
    file(&t, "./v1.2/a.ppm", PPM);
    file(&t, "./v1.2/a.json", "{\"x\":1}", 7);
    file(&t, "./v1.2/a.seg.png", "mask", 4);
    file(&t, "b.jpg", PPM); /* told by magic, not by name */
    file(&t, "b.cls", "3", 1);
    file(&t, "._c.jpg", "x", 1);
    file(&t, ".hidden", "x", 1);
    file(&t, "d.json", "{}", 2);
    file(&t, "e", "no suffix", 9);
    file(&t, "f.PNG", "\x89PNG\r\n\x1a\n", 8);
    file(&t, "g.jpg", "<html>", 6);
    end(&t);
    expect(&t, "v1.2/a:ppm:1:1 b:ppm:0:1 d:unknown:1:0 e:unknown:0:1 f:png:0:0 g:jpg:0:0 ");
    bytes_free(&t);
}

static void bad_samples(void **state) {
    (void)state;
    struct bytes t = {0};
    file(&t, "/abs.ppm", PPM);
    file(&t, "a/../../up.ppm", PPM);
    file(&t, "two.ppm", PPM);
    file(&t, "two.jpg", PPM);
    file(&t, "twice.json", "{}", 2);
    file(&t, "twice.json", "{}", 2);
    file(&t, "again.txt", "1", 1);
    file(&t, "again.txt", "1", 1);
    file(&t, "list.json", "[1]", 3);
    file(&t, "broken.json", "{\"a\":", 5);
    file(&t, "nothing.json", "", 0);
    member(&t, "link.ppm", '2', "", 0);
    file(&t, "good.ppm", PPM);
    end(&t);
    expect(&t, "/abs!key is an absolute path a/../../up!key leads out of its folder (..) two!two pictures: .ppm and .jpg "
               "twice!two .json members again!two .txt members list!.json: not an object broken!.json: not valid JSON "
               "nothing!.json: not valid JSON link!member link.ppm is a link or a device, not a file good:ppm:0:0 ");
    bytes_free(&t);
}

static void limits(void **state) {
    (void)state;
    struct bytes t = {0}, big = {0};
    char name[200];
    for (int i = 0; i < SAMPLE_EXTRAS_MAX + 1; i++) {
        snprintf(name, sizeof name, "many.%d", i);
        file(&t, name, "x", 1);
    }
    bytes_reserve(&big, SAMPLE_JSON_MAX + 1);
    memset(big.data, ' ', SAMPLE_JSON_MAX + 1);
    file(&t, "big.json", big.data, SAMPLE_JSON_MAX + 1);
    file(&t, "good.ppm", PPM);
    end(&t);
    expect(&t, "many!more than 64 members beside picture and JSON "
               "big!member big.json: 16777217 bytes are over the limit of 16777216 good:ppm:0:0 ");
    bytes_free(&big);
    t.size = 0;
    file(&t, "a.ppm", PPM);
    file(&t, "b.ppm", "", 0);
    memcpy(t.data + 1024 + 124, "77777777777", 11); /* claims 8 GB, in a header with the right sum */
    memset(t.data + 1024 + 148, ' ', 8);
    unsigned sum = 0;
    for (int i = 0; i < 512; i++)
        sum += t.data[1024 + i];
    snprintf((char *)t.data + 1024 + 148, 8, "%06o", sum);
    expect_has(&t, "a:ppm:0:0 FAIL!test: ");
    bytes_free(&t);
}

/* A stream cut anywhere is a failure, also exactly between two members, and one zero block is no end mark. */
static void cut_anywhere(void **state) {
    (void)state;
    struct bytes t = {0};
    file(&t, "a.ppm", PPM);
    file(&t, "a.json", "{}", 2);
    uint8_t black[600] = {0}; /* zeros at the end of a member must not pass for an end mark */
    memcpy(black, "P5 33 17 255\n", 13);
    file(&t, "b.ppm", black, sizeof black);
    size_t whole = t.size;
    end(&t);
    expect(&t, "a:ppm:1:0 b:ppm:0:0 ");
    for (size_t n = 1; n < whole + 1024; n += n % 512 == 0 || n % 512 == 511 ? 1 : 255 - n % 3) {
        struct bytes part = {t.data, n, n};
        expect_has(&part, "FAIL!test: ");
    }
    for (size_t n = 512; n <= whole + 512; n += 512) {
        struct bytes part = {t.data, n, n};
        expect_has(&part, "FAIL!test: truncated tar stream");
    }
    struct bytes none = {0};
    expect(&none, "FAIL!test: no tar stream: it is empty ");
    bytes_free(&t);
}

static void streams_in_a_row(void **state) {
    (void)state;
    struct bytes t = {0};
    end(&t);
    expect(&t, ""); /* no samples, but whole */
    file(&t, "a.ppm", PPM);
    end(&t);
    end(&t);
    file(&t, "b.ppm", PPM);
    end(&t);
    expect(&t, "a:ppm:0:0 b:ppm:0:0 ");
    t.size -= 1024;
    expect_has(&t, "truncated");
    bytes_free(&t);
}

static void damaged(void **state) {
    (void)state;
    struct bytes t = {0};
    file(&t, "a.ppm", PPM);
    file(&t, "b.ppm", PPM);
    end(&t);
    t.data[1024 + 5] ^= 0x20; /* the name in the second header */
    expect_has(&t, "FAIL!test: damaged tar stream near byte ");
    t.size = 0;
    bytes_append(&t, "\xff\xd8\xff\xe0 a JPEG is no tar", 22);
    expect(&t, "FAIL!test: no tar stream but a JPEG picture ");
    bytes_free(&t);
}

/* ---- writing ---- */

static void write_samples(int fd, enum status *st) {
    struct sample_writer *w;
    struct sample s = {0};
    *st = sample_writer_open(&w, fd, &e);
    for (int i = 0; !*st && i < 40; i++) {
        snprintf(s.key, sizeof s.key, i % 2 ? "%03d" : "folder/caf\xc3\xa9-%03d", i);
        struct image im;
        image_alloc(&im, 30, 30, 3);
        memset(im.data, i, 2700);
        assert_int_equal(sample_set_picture(&s, &im, IMAGE_PPM, 0, &e), ST_OK);
        image_free(&im);
        cJSON_Delete(s.json);
        s.json = NULL;
        cJSON *fields = cJSON_CreateObject();
        cJSON_AddNumberToObject(fields, "i", i);
        sample_add_step(&s, "test", fields);
        sample_add_step(&s, "test2", NULL);
        if (!s.extras) {
            s.extras = xcalloc(1, sizeof *s.extras);
            s.n_extras = 1;
            s.extras[0].suffix = xstrdup(".note.txt");
            bytes_append(&s.extras[0].bytes, "hello", 5);
        }
        *st = sample_write(w, &s, &e);
    }
    sample_free(&s);
    struct error later;
    enum status closed = sample_writer_close(w, &later);
    if (!*st) {
        *st = closed;
        e = later;
    }
}

static void round_trip(void **state) {
    (void)state;
    FILE *f = tmpfile(), *again = tmpfile();
    enum status st;
    write_samples(fileno(f), &st);
    assert_int_equal(st, ST_OK);
    write_samples(fileno(again), &st);
    struct stat a, b;
    fstat(fileno(f), &a);
    fstat(fileno(again), &b);
    assert_int_equal(a.st_size, b.st_size);
    assert_int_equal(a.st_size % 10240, 0);
    uint8_t *x = malloc((size_t)a.st_size), *y = malloc((size_t)a.st_size);
    assert_int_equal(pread(fileno(f), x, (size_t)a.st_size, 0), a.st_size);
    assert_int_equal(pread(fileno(again), y, (size_t)a.st_size, 0), a.st_size);
    assert_memory_equal(x, y, (size_t)a.st_size); /* equal samples, equal bytes */
    free(x);
    free(y);
    lseek(fileno(f), 0, SEEK_SET);
    struct sample_reader *r;
    struct sample s = {0};
    sample_reader_open(&r, fileno(f), "test", &e);
    for (int i = 0; i < 40; i++) {
        char key[64];
        assert_int_equal(sample_read(r, &s, &e), ST_OK);
        snprintf(key, sizeof key, i % 2 ? "%03d" : "folder/caf\xc3\xa9-%03d", i);
        assert_string_equal(s.key, key);
        assert_int_equal(s.format, IMAGE_PPM);
        assert_int_equal(s.picture.data[s.picture.size - 1], i);
        char *text = cJSON_PrintUnformatted(s.json), want[256];
        snprintf(want, sizeof want, "{\"steps\":[{\"tool\":\"test\",\"version\":\"%s\",\"i\":%d},{\"tool\":\"test2\",\"version\":\"%s\"}]}",
                 FACEMILL_VERSION, i, FACEMILL_VERSION);
        assert_string_equal(text, want);
        free(text);
        assert_int_equal(s.n_extras, 1);
        assert_string_equal(s.extras[0].suffix, ".note.txt");
        assert_memory_equal(s.extras[0].bytes.data, "hello", 5);
    }
    assert_int_equal(sample_read(r, &s, &e), ST_END);
    sample_free(&s);
    sample_reader_close(r);
    fclose(f);
    fclose(again);
}

/* Names in no known charset go through as the bytes they are; in JSON they become readable UTF-8. */
static void foreign_names(void **state) {
    (void)state;
    static const char *const keys[] = {"caf\xe9", "\xff\xfe/x", "tab\there", "new\nline", "quote\"d"};
    FILE *f = tmpfile();
    struct sample_writer *w;
    struct sample_reader *r;
    struct sample s = {0};
    assert_int_equal(sample_writer_open(&w, fileno(f), &e), ST_OK);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        snprintf(s.key, sizeof s.key, "%s", keys[i]);
        cJSON_Delete(s.json);
        s.json = NULL;
        cJSON_AddStringToObject(sample_json(&s), "source", keys[i]);
        assert_int_equal(sample_write(w, &s, &e), ST_OK);
    }
    assert_int_equal(sample_writer_close(w, &e), ST_OK);
    lseek(fileno(f), 0, SEEK_SET);
    sample_reader_open(&r, fileno(f), "test", &e);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        assert_int_equal(sample_read(r, &s, &e), ST_OK);
        assert_string_equal(s.key, keys[i]);
        const char *source = cJSON_GetStringValue(cJSON_GetObjectItem(s.json, "source"));
        assert_string_equal(source, i == 0 ? "caf\xef\xbf\xbd" : i == 1 ? "\xef\xbf\xbd\xef\xbf\xbd/x" : keys[i]);
    }
    assert_int_equal(sample_read(r, &s, &e), ST_END);
    sample_reader_close(r);
    fclose(f);
}

static void full_disk_and_closed_pipe(void **state) {
    (void)state;
    enum status st;
    int fd = open("/dev/full", O_WRONLY);
    write_samples(fd, &st);
    assert_int_equal(st, ST_FAIL);
    assert_non_null(strstr(e.text, "No space left"));
    close(fd);
    int p[2];
    assert_int_equal(pipe(p), 0);
    close(p[0]);
    void (*before)(int) = signal(SIGPIPE, SIG_IGN);
    write_samples(p[1], &st);
    signal(SIGPIPE, before);
    assert_int_equal(st, ST_FAIL);
    assert_non_null(strstr(e.text, "Broken pipe"));
    close(p[1]);
}

static void bad_keys_are_not_written(void **state) {
    (void)state;
    static const char *const keys[] = {"", "/abs", "../up", "a/../b", "a/", "..", "a/.."};
    struct sample_writer *w;
    struct sample s = {0};
    FILE *f = tmpfile();
    sample_writer_open(&w, fileno(f), &e);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        snprintf(s.key, sizeof s.key, "%s", keys[i]);
        assert_int_equal(sample_write(w, &s, &e), ST_BAD);
        assert_int_equal(sample_write_folder("/tmp", &s, IMAGE_PNG, 0, &e), ST_BAD);
    }
    sample_writer_close(w, &e);
    fclose(f);
}

static void folder(void **state) {
    (void)state;
    char dir[] = "/tmp/test_sample-XXXXXX", path[128];
    assert_non_null(mkdtemp(dir));
    struct sample s = {.key = "deep/er/x"};
    struct image im;
    struct bytes b = {0};
    image_alloc(&im, 4, 4, 3);
    memset(im.data, 77, 48);
    sample_set_picture(&s, &im, IMAGE_PPM, 0, &e);
    cJSON_AddStringToObject(sample_json(&s), "a", "b");
    assert_int_equal(sample_write_folder(dir, &s, IMAGE_PNG, 0, &e), ST_OK);
    snprintf(path, sizeof path, "%s/deep/er/x.png", dir);
    assert_int_equal(file_read(path, 1000, &b, &e), ST_OK);
    assert_int_equal(image_detect(b.data, b.size), IMAGE_PNG);
    unlink(path);
    snprintf(path, sizeof path, "%s/deep/er/x.json", dir);
    assert_int_equal(file_read(path, 1000, &b, &e), ST_OK);
    assert_int_equal(b.size, 9);
    unlink(path);
    assert_int_equal(sample_write_folder(dir, &s, IMAGE_UNKNOWN, 0, &e), ST_OK); /* as it is */
    snprintf(path, sizeof path, "%s/deep/er/x.ppm", dir);
    assert_int_equal(unlink(path), 0);
    snprintf(path, sizeof path, "rm -r %s", dir);
    assert_int_equal(system(path), 0);
    assert_int_equal(sample_write_folder("/proc/none", &s, IMAGE_PNG, 0, &e), ST_FAIL);
    image_free(&im);
    bytes_free(&b);
    sample_free(&s);
}

static int copy(void) {
    struct sample_reader *r;
    struct sample_writer *w;
    struct sample s = {0};
    enum status st = sample_reader_open(&r, 0, "stdin", &e);
    if (!st && (st = sample_writer_open(&w, 1, &e)))
        sample_reader_close(r);
    if (st)
        goto failed;
    while (!st || st == ST_BAD)
        if (!(st = sample_read(r, &s, &e)))
            st = sample_write(w, &s, &e);
        else if (st == ST_BAD)
            fprintf(stderr, "bad %s: %s\n", s.key, e.text);
    sample_free(&s);
    sample_reader_close(r);
    struct error later;
    if (sample_writer_close(w, &later) && st == ST_END) {
        st = ST_FAIL;
        e = later;
    }
failed:
    if (st == ST_END)
        return 0;
    fprintf(stderr, "test_sample: %s\n", e.text);
    return 1;
}

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "copy"))
        return copy();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grouping), cmocka_unit_test(bad_samples), cmocka_unit_test(limits), cmocka_unit_test(cut_anywhere),
        cmocka_unit_test(streams_in_a_row), cmocka_unit_test(damaged), cmocka_unit_test(round_trip),     cmocka_unit_test(foreign_names),
        cmocka_unit_test(full_disk_and_closed_pipe), cmocka_unit_test(bad_keys_are_not_written), cmocka_unit_test(folder)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
