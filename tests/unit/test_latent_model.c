/* test_latent_model.c - networks as latents see them (common/latent/model.h) and the directions found in them, in latents and between
 * groups (find.h), on a network small enough to be made here.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/latent/edit.h"
#include "common/latent/find.h"
#include "common/latent/model.h"
#include "common/latent/seeds.h"
#include "common/store/checkpoint.h"

enum { Z = 6, W = 8, LAYERS = 4, CLASSES = 3 };
static struct error e;

static void refuse(enum status st, const char *text) {
    if (st >= 0 || !strstr(e.text, text))
        fail_msg("status %d, \"%s\", expected \"%s\"", st, e.text, text);
}

static struct latent_model opened(const char *path, struct latent_mapping how) {
    struct latent_model m;
    if (latent_model_open(&m, path, 1, &e) != ST_OK || latent_model_map(&m, &how, &e) != ST_OK)
        fail_msg("%s", e.text);
    return m;
}

static void test_open(void **unused) {
    (void)unused;
    struct latent_sizes s;
    struct latent_model m;
    assert_int_equal(latent_model_sizes("plain", &s, &e), ST_OK);
    assert_true(s.z_dim == Z && s.num_ws == LAYERS);
    assert_int_equal(latent_model_open(&m, "plain", 1, &e), ST_OK);
    for (int i = 0; i < W; i++)
        assert_true(m.mean[i] == (float)i);
    refuse(sg2_config_class(&m.config, 0, &e), "the network has no classes");
    refuse(latent_model_map(&m, &(struct latent_mapping){.psi = 11, .cutoff = -1}, &e), "truncation 11");
    latent_model_close(&m);
    refuse(latent_model_open(&m, "none", 1, &e), "none: ");
    assert_true(!m.net && !m.device && !m.mean);
    latent_model_close(&m);
    refuse(latent_model_sizes("none", &s, &e), "none: ");
}

/* w is each layer of w+, truncation moves it to the mean, more rows than a batch are all mapped, and moments are those of the rows. */
static void test_map(void **unused) {
    (void)unused;
    enum { N = 70 };
    static float z[N * Z], w[N * W], plus[N * LAYERS * W], some[LATENT_MAP_BATCH * LAYERS * W];
    uint64_t seeds[N];
    for (int i = 0; i < N; i++)
        seeds[i] = (uint64_t)(3 * i);
    latent_of_seeds(seeds, N, true, z, Z);
    struct latent_model m = opened("plain", (struct latent_mapping){.psi = 1, .cutoff = -1});
    for (int at = 0; at < N; at += 10)
        latent_map_rows(&m, z + at * Z, 10, w + at * W);
    struct latent_moments sum;
    latent_map_moments(&m, seeds, N, true, &sum);
    assert_int_equal(sum.n, N);
    for (int k = 0; k < W; k++) {
        double own = 0, square = 0;
        for (int i = 0; i < N; i++)
            own += (double)w[i * W + k], square += (double)w[i * W + k] * (double)w[i * W + W - 1];
        assert_true(fabs(sum.sum[k] - own) < 1e-6 && fabs(sum.gram[k * W + W - 1] - square) < 1e-6);
    }
    latent_moments_free(&sum);
    latent_model_close(&m);

    m = opened("plain", (struct latent_mapping){.psi = 0.25, .cutoff = 1, .plus = true});
    FILE *f = fopen("z", "w"), *out = fopen("plus", "w");
    struct latent_filter filter = latent_map_filter(&m);
    assert_int_equal(latent_save(f, &(struct latent_set){{0, Z}, N, z}, &e), ST_OK);
    fclose(f);
    assert_int_equal(latent_filter("z", out, &filter, &e), ST_OK);
    fclose(out);
    struct latent_set set;
    assert_int_equal(latent_load("plus", &set, &e), ST_OK);
    assert_true(set.n == N && set.shape.layers == LAYERS && set.shape.dim == W);
    memcpy(plus, set.data, sizeof plus);
    latent_set_free(&set);
    for (int i = 0; i < N * LAYERS * W; i++) {
        int k = i % W, layer = i / W % LAYERS;
        double full = (double)w[i / (LAYERS * W) * W + k], mean = k;
        assert_true(fabs((double)plus[i] - (layer ? full : mean + 0.25 * (full - mean))) < 1e-5);
    }
    latent_map_rows(&m, z, 2, some);
    assert_memory_equal(some, plus, 2 * LAYERS * W * sizeof *some);
    out = fopen("/dev/null", "w");
    refuse(latent_filter("plus", out, &filter, &e), "plus: an array of [N,4,8] is no z of this network, which is [N,6]");
    fclose(out);
    latent_model_close(&m);
}

static void test_classes(void **unused) {
    (void)unused;
    float z[2 * Z], w[CLASSES][2 * W];
    latent_of_seeds((uint64_t[]){1, 1}, 2, false, z, Z);
    for (int k = 0; k < CLASSES; k++) {
        struct latent_model m = opened("classes", (struct latent_mapping){.psi = 1, .cutoff = -1, .class = k});
        assert_int_equal(sg2_config_class(&m.config, k, &e), ST_OK);
        refuse(sg2_config_class(&m.config, CLASSES, &e), "the network has classes 0-2");
        refuse(sg2_config_class(&m.config, -1, &e), "the network has classes 0-2");
        latent_map_rows(&m, z, 2, w[k]);
        assert_memory_equal(w[k], w[k] + W, W * sizeof(float));
        assert_true(k == 0 || memcmp(w[k], w[k - 1], W * sizeof(float)));
        latent_model_close(&m);
    }
}

