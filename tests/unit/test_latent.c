/* test_latent.c - latents in common/latent: sets of layers, streams and their limits, seeds, walks at their odd places, directions
 * against what they must satisfy. Numbers of whole commands are compared with NumPy and SciPy in tests/programs/sg2-latent.bats.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/latent/direction.h"
#include "common/latent/edit.h"
#include "common/latent/file.h"
#include "common/latent/groups.h"
#include "common/latent/seeds.h"
#include "common/latent/walk.h"
#include "common/latent/whole.h"

static struct error e;

static double largest(const float *a, const double *b, int n) {
    double d = 0;
    for (int i = 0; i < n; i++)
        d = fmax(d, fabs((double)a[i] - b[i]));
    return d;
}

static void refuse(enum status st, const char *text) {
    if (st >= 0 || !strstr(e.text, text))
        fail_msg("status %d, \"%s\", expected \"%s\"", st, e.text, text);
}

static void test_seeds(void **unused) {
    (void)unused;
    uint64_t *s;
    size_t n;
    assert_int_equal(seeds_parse("seeds", "9,2-4,9", false, false, &s, &n, &e), ST_OK);
    assert_int_equal(n, 5);
    assert_memory_equal(s, ((const uint64_t[]){9, 2, 3, 4, 9}), sizeof *s * n);
    free(s);
    static const struct { const char *list; bool philox; const char *why; } bad[] = {
        {"2,x", true, "--mix takes numbers and ranges such as 0-99,150, not \"2,x\""}, {"9,2-4,9", true, "seed 9 is given twice"},
        {"0-200000000", true, "--mix takes"}, {"1,4294967296", false, "seed 4294967296 is over 2^32-1, NumPy's limit"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(seeds_parse("mix", bad[i].list, bad[i].philox, true, &s, &n, &e), ST_BAD);
        assert_non_null(strstr(e.text, bad[i].why));
        assert_null(s);
    }
    assert_int_equal(seeds_parse("mix", "4294967296,4294967295", true, true, &s, &n, &e), ST_OK);
    free(s);
    refuse(seeds_parse("seeds", "1,1,4294967296,0", false, false, &s, &n, &e), "seed 4294967296 is over 2^32-1");
    assert_null(s);
}

static void test_layers(void **unused) {
    (void)unused;
    uint64_t mask;
    assert_int_equal(latent_layers_parse("0-3,8", 18, &mask, &e), ST_OK);
    assert_true(mask == 0x10f);
    assert_int_equal(latent_layers_parse("63,0", 64, &mask, &e), ST_OK);
    assert_true(mask == ((uint64_t)1 << 63 | 1));
    refuse(latent_layers_parse("99999999999999999999", 18, &mask, &e), "there are layers 0 to 17");
    refuse(latent_layers_parse("18", 18, &mask, &e), "there are layers 0 to 17");
    assert_true(latent_first_layers(0) == 0 && latent_first_layers(3) == 7 && latent_first_layers(63) == LATENT_ALL >> 1);
    assert_true(latent_first_layers(64) == LATENT_ALL && latent_first_layers(-1) == LATENT_ALL);
    const char *const bad[] = {"", "-", "1-", "-1", "1,", ",1", "1 2", "2-1", "+1", "a"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refuse(latent_layers_parse(bad[i], 18, &mask, &e), "numbers and ranges");
}

static void test_rows(void **unused) {
    (void)unused;
    const struct latent_shape s = {3, 2};
    const float row[6] = {1, 2, 3, 4, 5, 6}, mean[2] = {1, 1}, d[6] = {1, 0, 0, 2, 0, 0};
    float out[6], wide[6];
    latent_truncate(row, s, (struct latent_vector){mean, false}, 0.5, 1 | 4, out);
    assert_true(out[0] == 1 && out[1] == 1.5f && out[2] == 3 && out[3] == 4 && out[4] == 3 && out[5] == 3.5f);
    latent_move(row, s, (struct latent_vector){d, true}, 2, 2, out);
    assert_true(!memcmp(out, row, 3 * 4) && out[3] == 8 && !memcmp(out + 4, row + 4, 8));
    latent_place(row, s, (struct latent_vector){d, true}, (struct latent_vector){mean, false}, -1, LATENT_ALL, out);
    assert_true(out[0] == 0 && out[1] == 2 && out[3] == -1 && out[4] == 5 && out[5] == 6); /* no direction in layer 2: stays */
    latent_broadcast(row, 3, 2, wide);
    assert_true(latent_collapse(wide, 1, s) && wide[0] == 1 && wide[1] == 2);
    float many[12] = {1, 2, 1, 2, 1, 2, 3, 4, 3, 4, 3, 4};
    assert_true(latent_collapse(many, 2, s) && many[2] == 3 && many[3] == 4);
    memcpy(wide, row, sizeof wide);
    assert_false(latent_collapse(wide, 1, s));
    assert_memory_equal(wide, row, sizeof row);
    assert_true(latent_fits((struct latent_shape){0, 2}, s) && latent_fits(s, s));
    assert_false(latent_fits((struct latent_shape){0, 3}, s) || latent_fits((struct latent_shape){2, 2}, s) ||
                 latent_fits(s, (struct latent_shape){0, 2}));
    const struct latent_set set = {{3, 2}, 2, many}, none = {0};
    assert_true(latent_vector_of(&set, 1).data == many + 6 && latent_vector_of(&set, 0).per_layer && !latent_vector_of(&none, 0).data);
}

