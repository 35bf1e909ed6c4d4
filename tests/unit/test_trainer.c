/* test_trainer.c - the training state: exact resume, independence of threads, FreezeD, counted gradients, presets, pictures held on
 * the device, captured programs against launches. FACEMILL_CHECK_DEVICE=cuda runs it all on a GPU. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/mem.h"
#include "common/stylegan2/generator.h"
#include "common/stylegan2/trainer.h"
#include "tests/unit/guard.h"
#include "tests/unit/recorder.h"

/* Everything on, and small: 16x16, at most 8 channels, 3 classes; intervals that do not line up. */
static struct trainer_config small(void) {
    struct trainer_config c;
    struct error e;
    assert_int_equal(trainer_preset(&c, "auto", 16, 1, &e), ST_OK);
    c.seed = 7;
    c.batch = 4;
    c.net.z_dim = c.net.w_dim = 16;
    c.net.c_dim = 3;
    c.net.channel_base = 128;
    c.net.channel_max = 8;
    c.net.d_map_layers = 2;
    c.net.conv_clamp = 256;
    c.g_reg_interval = 2;
    c.d_reg_interval = 3;
    c.ada_interval = 2;
    c.ada_kimg = 0.05;
    c.augment_p = 0.6;
    c.augment = *augment_by_name("bgcfnc");
    c.mirror = true;
    return c;
}

static struct device *open_device(int threads) {
    struct device *d;
    struct error e;
    const char *name = getenv("FACEMILL_CHECK_DEVICE");
    if (device_open(&d, name ? name : "cpu", threads, &e))
        fail_msg("%s", e.text);
    return d;
}

static struct trainer *create(struct device *d, const struct trainer_config *c) {
    struct trainer *t;
    struct error e;
    if (trainer_create(&t, d, c, &e))
        fail_msg("%s", e.text);
    trainer_init(t);
    if (c->net.c_dim)
        trainer_set_label_counts(t, (const int64_t[]){5, 0, 2});
    return t;
}

/* Steps first .. last - 1 on pictures that depend on the step alone. */
static void train(struct trainer *t, const struct trainer_config *c, int first, int last) {
    size_t bytes = (size_t)c->batch * (size_t)(c->net.res * c->net.res * c->net.img_channels);
    uint8_t *reals = xmalloc(bytes);
    int *labels = xcalloc((size_t)c->batch, sizeof *labels);
    for (int i = first; i < last; i++) {
        uint32_t x = 12345u + (uint32_t)i;
        for (size_t k = 0; k < bytes; k++) {
            x = x * 1664525u + 1013904223u;
            reals[k] = (uint8_t)(x >> 24);
        }
        for (int n = 0; n < c->batch; n++)
            labels[n] = (i + n) % 3;
        trainer_step(t, reals, c->net.c_dim ? labels : NULL, NULL);
    }
    free(reals);
    free(labels);
}

static size_t item_bytes(struct trainer_item x) {
    size_t n = (size_t)dtype_size(x.dtype);
    for (int i = 0; i < x.ndim; i++)
        n *= (size_t)x.dim[i];
    return n;
}

static void **save(struct trainer *t) {
    void **all = xcalloc((size_t)trainer_items(t), sizeof *all);
    for (int i = 0; i < trainer_items(t); i++) {
        all[i] = xcalloc(1, item_bytes(trainer_item(t, i)));
        trainer_item_get(t, i, all[i]);
    }
    return all;
}

static void release(struct trainer *t, void **all) {
    for (int i = 0; i < trainer_items(t); i++)
        free(all[i]);
    free(all);
}

static void assert_same_state(struct trainer *a, struct trainer *b) {
    void **x = save(a), **y = save(b);
    assert_int_equal(trainer_items(a), trainer_items(b));
    for (int i = 0; i < trainer_items(a); i++)
        if (memcmp(x[i], y[i], item_bytes(trainer_item(a, i))))
            fail_msg("%s differs", trainer_item(a, i).name);
    release(a, x);
    release(b, y);
}

