/* test_drawing.c - what stands between sg2-gen's command line and its output: batches through a generator, the w+ saved beside them, tables,
 * what is asked for and cannot be had, and the JSON of a picture.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/mem.h"
#include "common/latent/describe.h"
#include "common/latent/drawing.h"
#include "common/stream/npy.h"

#define RES 8
#define WS (4 * 12)
#define PIXELS (RES * RES * 3)
#define N 7

static struct error e;
static struct device *device;
static struct sg2_net *net;
static struct sg2_generator *generator;
static const struct sg2_config config = {.res = RES, .img_channels = 3, .z_dim = 16, .w_dim = 12, .c_dim = 2, .channel_base = 64,
                                         .channel_max = 8, .map_layers = 2, .d_map_layers = 2, .mbstd_group = 4, .mbstd_channels = 1};
static const uint64_t seeds[N] = {3, 1, 4, 11, 5, 9, 2};
static char folder[] = "/tmp/test_drawing.XXXXXX", save_w[64];

#define OK(call)                                                     \
    do {                                                             \
        enum status st_ = (call);                                    \
        if (st_ != ST_OK)                                            \
            fail_msg("%s: status %d, \"%s\"", #call, st_, e.text);   \
    } while (0)
#define FAILS(call, want, why)                                       \
    do {                                                             \
        enum status st_ = (call);                                    \
        if (st_ != (want) || !strstr(e.text, why))                   \
            fail_msg("%s: status %d, \"%s\"", #call, st_, e.text);   \
    } while (0)

static int set_up(void **unused) {
    (void)unused;
    if (!mkdtemp(folder) || device_open(&device, "cpu", 2, &e) != ST_OK)
        return -1;
    snprintf(save_w, sizeof save_w, "%s/w.npy", folder);
    net = sg2_net_create(device, SG2_G, &config);
    sg2_net_init(net, 3);
    float strength = 0.5f; /* noise counts only when its strength is not zero */
    sg2_tensor_set(sg2_net_find(net, "synthesis.b8.conv1.noise_strength"), net->params, &strength);
    const struct sg2_generator_opt o = {.batch = 3, .noise = SG2_NOISE_RANDOM, .psi = 0.7f, .cutoff = -1};
    return sg2_generator_create(&generator, device, net, &o, &e);
}

static int tear_down(void **unused) {
    (void)unused;
    sg2_generator_free(generator);
    sg2_net_free(net);
    device_close(device);
    return rmdir(folder);
}

static void count(int64_t n, void *data) { *(int64_t *)data += n; }

/* Is there anything of the file for w+, under whatever name? */
static bool any_w(void) {
    char *temporary = xasprintf("%s.tmp-%ld", save_w, (long)getpid());
    bool any = !access(temporary, F_OK) || !access(save_w, F_OK);
    free(temporary);
    return any;
}

static int64_t drawn;
static struct drawing *open_drawing(int class_number, bool save) {
    struct drawing *d;
    const struct drawing_options o = {.generator = generator, .config = &config, .batch = 3, .class_number = class_number,
                                      .save_w = save ? save_w : NULL, .tick = count, .data = &drawn};
    drawn = 0;
    OK(drawing_open(&d, &o, &e));
    return d;
}

static struct latent_input *open_seeds(int n) {
    struct latent_input *in;
    const struct latent_input_options o = {.config = &config, .seeds = seeds, .n_seeds = n, .batch = 3};
    OK(latent_input_open(&in, &o, &e));
    return in;
}

static struct npy read_w(int64_t rows) {
    struct npy a;
    FILE *f = fopen(save_w, "rb");
    assert_non_null(f);
    OK(npy_read(f, save_w, NPY_F32, &a, &e));
    assert_true(a.ndim == 3 && a.dim[0] == rows && a.dim[1] == 4 && a.dim[2] == 12);
    fclose(f);
    unlink(save_w);
    return a;
}

struct taken {
    int n, fail_at; /* the call that fails; -1: none */
    uint64_t names[N];
    uint8_t pixels[N][PIXELS];
};

static enum status keep(void *context, const struct image *picture, uint64_t name, struct error *why) {
    struct taken *t = context;
    if (t->n == t->fail_at)
        return st_bad(why, "no room for %d", t->n);
    assert_true(t->n < N && picture->width == RES && picture->height == RES && picture->channels == 3);
    t->names[t->n] = name;
    memcpy(t->pixels[t->n++], picture->data, PIXELS);
    return ST_OK;
}

/* What the generator draws at once is what comes one by one, whatever the mode; and the w+ saved are what was drawn. */
static void pictures(void **state) {
    (void)state;
    static uint8_t once[N * PIXELS];
    static float ws[N * WS], z[N * 16];
    const int labels[N] = {1, 1, 1, 1, 1, 1, 1};
    struct latent_batch b;
    struct latent_input *in = open_seeds(N);
    for (int at = 0; latent_input_next(in, &b, &e) == ST_OK; at += (int)b.n)
        memcpy(z + at * 16, b.z, (size_t)b.n * 16 * sizeof *z);
    latent_input_close(in);
    const struct sg2_latents l = {.n = N, .z = z, .labels = labels, .noise_seeds = seeds};
    sg2_generate(generator, &l, once);
    sg2_generate_ws(generator, &l, ws);
    for (int mode = 0; mode < 4; mode++) {
        static struct taken t;
        t = (struct taken){.fail_at = -1};
        bool live = mode & 1, save = mode & 2;
        struct drawing *d = open_drawing(1, save);
        in = open_seeds(N);
        OK(drawing_pictures(d, in, live, keep, &t, &e));
        latent_input_close(in);
        assert_int_equal(access(save_w, F_OK), -1); /* not before it is whole */
        OK(drawing_close(d, true, &e));
        assert_true(t.n == N && drawn == N);
        assert_memory_equal(t.names, seeds, sizeof seeds);
        assert_memory_equal(t.pixels, once, sizeof once);
        if (save) {
            struct npy a = read_w(N);
            assert_memory_equal(a.f32, ws, sizeof ws);
            npy_free(&a);
        }
    }
}