/* An array of the numbers 0, 1, 2 ... at the end of file "t", which is made anew by "w". */
static void stream(const char *mode, int64_t n, int layers, int dim, int64_t claimed) {
    FILE *f = fopen("t", mode);
    float x = 0;
    assert_int_equal(latent_head(f, (struct latent_shape){layers, dim}, claimed, &e), ST_OK);
    for (int64_t i = 0; i < n * (layers ? layers : 1) * dim; i++, x++)
        fwrite(&x, 4, 1, f);
    fclose(f);
}

static void text(const char *path, const char *content) {
    FILE *f = fopen(path, "w");
    fputs(content, f);
    fclose(f);
}

static enum status double_shape(void *context, struct latent_shape in, struct latent_shape *out, int64_t *factor, struct error *err) {
    *factor = *(int64_t *)context;
    *out = (struct latent_shape){2, in.dim};
    return in.layers ? st_bad(err, "an array of w+") : ST_OK;
}

static void double_rows(void *context, const float *in, int64_t n, float *out) {
    int64_t factor = *(int64_t *)context;
    for (int64_t i = 0; i < n * factor; i++) /* dim 3 */
        latent_broadcast(in + i / factor * 3, 2, 3, out + i * 6);
}

static void test_streams(void **unused) {
    (void)unused;
    struct latent_set set;
    int64_t factor = 3;
    struct latent_filter filter = {double_shape, double_rows, &factor, 2};
    FILE *out = fopen("out", "w");
    stream("w", 5, 0, 3, 5);
    assert_int_equal(latent_filter("t", out, &filter, &e), ST_OK);
    fclose(out);
    assert_int_equal(latent_load("out", &set, &e), ST_OK);
    assert_true(set.n == 15 && set.shape.layers == 2 && set.shape.dim == 3);
    assert_true(set.data[14 * 6 + 5] == 14 && set.data[3 * 6] == 3);
    out = fopen("again", "w");
    assert_int_equal(latent_save(out, &set, &e), ST_OK);
    fclose(out);
    latent_set_free(&set);
    assert_int_equal(latent_load("again", &set, &e), ST_OK);
    assert_true(set.n == 15 && set.shape.layers == 2 && set.data[14 * 6 + 5] == 14);
    latent_set_free(&set);
    out = fopen("again", "w");
    float odd[5 * 3] = {[14] = NAN};
    assert_int_equal(latent_save(out, &(struct latent_set){{0, 3}, 5, odd}, &e), ST_OK);
    fclose(out);
    out = fopen("/dev/null", "w");
    refuse(latent_filter("again", out, &filter, &e), "again: row 4 of an array holds a value that is not finite");
    fclose(out);
    /* one array [D] is a vector where vectors are asked for, and no latent elsewhere */
    out = fopen("one", "w");
    assert_int_equal(npy_write(out, "<f4", 1, (int64_t[]){3}, (float[]){1, 2, 3}, &e), ST_OK);
    fclose(out);
    assert_int_equal(latent_load_vectors("one", &set, &e), ST_OK);
    assert_true(set.n == 1 && set.shape.dim == 3 && set.data[2] == 3);
    latent_set_free(&set);
    refuse(latent_load("one", &set, &e), "one: an array of shape [3] holds no latents");
    refuse(latent_load("none", &set, &e), "none: No such file");
    assert_string_equal(latent_stream_name("-"), "stdin");
    /* heads that promise more than there is, than fits, or than can be counted */
    out = fopen("/dev/null", "w");
    stream("w", 5, 0, 3, 6);
    refuse(latent_filter("t", out, &filter, &e), "t: truncated");
    refuse(latent_load("t", &set, &e), "t: truncated");
    stream("w", 5, 0, 3, INT64_MAX / 100);
    factor = 1000;
    refuse(latent_filter("t", out, &filter, &e), "each to become 1000");
    stream("w", 5, 0, 3, 5);
    factor = LATENT_MAX_HELD;
    refuse(latent_filter("t", out, &filter, &e), "too many");
    stream("w", 5, 0, 3, INT64_MAX / 4);
    refuse(latent_filter("t", out, &filter, &e), "limit");
    stream("w", 1, 2, 3, 1);
    refuse(latent_filter("t", out, &filter, &e), "t: an array of w+");
    refuse(latent_filter("none", out, &filter, &e), "none: No such file");
    fclose(out);
    stream("w", 5, 0, 3, 5);
    out = fopen("/dev/full", "w");
    setvbuf(out, NULL, _IONBF, 0);
    factor = 1;
    refuse(latent_filter("t", out, &filter, &e), "No space");
    fclose(out);
}