/* Pictures held on the device: each is put there once, later its number is enough; mirrored ones too. */
static void test_held_pictures_are_the_same(void **unused) {
    (void)unused;
    enum { HELD = 7 };
    struct trainer_config c = small();
    struct device *d = open_device(2);
    struct error e = {""};
    struct trainer *pixels = create(d, &c), *numbers = create(d, &c);
    int64_t picture = c.net.res * c.net.res * c.net.img_channels;
    uint8_t *all = xmalloc((size_t)(HELD * picture)), *batch = xmalloc((size_t)(c.batch * picture));
    const int labels[4] = {0, 2, 1, 0};
    for (int64_t i = 0; i < HELD * picture; i++)
        all[i] = (uint8_t)((uint64_t)(i + 1) * 0x9e3779b97f4a7c15u >> 56);
    assert_int_equal(trainer_hold(numbers, HELD, &e), ST_OK);
    for (int i = 0; i < HELD; i++)
        trainer_hold_picture(numbers, i, all + i * picture);
    for (int i = 0; i < 4; i++) {
        const int64_t shown[4] = {i, (3 * i + 2) % HELD, 6, i}; /* one twice */
        for (int n = 0; n < 4; n++)
            memcpy(batch + n * picture, all + shown[n] * picture, (size_t)picture);
        trainer_step(pixels, batch, labels, NULL);
        trainer_step_held(numbers, shown, labels, NULL);
    }
    assert_same_state(pixels, numbers);
    assert_int_equal(trainer_hold(numbers, HELD, &e), ST_BAD);
    assert_int_equal(trainer_hold(pixels, INT64_MAX / picture, &e), ST_FAIL);
    free(all);
    free(batch);
    trainer_free(pixels);
    trainer_free(numbers);
    device_close(d);
}

static void test_resume_is_exact(void **unused) {
    (void)unused;
    struct trainer_config c = small();
    struct device *d = open_device(2);
    struct trainer *whole = create(d, &c), *first = create(d, &c), *second = create(d, &c);
    train(whole, &c, 0, 5);
    train(first, &c, 0, 3);
    void **saved = save(first);
    for (int i = 0; i < trainer_items(second); i++)
        trainer_item_set(second, i, saved[i]);
    train(second, &c, 3, 5);
    assert_int_equal(trainer_images(second), 20);
    assert_int_equal(trainer_iterations(second), 5);
    assert_same_state(whole, second);
    struct trainer_stats a = trainer_read_stats(whole), b = trainer_read_stats(second);
    assert_memory_equal(&a, &b, sizeof a);
    assert_true(isfinite(a.g_loss) && isfinite(a.d_loss) && isfinite(a.pl_penalty) && isfinite(a.r1_penalty));
    /* p moved twice, by batch * interval / (ada_kimg * 1000) = 0.16 up or down */
    double moved = fabs(a.augment_p - c.augment_p);
    assert_true(moved < 1e-9 || fabs(moved - 0.32) < 1e-9);
    assert_true(a.r_t >= -1 && a.r_t <= 1);
    assert_int_equal(a.nonfinite_grads, 0);
    release(first, saved);
    trainer_free(whole);
    trainer_free(first);
    trainer_free(second);
    device_close(d);
}

static bool on_gpu(void) { return getenv("FACEMILL_CHECK_DEVICE") && strcmp(getenv("FACEMILL_CHECK_DEVICE"), "cpu"); }
static struct device *capturing_device(void) { return on_gpu() ? open_device(2) : recorder_open(2); }

/* Programs captured at their second run and replayed from then on, launched one by one, or changing between the two: the same bits. The
 * grids of a training run in between, on an arena that grows under the captures. */