static void failures(void **state) {
    (void)state;
    static struct taken t;
    struct drawing *d = open_drawing(-1, true);
    struct latent_input *in = open_seeds(N);
    t.fail_at = -1;
    FAILS(drawing_pictures(d, in, false, keep, &t, &e), ST_BAD, "the network has 2 classes");
    latent_input_close(in);
    assert_true(any_w());
    OK(drawing_close(d, false, &e));
    assert_false(any_w());
    for (int live = 0; live < 2; live++) {
        t = (struct taken){.fail_at = 4};
        d = open_drawing(0, true);
        in = open_seeds(N);
        FAILS(drawing_pictures(d, in, live, keep, &t, &e), ST_FAIL, "no room for 4");
        assert_true(t.n == 4 && drawn == 3);
        latent_input_close(in);
        drawing_close(d, false, NULL);
    }
    struct drawing_options o = {.generator = generator, .config = &config, .batch = 3, .tick = count, .data = &drawn, .save_w = folder};
    FAILS(drawing_open(&d, &o, &e), ST_FAIL, "it is a folder");
    o.save_w = "/proc/none/w.npy";
    FAILS(drawing_open(&d, &o, &e), ST_FAIL, "/proc/none/w.npy: No such file");
    assert_null(d);
    OK(drawing_close(NULL, true, &e));
}

static void table(void **state) {
    (void)state;
    struct drawing *d = open_drawing(0, true);
    const double amount[2] = {0, 1};
    float *mean = xcalloc(12, sizeof *mean);
    struct latent_table t = {.kind = TABLE_TRUNC, .shape = {4, 12}, .mask = LATENT_ALL, .amount = amount, .n_amount = 2, .mean = {mean, false}};
    struct latent_input *in = open_seeds(5);
    OK(drawing_sources(d, in, &t.rows, &e));
    latent_input_close(in);
    assert_true(t.rows.n == 5 && drawn == 0 && !memcmp(t.rows.names, seeds, 5 * sizeof *seeds));
    struct sheet s;
    OK(drawing_table(d, &t, &s, &e));
    assert_true(drawn == 10 && s.columns == 2 && s.rows == 5 && s.picture.width > 2 * RES);
    sheet_free(&s);
    OK(drawing_close(d, true, &e));
    struct npy a = read_w(10);
    for (int i = 0; i < 5 * WS; i++) { /* psi 0: the mean; psi 1: the source */
        assert_true(a.f32[i / WS * 2 * WS + i % WS] == 0);
        assert_true(fabsf(a.f32[i / WS * 2 * WS + WS + i % WS] - t.rows.ws[i]) < 1e-6f);
    }
    npy_free(&a);

    d = open_drawing(-1, false);
    OK(drawing_table(d, &t, &s, &e)); /* w+ need no class */
    sheet_free(&s);
    OK(drawing_close(d, true, &e));
    table_sources_free(&t.rows);
    free(mean);
}

static char *described(const struct picture_origin *o, uint64_t name, const char *key) {
    struct sample s = {0};
    picture_describe(o, name, &s);
    assert_string_equal(s.key, key);
    cJSON_DeleteItemFromObject(cJSON_GetArrayItem(cJSON_GetObjectItem(s.json, "steps"), 0), "version");
    char *text = cJSON_PrintUnformatted(s.json);
    sample_free(&s);
    return text;
}

static void descriptions(void **state) {
    (void)state;
    struct picture_origin o = {.rng = "philox", .res = 32, .psi = 0.5, .cutoff = -1, .class_number = -1, .noise = "const", .precision = "float32",
                               .network = "ab", .images = -1};
    char *text = described(&o, UINT64_MAX, "seed18446744073709551615"); /* to the last digit */
    assert_string_equal(text, "{\"seed\":18446744073709551615,\"truncation\":0.5,\"network\":\"ab\",\"width\":32,\"height\":32,\"steps\":[{"
                              "\"tool\":\"sg2-gen\",\"rng\":\"philox\",\"truncation\":0.5,\"cutoff\":-1,\"noise\":\"const\","
                              "\"precision\":\"float32\",\"network\":\"ab\"}]}");
    free(text);
    o.rng = NULL, o.class_number = 0, o.noise_scale = "0=2", o.images = 5000;
    text = described(&o, 7, "000007");
    assert_non_null(strstr(text, "\"latent\":7,"));
    assert_non_null(strstr(text, "\"label\":0,"));
    assert_non_null(strstr(text, "\"noise_scale\":\"0=2\""));
    assert_non_null(strstr(text, "\"network_images\":5000"));
    assert_null(strstr(text, "rng"));
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(pictures), cmocka_unit_test(failures), cmocka_unit_test(table),
                                       cmocka_unit_test(descriptions)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