static void described(bool heading, bool json, const char *want) {
    char *got;
    size_t size;
    FILE *out = open_memstream(&got, &size);
    assert_int_equal(latent_describe("t", heading, json, out, &e), ST_OK);
    fclose(out);
    assert_string_equal(got, want);
    free(got);
}

static void test_whole(void **unused) {
    (void)unused;
    struct latent_set mean;
    stream("w", 3, 2, 2, 3);
    stream("a", 1, 2, 2, 1);
    assert_int_equal(latent_mean("t", &mean, &e), ST_OK);
    assert_true(mean.n == 1 && mean.shape.layers == 2 && mean.data[0] == 3 && mean.data[3] == 6); /* of 0 4 8 0 and 3 7 11 3 */
    latent_set_free(&mean);
    stream("w", 1, 0, 2, 1); /* 0 1 */
    stream("a", 0, 3, 2, 0);
    described(true, false, "t\narray 0: [1,2], mean 0.5, deviation 0.5, from 0 to 1, length 1\n"
                           "array 1: [0,3,2], mean 0, deviation 0, from 0 to 0, length 0\n");
    described(false, true, "{\"array\":0,\"shape\":[1,2],\"mean\":0.5,\"deviation\":0.5,\"min\":0,\"max\":1,\"length\":1}\n"
                           "{\"array\":1,\"shape\":[0,3,2],\"mean\":0,\"deviation\":0,\"min\":0,\"max\":0,\"length\":0}\n");
    refuse(latent_mean("t", &mean, &e), "t: an array of [N,3,2] follows one of [N,2]");
    refuse(latent_mean("none", &mean, &e), "none: No such file");
    refuse(latent_describe("none", false, false, stdout, &e), "none: No such file");
}