static void test_captured_and_launched_agree(void **unused) {
    (void)unused;
    enum { GRID = 64 };
    struct trainer_config c = small();
    struct device *plain = open_device(2), *d = capturing_device();
    device_use_graphs(plain, false);
    guard_device(d);
    struct trainer *want = create(plain, &c), *got = create(d, &c);
    train(want, &c, 0, 9);
    train(got, &c, 0, 4);
    struct sg2_generator *grid;
    struct error e;
    const struct sg2_generator_opt o = {.batch = GRID, .noise = SG2_NOISE_CONST, .psi = 1, .cutoff = -1, .half = c.half};
    uint8_t *pictures = xmalloc(GRID * 16 * 16 * 3);
    float *z = xcalloc(GRID * 16, sizeof *z);
    static int labels[GRID];
    int generation = d->generation;
    assert_int_equal(sg2_generator_create(&grid, d, trainer_g_ema(got), &o, &e), ST_OK);
    sg2_generate(grid, &(struct sg2_latents){.n = GRID, .z = z, .labels = labels}, pictures);
    assert_true(device_reserve_arena(d, 2 * d->arena_bytes)); /* as a program that needs more would */
    assert_true(d->generation > generation);
    if (!on_gpu())
        assert_true(recorder.captures >= 4 && recorder.replays > recorder.captures && recorder.beside > 100);
    train(got, &c, 4, 6);
    int replays = recorder.replays;
    device_use_graphs(d, false);
    train(got, &c, 6, 8);
    assert_int_equal(recorder.replays, replays);
    device_use_graphs(d, true);
    train(got, &c, 8, 9);
    if (!on_gpu())
        assert_true(recorder.replays > replays);
    assert_same_state(want, got);
    sg2_generator_free(grid);
    trainer_free(want);
    trainer_free(got);
    assert_int_equal(guard_damage(d), 0);
    device_close(d);
    device_close(plain);
    assert_int_equal(recorder.captures, recorder.freed);
    free(pictures);
    free(z);
}

static void test_threads_do_not_matter(void **unused) {
    (void)unused;
    struct trainer_config c = small();
    c.net.channel_base = 512, c.net.channel_max = 32; /* enough for every method of convolution */
    struct device *one = open_device(1), *two = open_device(2);
    struct trainer *a = create(one, &c), *b = create(two, &c);
    train(a, &c, 0, 3);
    train(b, &c, 0, 3);
    assert_same_state(a, b);
    trainer_free(a);
    trainer_free(b);
    device_close(one);
    device_close(two);
}

static void test_freeze_d(void **unused) {
    (void)unused;
    struct trainer_config c = small();
    c.freeze_d = 3; /* fromrgb, conv0, conv1 of b16; skip is the fourth */
    struct device *d = open_device(2);
    struct trainer *t = create(d, &c);
    void **before = save(t);
    train(t, &c, 0, 2);
    void **after = save(t);
    int kept = 0;
    for (int i = 0; i < trainer_items(t); i++) {
        const char *name = trainer_item(t, i).name;
        bool same = !memcmp(before[i], after[i], item_bytes(trainer_item(t, i)));
        if (strncmp(name, "D.", 2) || strstr(name, "resample_filter"))
            continue;
        if (!strncmp(name, "D.b16.fromrgb", 13) || !strncmp(name, "D.b16.conv", 10)) {
            kept++;
            if (!same)
                fail_msg("%s moved though it is frozen", name);
        } else if (same) {
            fail_msg("%s did not move", name);
        }
    }
    assert_int_equal(kept, 6);
    release(t, before);
    release(t, after);
    trainer_free(t);
    device_close(d);
}

static int find_item(struct trainer *t, const char *name) {
    for (int i = 0; i < trainer_items(t); i++)
        if (!strcmp(trainer_item(t, i).name, name))
            return i;
    fail_msg("no item %s", name);
    return -1;
}

static void test_nonfinite_gradients(void **unused) {
    (void)unused;
    struct trainer_config c = small();
    c.augment_p = 0, c.ada_target = 0;
    struct device *d = open_device(2);
    struct trainer *t = create(d, &c);
    int bias = find_item(t, "D.b4.out.bias"), conv = find_item(t, "G.synthesis.b8.conv0.weight");
    float value[8] = {0}, *weight = xcalloc(1, item_bytes(trainer_item(t, conv)));
    trainer_item_get(t, bias, value);
    value[1] = NAN;
    trainer_item_set(t, bias, value);
    train(t, &c, 0, 1);
    struct trainer_stats s = trainer_read_stats(t);
    assert_true(s.nonfinite_grads > 1000);
    trainer_item_get(t, conv, weight);
    for (int i = 0; i < 8 * 8 * 9; i++)
        assert_true(isfinite(weight[i]));
    free(weight);
    trainer_free(t);
    device_close(d);
}

