/* test_run.c - a training's run folder: where ticks and snapshots fall, in which order a snapshot is written, what is pruned, and how
 * pictures come from a store. That whole runs survive being killed is tested in tests/programs/sg2-train.bats. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/mem.h"
#include "common/run/feed.h"
#include "common/run/snapshot.h"
#include "common/run/tick.h"
#include "common/store/checkpoint.h"
#include "common/store/store_write.h"

#define N 10
#define BATCH 4
#define OK(call) do { struct error *const error_ = &e; if ((call) != ST_OK) fail_msg("%s", error_->text); } while (0)

static char folder[] = "/tmp/test_run-XXXXXX";
static struct device *device;

/* ---- ticks ---- */

static void ticks(void **state) {
    (void)state;
    static const struct tick_plan p = {.total = 104, .length = 40, .snap = 2};
    static const struct {
        int64_t now, number;
        bool end, tick, snap;
    } want[] = {{8, 1, 0, 0, 0}, {32, 1, 0, 0, 0}, {40, 1, 0, 1, 0}, {48, 2, 0, 0, 0}, {80, 2, 0, 1, 1}, {88, 3, 0, 0, 0},
             {104, 3, 1, 0, 1}, {112, 3, 1, 0, 1}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        struct tick_due due = tick_crossed(&p, want[i].now - 8, want[i].now);
        if (due.end != want[i].end || due.tick != want[i].tick || due.snap != want[i].snap || due.number != want[i].number)
            fail_msg("at %d: end %d, tick %d, snap %d, number %d", (int)want[i].now, due.end, due.tick, due.snap, (int)due.number);
    }
    /* batches that step over the boundary, and over several at once */
    struct tick_due due = tick_crossed(&p, 39, 42);
    assert_true(due.tick && !due.snap && due.number == 1);
    due = tick_crossed(&p, 0, 90);
    assert_true(due.tick && due.snap && !due.end && due.number == 2);
    /* no snapshots but at the end, which may be a whole tick */
    static const struct tick_plan rare = {.total = 80, .length = 40, .snap = 0};
    due = tick_crossed(&rare, 32, 40);
    assert_true(due.tick && !due.snap && due.number == 1);
    due = tick_crossed(&rare, 72, 80);
    assert_true(due.end && due.tick && due.snap && due.number == 2);
}

/* ---- pictures ---- */

/* Sample i has the label i % 2 and is a picture of noise in each of the sizes. */
static struct store *make_store(const char *name, int n, int n_sizes, const int *width, const int *height) {
    struct error e;
    struct store_writer *w;
    struct store *s;
    struct store_format f = {.n_sizes = n_sizes, .channels = 3, .codec = IMAGE_PNG};
    memcpy(f.width, width, (size_t)n_sizes * sizeof *width);
    memcpy(f.height, height, (size_t)n_sizes * sizeof *height);
    OK(store_create(&w, name, &f, false, &e));
    for (int i = 0; i < n; i++) {
        struct store_record r = {.key = xasprintf("%05d", i), .label = i % 2};
        for (int k = 0; k < n_sizes; k++) {
            struct image im;
            image_alloc(&im, width[k], height[k], 3);
            for (int j = 0; j < width[k] * height[k] * 3; j++)
                im.data[j] = (uint8_t)((unsigned)(i * 1000 + j) * 2654435761u >> 24);
            OK(image_encode(&im, IMAGE_PNG, 0, &r.picture[k], &e));
            image_free(&im);
        }
        OK(store_put(w, &r, &e));
    }
    OK(store_writer_close(w, true, &e));
    OK(store_open(&s, name, &e));
    return s;
}

static void sizes(void **state) {
    (void)state;
    struct error e;
    int size = -1;
    struct store *s = make_store("sizes", 2, 3, (int[]){16, 12, 8}, (int[]){16, 12, 8});
    OK(feed_choose_size(s, 0, &size, &e));
    assert_int_equal(size, 0);
    OK(feed_choose_size(s, 8, &size, &e));
    assert_int_equal(size, 2);
    assert_int_equal(feed_choose_size(s, 32, &size, &e), ST_FAIL);
    assert_string_equal(e.text, "holds no pictures of size 32 (the largest is 16)");
    assert_int_equal(feed_choose_size(s, 12, &size, &e), ST_FAIL);
    assert_non_null(strstr(e.text, "pictures are 12x12; training needs squares"));
    assert_int_equal(size, 2);
    store_close(s);
    s = make_store("wide", 2, 1, (int[]){16}, (int[]){8});
    assert_int_equal(feed_choose_size(s, 0, &size, &e), ST_FAIL);
    assert_non_null(strstr(e.text, "pictures are 16x8"));
    store_close(s);
}

