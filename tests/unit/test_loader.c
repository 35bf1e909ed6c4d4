/* test_loader.c - order, resuming, threads, cache, labels and failures of the data loader. */
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
#include "common/store/loader.h"
#include "common/store/store_write.h"

#define N 23
#define SIDE 8

static char folder[] = "/tmp/test_loader-XXXXXX";
static char *good, *broken;

/* Sample i is a picture of the grey level i and has the label i % 4; sample `bad` holds bytes that are no picture. */
static void make_store(const char *path, int bad) {
    struct error e;
    struct store_writer *w;
    const struct store_format f = {.n_sizes = 2, .height = {SIDE * 2, SIDE}, .width = {SIDE * 2, SIDE}, .channels = 3, .codec = IMAGE_PNG};
    assert_int_equal(store_create(&w, path, &f, false, &e), ST_OK);
    for (int i = 0; i < N; i++) {
        struct store_record r = {.key = xasprintf("%05d", i), .label = i % 4};
        for (int size = 0; size < 2; size++) {
            struct image im;
            image_alloc(&im, f.width[size], f.height[size], 3);
            memset(im.data, i, (size_t)(im.width * im.height * 3));
            if (i == bad)
                bytes_append(&r.picture[size], "nonsense", 8);
            else
                assert_int_equal(image_encode(&im, IMAGE_PNG, 0, &r.picture[size], &e), ST_OK);
            image_free(&im);
        }
        assert_int_equal(store_put(w, &r, &e), ST_OK);
    }
    assert_int_equal(store_writer_close(w, true, &e), ST_OK);
}

/* The grey levels of `batches` batches from `position` on. */
static void levels(struct loader_options o, int batches, int *out) {
    struct error e;
    struct store *s;
    struct loader *l;
    assert_int_equal(store_open(&s, good, &e), ST_OK);
    assert_int_equal(loader_open(&l, s, &o, &e), ST_OK);
    int side = store_get_meta(s)->height[o.size], picture = side * side * 3;
    for (int b = 0; b < batches; b++) {
        const uint8_t *pixels;
        const int *labels;
        assert_int_equal(loader_next(l, &pixels, &labels, &e), ST_OK);
        assert_int_equal(loader_position(l), o.position + (int64_t)(b + 1) * o.batch);
        assert_true(o.labels == (labels != NULL));
        for (int i = 0; i < o.batch; i++) {
            const uint8_t *p = pixels + (int64_t)i * picture;
            out[b * o.batch + i] = p[0];
            for (int k = 1; k < picture; k++)
                assert_int_equal(p[k], p[0]);
            if (labels)
                assert_int_equal(labels[i], p[0] % 4);
        }
    }
    loader_close(l);
    store_close(s);
}

static void permutations(void **state) {
    (void)state;
    uint32_t a[1000], b[1000];
    int seen[1000] = {0}, same = 0;
    loader_permutation(7, 0, a, 1000);
    loader_permutation(7, 1, b, 1000);
    for (int i = 0; i < 1000; i++) {
        seen[a[i]]++;
        same += a[i] == b[i];
    }
    for (int i = 0; i < 1000; i++)
        assert_int_equal(seen[i], 1);
    assert_true(same < 10); /* one is expected */
    /* every order of three is equally frequent: 6000 epochs, 1000 +- 29 each */
    int count[6] = {0};
    for (int epoch = 0; epoch < 6000; epoch++) {
        uint32_t p[3];
        loader_permutation(1, (uint64_t)epoch, p, 3);
        count[p[0] * 2 + (p[1] > p[2])]++;
    }
    for (int i = 0; i < 6; i++)
        assert_in_range(count[i], 850, 1150);
    loader_permutation(1, 0, a, 1);
    assert_int_equal(a[0], 0);
}

static void each_epoch_has_every_picture_once(void **state) {
    (void)state;
    int out[N * 8];
    levels((struct loader_options){.batch = 8, .seed = 3, .threads = 2, .cache = -1}, N, out);
    for (int epoch = 0; epoch < 8; epoch++) {
        int seen[N] = {0};
        uint32_t order[N];
        loader_permutation(3, (uint64_t)epoch, order, N);
        for (int i = 0; i < N; i++) {
            seen[out[epoch * N + i]]++;
            assert_int_equal(out[epoch * N + i], order[i]);
        }
        for (int i = 0; i < N; i++)
            assert_int_equal(seen[i], 1);
    }
}

static void position_is_the_whole_state(void **state) {
    (void)state;
    int whole[60 * 4], part[60 * 4];
    levels((struct loader_options){.size = 1, .batch = 4, .seed = 9, .threads = 1, .cache = 0}, 60, whole);
    for (int from = 0; from < 60; from += 7) {
        struct loader_options o = {.size = 1, .batch = 4, .seed = 9, .position = from * 4, .threads = 1 + from % 3, .cache = from % 2 ? -1 : 0};
        levels(o, 60 - from, part);
        assert_memory_equal(part, whole + from * 4, sizeof *part * (size_t)(60 - from) * 4);
    }
    /* a batch larger than the store */
    levels((struct loader_options){.size = 1, .batch = 60, .seed = 9, .threads = 3, .cache = -1}, 4, part);
    assert_memory_equal(part, whole, sizeof part);
}

