/* test_store.c - the parts under pack-lmdb: writing and reading by several threads, growth of the map, the content hash, what a
 * killed or refused writer leaves, records, label tables, ordered work. The program as a whole: tests/programs/pack-lmdb.bats.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/ordered.h"
#include "common/store/input.h"
#include "common/store/record.h"
#include "common/store/store_tools.h"

static char folder[] = "/tmp/test_store.XXXXXX";
static struct error e;

static char *at(const char *name) {
    static char path[4][256];
    static int turn;
    char *p = path[turn++ % 4];
    snprintf(p, 256, "%s/%s", folder, name);
    return p;
}

#define OK(call)                        \
    do {                                \
        if ((call) != ST_OK)            \
            fail_msg("%s: %s", #call, e.text); \
    } while (0)
#define FAILS(call, want, why)                                              \
    do {                                                                    \
        enum status st_ = (call);                                           \
        if (st_ != (want) || !strstr(e.text, why))                        \
            fail_msg("%s: status %d, \"%s\"", #call, st_, e.text);          \
    } while (0)

static struct image flat(int width, int height, int channels, int value) {
    struct image im;
    image_alloc(&im, width, height, channels);
    memset(im.data, value, (size_t)width * (size_t)height * (size_t)channels);
    return im;
}

static const struct store_format two = {.n_sizes = 2, .height = {8, 4}, .width = {12, 6}, .channels = 3, .codec = IMAGE_PPM,
                                        .filter = "box", .crop = "none"};

/* Sample i of the test stores: every pixel i % 256, label i % 5, hash of i. */
static struct store_record sample_record(int i, size_t padding) {
    struct store_record r = {.label = i % 5, .hashed = true, .key = xasprintf("k%d", i)};
    sha256(&i, sizeof i, r.source);
    r.json = xasprintf("{\"n\":%d,\"p\":\"%*s\"}", i, (int)padding, "");
    for (int k = 0; k < 2; k++) {
        struct image im = flat(two.width[k], two.height[k], 3, i % 256);
        OK(image_encode(&im, IMAGE_PPM, 0, &r.picture[k], &e));
        image_free(&im);
    }
    return r;
}

static void add(struct store_writer *w, int first, int end, size_t padding) {
    for (int i = first; i < end; i++) {
        struct store_record r = sample_record(i, padding);
        OK(store_put(w, &r, &e));
        assert_null(r.key);
    }
}

static char *hash_of(const char *path) {
    struct store *s;
    OK(store_open(&s, path, &e));
    char *text = xstrdup(store_get_meta(s)->content_hash);
    store_close(s);
    return text;
}

struct reading {
    struct store *s;
    int step;
    bool ok;
};

static void *read_some(void *argument) {
    struct reading *r = argument;
    struct error why;
    r->ok = true;
    for (int64_t i = r->step; i < store_get_meta(r->s)->length; i += 7) {
        struct image im;
        int label;
        for (int k = 0; k < 2; k++) {
            r->ok &= store_decode(r->s, k, i, &im, &why) == ST_OK && im.width == two.width[k] && im.data[1] == i % 256;
            image_free(&im);
        }
        r->ok &= store_label(r->s, i, &label, &why) == ST_OK && label == i % 5;
    }
    return NULL;
}