static struct trainer_config tiny(int c_dim) {
    struct trainer_config c;
    assert_int_equal(trainer_preset(&c, "auto", 8, 1, NULL), ST_OK);
    c.batch = BATCH;
    c.net.channel_base = 64;
    c.net.channel_max = 8;
    c.net.z_dim = 8;
    c.net.w_dim = 8;
    c.net.c_dim = c_dim;
    return c;
}

static struct trainer *make_trainer(const struct trainer_config *c) {
    struct error e;
    struct trainer *t;
    OK(trainer_create(&t, device, c, &e));
    trainer_init(t);
    return t;
}

static struct bytes content(const char *path) {
    struct error e;
    struct bytes b = {0};
    OK(file_read(path, IMAGE_MAX_FILE, &b, &e));
    return b;
}

/* Steps from .. until - 1 of a training that goes through the file "trained" before and after. */
static void go_on(struct store *s, int from, int until, bool hold) {
    struct error e;
    struct checkpoint *file;
    struct trainer_config c = tiny(2);
    struct trainer *t = make_trainer(&c);
    int64_t position = 0;
    OK(feed_count_labels(s, t, &c, &e));
    if (from) {
        OK(checkpoint_open(&file, "trained", &e));
        OK(checkpoint_restore(file, t, &position, &e));
        checkpoint_close(file);
    }
    struct feed *f = feed_create(s, 0, t, &c);
    assert_int_equal(feed_pictures(f), N);
    assert_int_equal(feed_bytes(f), N * 8 * 8 * 3);
    assert_false(feed_fits(f, device)); /* a CPU has nothing to gain */
    if (hold)
        OK(feed_hold(f, &e));
    OK(feed_open(f, position, 1, &e));
    for (int i = from; i < until; i++)
        OK(feed_step(f, &e));
    assert_int_equal(feed_position(f), (int64_t)until * BATCH);
    assert_int_equal(trainer_images(t), (int64_t)until * BATCH);
    OK(checkpoint_write("trained", t, &c, feed_position(f), NULL, &e));
    feed_close(f);
    trainer_free(t);
}

/* Held on the device or not, and whether the sampler was interrupted or not: the same bytes. */
static void pictures(void **state) {
    (void)state;
    struct store *s = make_store("faces", N, 1, (int[]){8}, (int[]){8});
    go_on(s, 0, 6, false);
    struct bytes want = content("trained");
    for (int i = 0; i < 3; i++) {
        int half = i ? 2 : 6;
        go_on(s, 0, half, i != 1);
        if (half < 6)
            go_on(s, half, 6, i == 2);
        struct bytes got = content("trained");
        assert_int_equal(got.size, want.size);
        assert_memory_equal(got.data, want.data, want.size);
        bytes_free(&got);
    }
    bytes_free(&want);
    store_close(s);
}

/* ---- snapshots ---- */

struct scene {
    struct store *store;
    struct trainer_config config;
    struct trainer *trainer;
    struct grid *grid;
    struct run *run;
};

static struct scene scene(const char *dir, struct store *s) {
    struct error e;
    struct scene x = {.store = s, .config = tiny(0)};
    x.trainer = make_trainer(&x.config);
    OK(grid_create(&x.grid, device, trainer_g_ema(x.trainer), s, 0, 2, 2, 1, 4, &e));
    OK(run_open(&x.run, dir, &e));
    return x;
}

static void end_scene(struct scene *x) {
    assert_int_equal(run_close(x->run, NULL), ST_OK);
    grid_free(x->grid);
    trainer_free(x->trainer);
}

static bool is_file(const struct run *r, const char *name) {
    struct stat st;
    char *path = run_path(r, "%s", name);
    bool file = !stat(path, &st) && S_ISREG(st.st_mode);
    free(path);
    return file;
}