/* Who keeps the pictures gets each once, in the batch that shows it first, and numbers in the same order as pixels otherwise. */
static void held_pictures_come_once(void **state) {
    (void)state;
    enum { BATCH = 6, BATCHES = 20 };
    struct error e;
    struct store *s;
    struct loader *l;
    int want[BATCH * BATCHES], kept[N];
    const struct loader_options o = {.size = 1, .batch = BATCH, .seed = 4, .position = 10, .labels = true, .threads = 3, .held = true, .cache = -1};
    levels((struct loader_options){.size = 1, .batch = BATCH, .seed = 4, .position = 10, .threads = 1}, BATCHES, want);
    memset(kept, -1, sizeof kept);
    assert_int_equal(store_open(&s, good, &e), ST_OK);
    assert_int_equal(loader_open(&l, s, &o, &e), ST_OK);
    for (int b = 0; b < BATCHES; b++) {
        const uint8_t *pixels;
        const int *labels;
        const int64_t *numbers;
        const bool *fresh;
        assert_int_equal(loader_next(l, &pixels, &labels, &e), ST_OK);
        loader_numbers(l, &numbers, &fresh);
        for (int i = 0; i < BATCH; i++) {
            assert_int_equal(fresh[i], kept[numbers[i]] < 0);
            if (fresh[i])
                kept[numbers[i]] = pixels[i * SIDE * SIDE * 3];
            assert_int_equal(kept[numbers[i]], want[b * BATCH + i]);
            assert_int_equal(labels[i], want[b * BATCH + i] % 4);
        }
    }
    loader_close(l);
    store_close(s);
}

static void class_labels(void **state) {
    (void)state;
    int out[40];
    levels((struct loader_options){.batch = 10, .seed = 1, .labels = true, .threads = 2, .cache = -1}, 4, out);
}

/* N samples drawn with the seed, in the store's order, with their own pictures and labels; every pass shows each once. */
static void subset(void **state) {
    (void)state;
    struct error e;
    bool other = false;
    int first[7];
    for (uint64_t seed = 0; seed < 3; seed++) {
        struct store *s;
        struct loader *l;
        int64_t counts[4], all = 0;
        bool seen[N] = {0};
        assert_int_equal(store_open(&s, good, &e), ST_OK);
        loader_subset(s, 7, seed);
        assert_int_equal(store_get_meta(s)->length, 7);
        for (int i = 0, last = -1; i < 7; i++) {
            struct image im;
            int label;
            assert_int_equal(store_decode(s, 1, i, &im, &e), ST_OK);
            assert_int_equal(store_label(s, i, &label, &e), ST_OK);
            assert_true(im.data[0] > last && im.data[0] < N);
            assert_int_equal(label, im.data[0] % 4);
            last = im.data[0];
            seen[last] = true;
            other |= seed && first[i] != last;
            first[i] = last;
            image_free(&im);
        }
        struct image none;
        assert_int_equal(store_decode(s, 1, 7, &none, &e), ST_BAD);
        assert_int_equal(loader_count_labels(s, counts, &e), ST_OK);
        for (int k = 0; k < 4; k++)
            all += counts[k];
        assert_int_equal(all, 7);
        assert_int_equal(loader_open(&l, s, &(struct loader_options){.size = 1, .batch = 7, .labels = true}, &e), ST_OK);
        for (int pass = 0; pass < 2; pass++) {
            const uint8_t *pixels;
            const int *labels;
            bool shown[N] = {0};
            assert_int_equal(loader_next(l, &pixels, &labels, &e), ST_OK);
            for (int i = 0; i < 7; i++) {
                int level = pixels[i * SIDE * SIDE * 3];
                assert_true(seen[level] && !shown[level]);
                assert_int_equal(labels[i], level % 4);
                shown[level] = true;
            }
        }
        loader_close(l);
        store_close(s);
    }
    assert_true(other);
}

static void failures(void **state) {
    (void)state;
    struct error e;
    struct store *s;
    struct loader *l;
    const uint8_t *pixels;
    enum status st = ST_OK;
    assert_int_equal(store_open(&s, broken, &e), ST_OK);
    assert_int_equal(loader_open(&l, s, &(struct loader_options){.size = 2, .batch = 4}, &e), ST_BAD);
    assert_int_equal(loader_open(&l, s, &(struct loader_options){.batch = 4, .threads = 2, .cache = -1}, &e), ST_OK);
    for (int i = 0; i <= N / 4 && st == ST_OK; i++)
        st = loader_next(l, &pixels, NULL, &e);
    assert_int_equal(st, ST_FAIL);
    assert_non_null(strstr(e.text, "sample 5"));
    assert_int_equal(loader_next(l, &pixels, NULL, &e), ST_FAIL);
    loader_close(l);
    /* closing with batches ready and workers waiting */
    assert_int_equal(loader_open(&l, s, &(struct loader_options){.batch = 1, .threads = 8}, &e), ST_OK);
    loader_close(l);
    loader_close(NULL);
    store_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(permutations), cmocka_unit_test(each_epoch_has_every_picture_once),
        cmocka_unit_test(position_is_the_whole_state), cmocka_unit_test(held_pictures_come_once),
        cmocka_unit_test(class_labels), cmocka_unit_test(subset), cmocka_unit_test(failures)};
    if (!mkdtemp(folder))
        return 1;
    good = xasprintf("%s/good.lmdb", folder);
    broken = xasprintf("%s/broken.lmdb", folder);
    make_store(good, -1);
    make_store(broken, 5);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char *remove = xasprintf("rm -rf %s", folder);
    failed += system(remove) != 0;
    free(remove);
    free(good);
    free(broken);
    return failed;
}