static void test_weights(void **unused) {
    (void)unused;
    struct latent_model m;
    struct latent_found f;
    double gram[W * W], trace = 0;
    int channels;
    char want[160];
    assert_int_equal(latent_model_open(&m, "plain", 1, &e), ST_OK);
    assert_int_equal(latent_find_in_weights(m.net, LATENT_ALL, 100, &f, &e), ST_OK);
    assert_true(f.directions.n == W && f.directions.shape.layers == 0 && f.directions.shape.dim == W);
    assert_non_null(strstr(f.worth, "8 directions hold 100.0 % of the style weights of "));
    /* the first makes the longest style vectors: v'Gv is its share of the trace */
    assert_int_equal(latent_style_gram(m.net, LATENT_ALL, gram, &channels, &e), ST_OK);
    double along = 0, length = 0;
    for (int i = 0; i < W; i++) {
        trace += gram[i * W + i];
        length += (double)f.directions.data[i] * (double)f.directions.data[i];
        for (int j = 0; j < W; j++)
            along += (double)f.directions.data[i] * gram[i * W + j] * (double)f.directions.data[j];
    }
    snprintf(want, sizeof want, "8 directions hold 100.0 %% of the style weights of %d channels, the first %.1f %%", channels, 100 * along / trace);
    assert_string_equal(f.worth, want);
    assert_true(fabs(length - 1) < 1e-6);
    latent_set_free(&f.directions);
    assert_int_equal(latent_find_in_weights(m.net, 1, 2, &f, &e), ST_OK);
    assert_int_equal(f.directions.n, 2);
    latent_set_free(&f.directions);
    refuse(latent_find_in_weights(m.net, (uint64_t)1 << (LAYERS - 1), 2, &f, &e), "feed no convolution");
    latent_model_close(&m);
}

static void test_moments(void **unused) {
    (void)unused;
    const float rows[4 * 2] = {3, 0, -3, 0, 0, 1, 0, -1}; /* variance 4.5 along the first, 0.5 along the second */
    struct latent_moments m;
    struct latent_found f;
    latent_moments_start(&m, 2);
    latent_moments_add(&m, rows, 1);
    refuse(latent_find_in_moments(&m, 1, &f, &e), "at least 2 latents");
    latent_moments_add(&m, rows + 2, 3);
    assert_int_equal(latent_find_in_moments(&m, 1, &f, &e), ST_OK);
    assert_string_equal(f.worth, "1 directions hold 90.0 % of the variance, the first 90.0 %");
    assert_true(f.directions.n == 1 && f.directions.data[0] == 1 && f.directions.data[1] == 0);
    latent_set_free(&f.directions);
    latent_moments_free(&m);
}

static void test_groups(void **unused) {
    (void)unused;
    enum { N = 20 };
    float x[2 * N];
    uint8_t label[N];
    for (int i = 0; i < N; i++) {
        label[i] = i < N / 2;
        x[2 * i] = (float)(i % 3);
        x[2 * i + 1] = label[i] ? 5 : -5;
    }
    const struct latent_groups g = {{{0, 2}, N, x}, label};
    struct latent_found f;
    assert_int_equal(latent_find_difference(&g, &f, &e), ST_OK);
    assert_true(f.directions.n == 1 && f.directions.shape.dim == 2 && f.directions.data[1] > 0.99f);
    assert_string_equal(f.worth, "the means of the groups are 10 apart");
    latent_set_free(&f.directions);
    assert_int_equal(latent_find_logistic(&g, true, &f, &e), ST_OK);
    assert_true(f.directions.n == 1 && f.directions.data[1] > 0.99f);
    assert_string_equal(f.worth, "the attribute is told from 100.0 % of 20 latents, and from 100.0 % of those not fitted to");
    latent_set_free(&f.directions);
    assert_int_equal(latent_find_logistic(&g, false, &f, &e), ST_OK);
    assert_string_equal(f.worth, "");
    latent_set_free(&f.directions);
    memset(label, 1, N);
    refuse(latent_find_difference(&g, &f, &e), "a group is empty");
    refuse(latent_find_logistic(&g, true, &f, &e), "a group is empty");
    assert_null(f.directions.data);
}

/* A network of random weights whose mean of w is 0, 1, 2 ... */
static int write_network(const char *path, int classes) {
    const struct sg2_config c = {.res = 8, .img_channels = 3, .z_dim = Z, .w_dim = W, .c_dim = classes, .channel_base = 64,
                                 .channel_max = 8, .map_layers = 2, .d_map_layers = 2};
    float mean[W];
    struct device *d;
    if (device_open(&d, "cpu", 1, &e) != ST_OK)
        return 1;
    struct sg2_net *g = sg2_net_create(d, SG2_G, &c);
    sg2_net_init(g, 1);
    for (int i = 0; i < W; i++)
        mean[i] = (float)i;
    sg2_tensor_set(sg2_net_find(g, "mapping.w_avg"), g->state, mean);
    enum status st = checkpoint_write_network(path, g, 0, NULL, &e);
    sg2_net_free(g);
    device_close(d);
    return st;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_open),    cmocka_unit_test(test_map),     cmocka_unit_test(test_classes),
                                       cmocka_unit_test(test_weights), cmocka_unit_test(test_moments), cmocka_unit_test(test_groups)};
    char folder[] = "/tmp/test_latent_model-XXXXXX";
    if (!mkdtemp(folder) || chdir(folder) || write_network("plain", 0) || write_network("classes", CLASSES)) {
        fprintf(stderr, "%s\n", e.text);
        return 1;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    static const char *const made[] = {"plain", "classes", "z", "plus"};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++)
        unlink(made[i]);
    return rmdir(folder) ? 1 : failed;
}