static void test_z(void **unused) {
    (void)unused;
    const uint64_t seeds[3] = {7, 0, UINT64_MAX};
    struct latent_set set;
    float z[3 * 4], one[4];
    latent_of_seed(7, false, z, 4);
    latent_of_seed(7, true, one, 4);
    assert_true(fabs((double)z[0] - 1.6905257) < 1e-6 && z[0] != one[0]); /* numpy.random.RandomState(7).randn() */
    latent_of_seeds(seeds, 3, true, z, 4);
    assert_memory_equal(z, one, sizeof one);
    latent_of_seed(UINT64_MAX, true, one, 4);
    assert_memory_equal(z + 8, one, sizeof one);
    FILE *f = fopen("t", "w");
    assert_int_equal(latent_write_seeds(f, seeds, 3, true, 4, &e), ST_OK);
    fclose(f);
    assert_int_equal(latent_load("t", &set, &e), ST_OK);
    assert_true(set.n == 3 && set.shape.layers == 0 && set.shape.dim == 4);
    assert_memory_equal(set.data, z, sizeof z);
    latent_set_free(&set);
}

static struct latent_walk *walk(enum latent_path path, const struct latent_set *keys, int64_t frames, bool loop) {
    struct latent_walk *w;
    if (latent_walk_create(&w, path, keys, (struct latent_vector){0}, frames, loop, &e) != ST_OK)
        fail_msg("%s", e.text);
    return w;
}

/* The spline through more latents than the inverse reaches: no jump of value, slope or curvature at any of them. */
static void test_spline(void **unused) {
    (void)unused;
    enum { KEYS = 200, STEP = 64 };
    float y[KEYS], out;
    for (int i = 0; i < KEYS; i++)
        latent_of_seed((uint64_t)i, false, y + i, 1);
    const struct latent_set keys = {.shape = {0, 1}, .n = KEYS, .data = y};
    for (int loop = 0; loop < 2; loop++) {
        int64_t frames = loop ? KEYS * STEP : (KEYS - 1) * STEP + 1;
        struct latent_walk *w = walk(LATENT_CUBIC, &keys, frames, loop);
        double *f = malloc((size_t)frames * sizeof *f), bend = 0;
        for (int64_t i = 0; i < frames; i++) {
            latent_walk_frame(w, i, &out);
            f[i] = (double)out;
            if (i % STEP == 0)
                assert_true(out == y[i / STEP]);
        }
        for (int k = 1; k < KEYS - 1; k++) { /* third differences of a cubic are constant, those across a key bounded by its jump in y''' */
            double here = f[k * STEP + 1] - 2 * f[k * STEP] + f[k * STEP - 1];
            double before = f[k * STEP] - 2 * f[k * STEP - 1] + f[k * STEP - 2], after = f[k * STEP + 2] - 2 * f[k * STEP + 1] + f[k * STEP];
            bend = fmax(bend, fabs(here - (before + after) / 2));
        }
        assert_true(bend < 4.0 / (STEP * STEP * STEP) * 20); /* a jump of slope would be 1/STEP: 100 times as much */
        if (loop)
            assert_true(fabs(f[0] - 2 * f[frames - 1] + f[frames - 2]) < 0.02);
        latent_walk_free(w);
        free(f);
    }
}