static void test_items(void **unused) {
    (void)unused;
    struct trainer_config c = small();
    struct device *d = open_device(1);
    struct trainer *t = create(d, &c);
    static const char *const some[] = {"G.synthesis.b4.const", "D.b16.fromrgb.weight", "G_ema.mapping.w_avg", "adam_G.m.mapping.fc0.weight",
                                       "adam_D.v.b4.out.bias", "state.pl_mean", "state.augment_p", "state.images", "state.label_counts"};
    for (size_t i = 0; i < sizeof some / sizeof *some; i++)
        find_item(t, some[i]);
    for (int i = 0; i < trainer_items(t); i++)
        for (int k = 0; k < i; k++)
            assert_string_not_equal(trainer_item(t, i).name, trainer_item(t, k).name);
    /* a weight goes in and comes out in file layout */
    int w = find_item(t, "D.b16.conv0.weight");
    float in[8 * 8 * 9], out[8 * 8 * 9];
    for (int i = 0; i < 8 * 8 * 9; i++)
        in[i] = (float)i;
    trainer_item_set(t, w, in);
    trainer_item_get(t, w, out);
    assert_memory_equal(in, out, sizeof in);
    trainer_free(t);
    device_close(d);
}

static void test_presets_and_json(void **unused) {
    (void)unused;
    struct trainer_config c, back;
    struct error e;
    assert_int_equal(trainer_preset(&c, "auto", 128, 1, &e), ST_OK);
    assert_int_equal(c.batch, 32);
    assert_int_equal(c.net.mbstd_group, 4);
    assert_int_equal(c.net.channel_base, 16384);
    assert_int_equal(c.net.map_layers, 2);
    assert_float_equal(c.r1_gamma, 0.0002 * 128 * 128 / 32, 1e-12);
    assert_float_equal(c.ema_kimg, 10, 1e-12);
    assert_int_equal(trainer_preset(&c, "paper1024", 1024, 8, &e), ST_OK);
    assert_int_equal(c.batch, 32);
    assert_float_equal(c.g_lr, 0.002, 1e-12);
    assert_float_equal(c.r1_gamma, 2, 1e-12);
    assert_int_equal(trainer_preset(&c, "paper1025", 1024, 8, &e), ST_BAD);
    assert_int_equal(trainer_preset(&c, "auto", 100, 1, &e), ST_BAD);

    c = small();
    c.seed = 0xfedcba9876543210u;
    char *json = trainer_config_json(&c), *again;
    assert_int_equal(trainer_config_parse(&back, json, &e), ST_OK);
    again = trainer_config_json(&back);
    assert_string_equal(json, again);
    assert_true(back.seed == c.seed);
    free(json);
    free(again);
    assert_int_equal(trainer_config_parse(&back, "{\"net\":{\"res\":16}}", &e), ST_BAD);
    assert_int_equal(trainer_config_parse(&back, "[1", &e), ST_BAD);

    c = small();
    c.batch = 6; /* not a multiple of the group of 4 */
    struct device *d = open_device(1);
    struct trainer *t;
    assert_int_equal(trainer_create(&t, d, &c, &e), ST_BAD);
    assert_non_null(strstr(e.text, "group"));
    device_close(d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_presets_and_json), cmocka_unit_test(test_items),        cmocka_unit_test(test_resume_is_exact),
        cmocka_unit_test(test_held_pictures_are_the_same), cmocka_unit_test(test_captured_and_launched_agree),
        cmocka_unit_test(test_threads_do_not_matter), cmocka_unit_test(test_freeze_d), cmocka_unit_test(test_nonfinite_gradients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