static void test_write_and_read(void **state) {
    (void)state;
    struct store_writer *w;
    struct store *s;
    OK(store_create(&w, at("a"), &two, false, &e));
    store_writer_start_session(w, cJSON_CreateObject());
    add(w, 0, 700, 0);
    assert_int_equal(store_writer_length(w), 700);
    assert_int_equal(store_writer_committed(w), 512);
    int64_t index;
    uint8_t digest[SHA256_SIZE];
    sha256(&(int){511}, sizeof(int), digest); /* committed */
    assert_true(store_writer_find(w, digest, &index) && index == 511);
    sha256(&(int){699}, sizeof(int), digest); /* in hand */
    assert_true(store_writer_find(w, digest, &index) && index == 699);
    sha256(&(int){700}, sizeof(int), digest);
    assert_false(store_writer_find(w, digest, &index));
    OK(store_writer_close(w, true, &e));

    OK(store_open(&s, at("a"), &e));
    const struct store_meta *m = store_get_meta(s);
    assert_true(m->length == 700 && m->n_sizes == 2 && m->height[1] == 4 && m->width[0] == 12 && m->channels == 3);
    assert_true(m->codec == IMAGE_PPM && m->label_dim == 5 && !m->foreign && strlen(m->content_hash) == 64);
    pthread_t thread[4];
    struct reading reading[4];
    for (int i = 0; i < 4; i++) {
        reading[i] = (struct reading){s, i, false};
        assert_int_equal(pthread_create(&thread[i], NULL, read_some, &reading[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(thread[i], NULL);
        assert_true(reading[i].ok);
    }
    const void *data;
    size_t bytes;
    const char *text;
    FAILS(store_picture(s, 0, 700, &data, &bytes, &e), ST_BAD, "700");
    FAILS(store_picture(s, 2, 0, &data, &bytes, &e), ST_BAD, "of 2 sizes");
    FAILS(store_picture(s, 0, -1, &data, &bytes, &e), ST_BAD, "-1");
    store_text(s, "key", 42, &text, &bytes);
    assert_true(bytes == 3 && !memcmp(text, "k42", 3));
    store_text(s, "nothing", 42, &text, &bytes);
    assert_null(text);
    store_close(s);
    store_close(NULL);
}

/* 40 MB of JSON twice over make the map of 64 MB grow. */
static void test_growth_and_append(void **state) {
    (void)state;
    struct store_writer *w;
    OK(store_create(&w, at("big"), &two, false, &e));
    add(w, 0, 900, 50000);
    OK(store_writer_close(w, true, &e));
    OK(store_extend(&w, at("big"), &e));
    add(w, 900, 1700, 50000);
    assert_true(store_writer_committed(w) >= 900);
    OK(store_writer_close(w, true, &e));
    struct stat sb;
    char *file = xasprintf("%s/data.mdb", at("big"));
    assert_int_equal(stat(file, &sb), 0);
    free(file);
    assert_true(sb.st_size > 85000000 && sb.st_size < 110000000); /* as big as its data */

    OK(store_create(&w, at("small"), &two, false, &e)); /* the same pictures and labels, other JSON and batches */
    for (int i = 0; i < 1700; i++) {
        add(w, i, i + 1, 0);
        if (i % 100 == 0)
            OK(store_flush(w, &e));
    }
    OK(store_writer_close(w, false, &e));
    char *a = hash_of(at("big")), *b = hash_of(at("small"));
    assert_string_equal(a, b);
    free(a);
    free(b);

    /* by the letter of store_write.h */
    OK(store_create(&w, at("one"), &two, false, &e));
    add(w, 3, 4, 0);
    struct store_record r = sample_record(3, 0);
    struct bytes text = {0};
    uint8_t chain[64] = {0}, digest[SHA256_SIZE];
    for (int k = 0; k < 2; k++) {
        uint8_t head[16] = {(uint8_t)two.width[k], 0, 0, 0, (uint8_t)two.height[k], 0, 0, 0, (uint8_t)r.picture[k].size, (uint8_t)(r.picture[k].size >> 8)};
        bytes_append(&text, head, 16);
        bytes_append(&text, r.picture[k].data, r.picture[k].size);
    }
    bytes_append(&text, (uint8_t[8]){3}, 8);
    sha256(text.data, text.size, chain + 32);
    sha256(chain, 64, digest);
    char want[SHA256_HEX];
    sha256_to_hex(digest, want);
    OK(store_writer_close(w, true, &e));
    a = hash_of(at("one"));
    assert_string_equal(a, want);
    free(a);
    bytes_free(&text);
    store_record_free(&r);
}

static void test_refusals(void **state) {
    (void)state;
    struct store_writer *w, *w2;
    struct store *s;
    FAILS(store_open(&s, at("none"), &e), ST_FAIL, "no such store");
    FAILS(store_extend(&w, at("none"), &e), ST_FAIL, "no such store");
    OK(store_create(&w, at("r"), &two, false, &e));
    FAILS(store_create(&w2, at("r"), &two, true, &e), ST_FAIL, "another program is writing");
    OK(store_writer_close(w, true, &e));
    assert_int_equal(access(at("r"), F_OK), -1); /* nothing was put in: nothing is left */
    struct store_format bad = two;
    bad.height[1] = 8;
    FAILS(store_create(&w, at("r"), &bad, false, &e), ST_FAIL, "must differ");
    assert_int_equal(access(at("r"), F_OK), -1);
    OK(store_create(&w, at("r"), &two, false, &e));
    add(w, 0, 3, 0);
    OK(store_writer_close(w, true, &e));
    FAILS(store_create(&w, at("r"), &two, false, &e), ST_FAIL, "a store already");
    OK(store_create(&w, at("r"), &two, true, &e));
    add(w, 0, 1, 0);
    OK(store_writer_close(w, true, &e));
    OK(store_open(&s, at("r"), &e));
    assert_int_equal(store_get_meta(s)->length, 1);
    store_close(s);
}

/* A reader keeps its snapshot while a writer, another process, goes on and is killed in the end. */
static void test_reader_beside_writer(void **state) {
    (void)state;
    struct store_writer *w;
    OK(store_create(&w, at("live"), &two, false, &e));
    add(w, 0, 600, 0);
    OK(store_writer_close(w, true, &e));
    pid_t child = fork();
    if (!child) {
        OK(store_extend(&w, at("live"), &e));
        for (int i = 600;; i++) {
            add(w, i, i + 1, 0);
            if (i % 10 == 0)
                OK(store_flush(w, &e));
        }
    }
    for (int round = 0; round < 15; round++) {
        struct store *s;
        OK(store_open(&s, at("live"), &e));
        struct reading r = {s, 0, false};
        usleep(5000);
        read_some(&r);
        assert_true(r.ok);
        store_close(s);
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    struct store *s;
    OK(store_open(&s, at("live"), &e));
    assert_true(store_get_meta(s)->length >= 600);
    struct reading r = {s, 0, false};
    read_some(&r);
    assert_true(r.ok);
    store_close(s);
}

/* ---- records ---- */

static struct sample sample_of(int width, int height, enum image_format format) {
    struct sample s = {.key = "x"};
    struct image im = flat(width, height, 3, 100);
    OK(sample_set_picture(&s, &im, format, 95, &e));
    image_free(&im);
    return s;
}

static void test_records(void **state) {
    (void)state;
    struct recipe r = {.filter = FILTER_BOX, .crop = CROP_NONE};
    r.format = (struct store_format){.channels = 3, .codec = IMAGE_PNG, .filter = "box", .crop = "none"};
    OK(recipe_parse_sizes("8x16,32x64,16x32", &r.format, &e));
    assert_true(r.format.n_sizes == 3 && r.format.width[0] == 32 && r.format.height[2] == 16);
    static const char *const wrong[] = {"", "0", "-4", "12a", "x", "8x", "8,8", "16,8x16", "70000", "1,2,3,4,5,6,7,8,9", "99999999999999999999", "8,,4"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct store_format f = {0};
        assert_int_equal(recipe_parse_sizes(wrong[i], &f, &e), ST_BAD);
    }

    struct sample exact = sample_of(32, 64, IMAGE_PNG), wide = sample_of(80, 64, IMAGE_PPM), empty = {.key = "x"};
    struct store_record out = {.label = -1};
    OK(record_make(&r, &exact, &out, &e));
    assert_true(out.picture[0].size == exact.picture.size && !memcmp(out.picture[0].data, exact.picture.data, exact.picture.size));
    struct image_info info;
    OK(image_probe(out.picture[2].data, out.picture[2].size, &info, &e));
    assert_true(info.width == 8 && info.height == 16 && info.format == IMAGE_PNG);
    store_record_free(&out);
    FAILS(record_make(&r, &wide, &out, &e), ST_BAD, "80x64");
    store_record_free(&out);
    r.crop = CROP_CENTER;
    OK(record_make(&r, &wide, &out, &e));
    assert_non_null(strstr(out.json, "\"crop\":[24,0,32,64]"));
    store_record_free(&out);
    FAILS(record_make(&r, &empty, &out, &e), ST_BAD, "no picture");
    store_record_free(&out);
    sample_free(&exact);
    sample_free(&wide);
}

/* ---- unpacking ---- */

static char left_out[256];
static void leave_out(const char *key, const char *reason, void *data) {
    snprintf(left_out, sizeof left_out, "%s: %s", key, reason);
    ++*(int *)data;
}
static void tick(void *data) { *(int *)data += 100; }

static void test_unpack(void **state) {
    (void)state;
    struct store_writer *w;
    struct store *s;
    int64_t out;
    int calls = 0; /* a sample left out counts 1, a tick 100 */
    OK(store_create(&w, at("u"), &two, false, &e));
    store_writer_start_session(w, cJSON_Parse("{\"options\": {\"labels\": \"none\"}}"));
    add(w, 0, 3, 0);
    add(w, 1, 2, 0); /* k1 once more */
    OK(store_writer_close(w, true, &e));
    OK(store_extend(&w, at("u"), &e));
    assert_string_equal(store_writer_last_option(w, "labels")->valuestring, "none");
    assert_null(store_writer_last_option(w, "dedupe"));
    OK(store_writer_close(w, true, &e));

    OK(store_open(&s, at("u"), &e));
    struct unpack_options o = {.size = 1, .n = 4, .folder = at("files"), .reject = leave_out, .tick = tick, .data = &calls};
    OK(store_unpack_folder(o.folder, &e));
    OK(store_unpack_folder(o.folder, &e)); /* an empty one will do */
    OK(store_unpack(s, &o, &out, &e));
    assert_int_equal(out, 3);
    assert_int_equal(calls, 401);
    assert_string_equal(left_out, "k1: a sample of this key is there already");
    struct bytes file = {0};
    struct image_info info;
    OK(file_read(at("files/k2.png"), 1 << 20, &file, &e));
    OK(image_probe(file.data, file.size, &info, &e));
    assert_true(info.format == IMAGE_PNG && info.width == 6 && info.height == 4);
    OK(file_read(at("files/k2.cls"), 1 << 20, &file, &e));
    assert_memory_equal(file.data, "2", 1);
    bytes_free(&file);
    FAILS(store_unpack_folder(o.folder, &e), ST_FAIL, "there is something in it");
    o.folder = at("files/nowhere"); /* fails at the first file, and no tick follows */
    calls = 0;
    close(open(o.folder, O_CREAT | O_WRONLY, 0666));
    assert_int_equal(store_unpack(s, &o, &out, &e), ST_FAIL);
    assert_true(out == 0 && calls == 0);
    store_close(s);
}

/* ---- labels ---- */

static void test_names(void **state) {
    (void)state;
    struct label_names a = {0}, b = {0};
    cJSON *classes = cJSON_Parse("[\"cat\", \"dog\", 7]");
    label_names_add(&a, NULL);
    assert_int_equal(a.n, 0);
    label_names_add(&a, classes);
    assert_true(a.n == 2 && label_names_number(&a, "dog") == 1);
    assert_true(label_names_join(&b, &a) && b.n == 2);
    label_names_number(&b, "ape");
    assert_true(label_names_join(&b, &a));
    assert_true(label_names_join(&a, &b) && a.n == 3);
    label_names_free(&b);
    label_names_number(&b, "dog");
    assert_false(label_names_join(&a, &b)); /* dog is 1 there, 0 here */
    assert_int_equal(input_labels_by_name("none"), INPUT_LABELS_NONE);
    assert_int_equal(input_labels_by_name("folder"), INPUT_LABELS_FOLDER);
    assert_int_equal(input_labels_by_name("Folder"), INPUT_LABELS_TABLE);
    cJSON_Delete(classes);
    label_names_free(&a);
    label_names_free(&b);
}

static void test_labels(void **state) {
    (void)state;
    struct label_table *t;
    static const char good[] = "# names with spaces need a tab\na b.png\t3\nc/d.png 4\r\n\ne  5\nf.x.png 6";
    OK(label_table_parse(&t, good, sizeof good - 1, "t", &e));
    assert_int_equal(label_table_find(t, "a b.png"), 3);
    assert_int_equal(label_table_find(t, "c/d.png"), 4);
    assert_int_equal(label_table_find(t, "c/d"), LABEL_NONE);
    assert_int_equal(label_table_find(t, "z/e.jpg"), 5);
    assert_int_equal(label_table_find(t, "f.x.png"), 6);
    assert_int_equal(label_table_find(t, ""), LABEL_NONE);
    assert_int_equal(label_table_names(t)->n, 0);
    label_table_free(t);
    static const char named[] = "{\"labels\": [[\"a\", \"dog\"], [\"b\", \"cat\"], [\"c\", \"dog\"]]}";
    OK(label_table_parse(&t, named, sizeof named - 1, "t", &e));
    assert_int_equal(label_table_find(t, "a"), 1);
    assert_int_equal(label_table_find(t, "b"), 0);
    assert_string_equal(label_table_names(t)->name[1], "dog");
    label_table_free(t);
    static const char *const bad[] = {"alone\n", "a 1\na 2\n", "{\"labels\": 5}", "{\"labels\": [[1, 2]]}", "{\"labels\": [[\"a\", -1]]}",
                                      "{\"labels\": [[\"a\", 0.5]]}", "{\"labels\"", "{\"labels\": [[\"a\", 1, 2]]}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (label_table_parse(&t, bad[i], strlen(bad[i]), "t", &e) != ST_BAD)
            fail_msg("%s was accepted", bad[i]);
        assert_null(t);
    }
    OK(label_table_parse(&t, "{\"labels\": null}", 16, "t", &e));
    assert_null(t);

    struct sample s = {.key = "x"};
    int label;
    OK(label_of_sample(&s, &label, &e));
    assert_int_equal(label, LABEL_NONE);
    cJSON_AddNumberToObject(sample_json(&s), "label", 7);
    OK(label_of_sample(&s, &label, &e));
    assert_int_equal(label, 7);
    s.extras = xcalloc(1, sizeof *s.extras);
    s.n_extras = 1;
    s.extras[0].suffix = xstrdup(".cls");
    bytes_append(&s.extras[0].bytes, "12\n", 3);
    OK(label_of_sample(&s, &label, &e)); /* .cls comes first */
    assert_int_equal(label, 12);
    s.extras[0].bytes.data[0] = 'x';
    FAILS(label_of_sample(&s, &label, &e), ST_BAD, ".cls");
    sample_free(&s);
}

/* ---- ordered work ---- */

static void square(void *slot, void *context) {
    int *n = slot;
    usleep((useconds_t)(*n * 7919 % 300));
    *n *= *n;
    __atomic_fetch_add((int *)context, 1, __ATOMIC_RELAXED);
}

static void test_ordered(void **state) {
    (void)state;
    for (int threads = 0; threads <= 5; threads++) {
        int done = 0, next = 0, got = 0, *slot;
        struct ordered *o = ordered_start(threads, 6, sizeof *slot, square, &done);
        for (;;) {
            while (next < 100 && (slot = ordered_room(o))) {
                *slot = next++;
                ordered_give(o);
            }
            assert_true(ordered_busy(o) <= 6);
            if (!(slot = ordered_take(o)))
                break;
            assert_int_equal(*slot, got * got);
            got++;
            ordered_done(o);
        }
        assert_int_equal(got, 100);
        assert_int_equal(done, 100);
        if ((slot = ordered_room(o)))
            ordered_give(o); /* stopping with work under way */
        ordered_stop(o, NULL);
    }
    ordered_stop(NULL, NULL);
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_write_and_read), cmocka_unit_test(test_growth_and_append),
                                       cmocka_unit_test(test_refusals), cmocka_unit_test(test_reader_beside_writer),
                                       cmocka_unit_test(test_records), cmocka_unit_test(test_unpack), cmocka_unit_test(test_names),
                                       cmocka_unit_test(test_labels), cmocka_unit_test(test_ordered)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