static void test_turns(void **unused) {
    (void)unused;
    const float a[2][2] = {{1, 0}, {2, 0}}, b[2][2] = {{1, 0}, {-1, 0}}, c[2][2] = {{0, 0}, {0, 4}};
    const float *const pair[] = {*a, *b, *c};
    const double want[3][2] = {{1.5, 0}, {0, 0}, {0, 2}}; /* parallel, opposite, no length: straight */
    float out[2];
    for (int i = 0; i < 3; i++) {
        const struct latent_set keys = {.shape = {0, 2}, .n = 2, .data = (float *)pair[i]};
        struct latent_walk *w = walk(LATENT_SPHERICAL, &keys, 3, false);
        latent_walk_frame(w, 1, out);
        assert_true(largest(out, want[i], 2) < 1e-6);
        latent_walk_free(w);
    }
    struct latent_walk *w;
    const struct latent_set one = {.shape = {0, 2}, .n = 1, .data = (float *)*a}, three = {.shape = {0, 1}, .n = 3, .data = (float *)*a};
    stream("w", 2, 0, 3, 2);
    struct latent_set keys, frames;
    assert_int_equal(latent_load("t", &keys, &e), ST_OK);
    w = walk(LATENT_LINEAR, &keys, 3, false);
    FILE *f = fopen("out", "w");
    assert_int_equal(latent_walk_write(w, f, &e), ST_OK);
    fclose(f);
    assert_int_equal(latent_load("out", &frames, &e), ST_OK);
    assert_true(frames.n == 3 && frames.shape.dim == 3 && frames.data[0] == 0 && frames.data[3] == 1.5f && frames.data[8] == 5);
    latent_set_free(&frames);
    latent_set_free(&keys);
    latent_walk_free(w);
    refuse(latent_walk_create(&w, LATENT_LINEAR, &one, (struct latent_vector){0}, 5, false, &e), "at least 2");
    refuse(latent_walk_create(&w, LATENT_CIRCULAR, &three, (struct latent_vector){0}, 5, true, &e), "a circle goes through 2");
}

static void test_eigen(void **unused) {
    (void)unused;
    enum { D = 24 };
    static float rows[300 * D], out[D * D];
    static double value[D], gram[D * D];
    struct latent_moments m;
    for (int i = 0; i < 300; i++)
        latent_of_seed((uint64_t)i, true, rows + i * D, D);
    for (int i = 0; i < 300 * D; i++)
        rows[i] = rows[i] * (float)(1 + i % D) + 3; /* component k has deviation k + 1 */
    latent_moments_start(&m, D);
    latent_moments_add(&m, rows, 100);
    latent_moments_add(&m, rows + 100 * D, 200);
    latent_moments_finish(&m);
    assert_true(fabs(m.sum[0] - 3) < 0.3 && fabs(sqrt(m.gram[3 * D + 3]) - 4) < 0.5 && m.gram[5] == m.gram[5 * D]);
    memcpy(gram, m.gram, sizeof gram);
    assert_int_equal(latent_eigen(m.gram, D, D, out, value, &e), ST_OK);
    for (int k = 0; k < D; k++) { /* A v = value v, values fall, the largest component is positive */
        double worst = 0, top = 0;
        for (int i = 0; i < D; i++) {
            double sum = 0;
            for (int j = 0; j < D; j++)
                sum += gram[i * D + j] * (double)out[k * D + j];
            worst = fmax(worst, fabs(sum - value[k] * (double)out[k * D + i]));
            if (fabs((double)out[k * D + i]) > fabs(top))
                top = (double)out[k * D + i];
        }
        assert_true(worst < 1e-4 && top > 0 && (k == 0 || value[k] <= value[k - 1]));
    }
    latent_moments_free(&m);
}

static void test_groups(void **unused) {
    (void)unused;
    enum { N = 60, D = 8 };
    static float x[N * D], direction[D];
    static uint8_t label[N];
    for (int i = 0; i < N; i++) {
        latent_of_seed((uint64_t)i, false, x + i * D, D);
        label[i] = i % 2;
        x[i * D + 2] = label[i] ? 1e3f : -1e3f; /* told apart by far: no weight may run away */
    }
    struct latent_boundary b = {.direction = direction};
    double distance;
    assert_int_equal(latent_logistic(x, N, D, label, -1, &b, &e), ST_OK);
    assert_true(direction[2] > 0.9f && fabs(b.offset) < 100);
    assert_true(latent_right_side(x, N, D, label, &b) == N && latent_held_out(x, N, D, label) == N);
    assert_int_equal(latent_difference(x, N, D, label, direction, &distance, &e), ST_OK);
    assert_true(fabs(distance - 2000) < 1 && direction[2] > 0.99f);
    memset(label, 0, N);
    refuse(latent_logistic(x, N, D, label, -1, &b, &e), "group is empty: 0 latents with the attribute, 60 without");
    label[0] = 1;
    assert_true(latent_held_out(x, N, D, label) == -1); /* the only one is left out once */
    for (int i = 0; i < N * D; i++)
        x[i] = 1;
    refuse(latent_logistic(x, N, D, label, -1, &b, &e), "all latents are the same");
    refuse(latent_difference(x, N, D, label, direction, &distance, &e), "the same mean");
}