/* What a folder that stands in the way of each file in turn lets through: all that comes before it, and nothing after. */
static void order(void **state) {
    (void)state;
    static const char *const files[] = {"fakes000000.png", "snapshot-000000.safetensors", "network-final.safetensors", RUN_CHECKPOINT};
    enum { FILES = sizeof files / sizeof *files };
    struct error e;
    struct store *s = make_store("order", N, 1, (int[]){8}, (int[]){8});
    for (int i = 0; i < 2 * (FILES + 1); i++) {
        int blocked = i / 2;
        char dir[32];
        snprintf(dir, sizeof dir, "order-%d", i);
        struct scene x = scene(dir, s);
        struct snapshot shot = {.run = x.run, .trainer = x.trainer, .config = &x.config, .grid = x.grid, .data = "{}", .full = i % 2,
                                .keep = 1};
        char *old = run_path(x.run, "snapshot-.safetensors"), *wall = blocked < FILES ? run_path(x.run, "%s", files[blocked]) : NULL;
        OK(file_write_atomic(old, "old", 3, &e)); /* sorts before the new one: to be pruned last of all */
        if (wall)
            assert_int_equal(mkdir(wall, 0777), 0);
        enum status st = snapshot_write(&shot, 7, &e);
        assert_int_equal(st == ST_OK, blocked == FILES);
        if (wall)
            assert_non_null(strstr(e.text, files[blocked]));
        for (int k = 0; k < FILES; k++)
            assert_int_equal(is_file(x.run, files[k]), k < blocked);
        assert_int_equal(is_file(x.run, "snapshot-.safetensors"), blocked < FILES);
        free(old);
        free(wall);
        end_scene(&x);
    }
    store_close(s);
}

static void kinds(void **state) {
    (void)state;
    struct error e;
    struct checkpoint *file;
    struct store *s = make_store("kinds", N, 1, (int[]){8}, (int[]){8});
    struct scene x = scene("kinds-run", s);
    struct snapshot shot = {.run = x.run, .trainer = x.trainer, .config = &x.config, .grid = x.grid, .data = "{\"length\":10}", .total = 100,
                            .fraction = true, .full = true};
    OK(snapshot_checkpoint(&shot, 5, &e));
    assert_true(is_file(x.run, RUN_CHECKPOINT) && run_has_checkpoint(x.run));
    assert_false(is_file(x.run, "fakes000000.000.png"));
    OK(snapshot_write(&shot, 5, &e));
    assert_false(is_file(x.run, "network-final.safetensors")); /* before its end a run has none */
    struct bytes a = content("kinds-run/snapshot-000000.000.safetensors"), b = content("kinds-run/" RUN_CHECKPOINT);
    assert_int_equal(a.size, b.size);
    assert_memory_equal(a.data, b.data, a.size);
    OK(checkpoint_parse(&file, a.data, a.size, "snapshot", &e));
    assert_true(checkpoint_is_full(file));
    assert_string_equal(checkpoint_metadata(file, "data"), "{\"length\":10}");
    int64_t position;
    OK(checkpoint_restore(file, x.trainer, &position, &e));
    assert_int_equal(position, 5);
    checkpoint_close(file);
    bytes_free(&a);
    bytes_free(&b);
    shot.full = false;
    OK(snapshot_write(&shot, 5, &e));
    OK(checkpoint_open(&file, "kinds-run/snapshot-000000.000.safetensors", &e));
    assert_false(checkpoint_is_full(file));
    checkpoint_close(file);
    end_scene(&x);
    store_close(s);
}

static void pruning(void **state) {
    (void)state;
    struct error e;
    struct run *r;
    static const char *const names[] = {"snapshot-000001.safetensors", "snapshot-000002.safetensors", "snapshot-000010.safetensors", "fakes000001.png",
                                        "snapshot-000001.safetensors.old", RUN_CHECKPOINT};
    OK(run_open(&r, "pruned/deep", &e));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *path = run_path(r, "%s", names[i]);
        OK(file_write_atomic(path, "x", 1, &e));
        free(path);
    }
    run_prune_snapshots(r, 0);
    run_prune_snapshots(r, 3);
    assert_true(is_file(r, names[0]));
    run_prune_snapshots(r, 1);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_int_equal(is_file(r, names[i]), i >= 2);
    assert_int_equal(run_close(r, NULL), ST_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(ticks), cmocka_unit_test(sizes), cmocka_unit_test(pictures), cmocka_unit_test(order),
                                       cmocka_unit_test(kinds), cmocka_unit_test(pruning)};
    struct error e;
    if (!mkdtemp(folder) || chdir(folder) || device_open(&device, "cpu", 1, &e) != ST_OK)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char *remove = xasprintf("rm -rf %s", folder);
    failed += system(remove) != 0;
    free(remove);
    device_close(device);
    return failed;
}