/* Row i holds the number i, so that the layers of rows other than 0 are equal; or i + layer. */
static void rows(const char *path, int64_t n, int layers, int dim, bool differ) {
    const struct latent_shape shape = {layers, dim};
    struct latent_set s = {shape, n, malloc((size_t)(n * latent_size(shape)) * sizeof *s.data)};
    for (int64_t i = 0; i < n * latent_size(shape); i++)
        s.data[i] = (float)(i / latent_size(shape) + (differ ? i / dim % layers : 0));
    FILE *f = fopen(path, "w");
    assert_int_equal(latent_save(f, &s, &e), ST_OK);
    fclose(f);
    latent_set_free(&s);
}

static void test_labels(void **unused) {
    (void)unused;
    struct latent_groups g;
    rows("s", 5, 0, 2, false);
    text("l", "1\r\n0\n-\n-3 \n0.5");
    assert_int_equal(latent_groups_label(&g, "s", "l", &e), ST_OK);
    assert_true(g.latents.n == 4 && !memcmp(g.label, "\1\0\0\1", 4) && g.latents.data[4] == 3 && g.latents.data[6] == 4);
    latent_groups_free(&g);
    const char *const bad[] = {"1\n2\n", "1\n1\n1\n1\n1\n1\n", "1\nx\n", "1\n\n", "nan\n", "1 2\n", "--\n"};
    const char *const why[] = {"l: 2 lines for 5", "l: more lines than the 5", "l: line 2 is", "l: line 2 is", "l: line 1", "l: line 1", "l: line 1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        text("l", bad[i]);
        refuse(latent_groups_label(&g, "s", "l", &e), why[i]);
        assert_null(g.latents.data);
    }
    refuse(latent_groups_label(&g, "s", "none", &e), "none: No such file");
    refuse(latent_groups_label(&g, "s", ".", &e), ".: read: Is a directory");
    refuse(latent_groups_label(&g, "none", "l", &e), "none: No such file");
    rows("s", 2, 0, 2, false);
    rows("t", 2, 3, 2, false);
    assert_int_equal(latent_groups_join(&g, "s", "t", &e), ST_OK);
    assert_true(g.latents.n == 4 && g.latents.shape.layers == 0 && !memcmp(g.label, "\1\1\0\0", 4) && g.latents.data[6] == 1);
    latent_groups_free(&g);
    rows("t", 2, 3, 2, true);
    refuse(latent_groups_join(&g, "s", "t", &e), "t: layers of a w+ differ");
    rows("t", 2, 0, 3, false);
    refuse(latent_groups_join(&g, "s", "t", &e), "s and t: latents of different sizes");
    refuse(latent_groups_join(&g, "s", "none", &e), "none: No such file");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_seeds), cmocka_unit_test(test_layers),  cmocka_unit_test(test_rows),
                                       cmocka_unit_test(test_z),     cmocka_unit_test(test_streams), cmocka_unit_test(test_whole),
                                       cmocka_unit_test(test_spline), cmocka_unit_test(test_turns),  cmocka_unit_test(test_eigen),
                                       cmocka_unit_test(test_groups), cmocka_unit_test(test_labels)};
    char folder[] = "/tmp/test_latent-XXXXXX";
    if (!mkdtemp(folder) || chdir(folder))
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    static const char *const made[] = {"t", "s", "l", "out", "again", "one"};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++)
        unlink(made[i]);
    return rmdir(folder) ? 1 : failed;
}
