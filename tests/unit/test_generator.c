/* test_generator.c - pictures and augmentations depend on the image alone, not on its place in a batch. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/rng/philox.h"
#include "common/stylegan2/augment.h"
#include "common/stylegan2/generator.h"

#define RES 16
#define PIXELS (RES * RES * 3)

static struct device *device;
static const struct sg2_config config = {.res = RES, .img_channels = 3, .z_dim = 16, .w_dim = 12, .c_dim = 2, .channel_base = 128,
                                         .channel_max = 8, .map_layers = 2, .d_map_layers = 2, .mbstd_group = 4, .mbstd_channels = 1};

static int set_up(void **unused) {
    (void)unused;
    struct error e;
    return device_open(&device, "cpu", 2, &e);
}

static int tear_down(void **unused) {
    (void)unused;
    device_close(device);
    return 0;
}

static struct sg2_net *network(void) {
    struct sg2_net *n = sg2_net_create(device, SG2_G, &config);
    sg2_net_init(n, 3);
    float strength = 0.5f; /* noise counts only when its strength is not zero */
    const struct sg2_tensor *t = sg2_net_find(n, "synthesis.b16.conv1.noise_strength");
    sg2_tensor_set(t, n->params, &strength);
    return n;
}

static struct sg2_generator *generator(struct sg2_net *n, int batch, float psi) {
    struct sg2_generator_opt o = {.batch = batch, .noise = SG2_NOISE_RANDOM, .psi = psi, .cutoff = -1};
    struct sg2_generator *s;
    struct error e;
    if (sg2_generator_create(&s, device, n, &o, &e))
        fail_msg("%s", e.text);
    return s;
}

static double distance(const float *a, const float *b, int n) {
    double d = 0;
    for (int i = 0; i < n; i++)
        d = fmax(d, fabs((double)a[i] - (double)b[i]));
    return d;
}

static void test_batch_size_does_not_matter(void **unused) {
    (void)unused;
    struct sg2_net *n = network();
    struct sg2_generator *five = generator(n, 5, 0.7f), *two = generator(n, 2, 0.7f);
    static float z[5 * 16], a[5 * PIXELS], b[5 * PIXELS], ws[5 * 6 * 12];
    const int labels[5] = {0, 1, 1, 0, 1};
    const uint64_t seeds[5] = {11, 7, 1ull << 40, 3, 11};
    for (int i = 0; i < 5; i++)
        philox_fill_normal(1, (uint64_t)i, 0, z + 16 * i, 16);
    struct sg2_latents l = {.n = 5, .z = z, .labels = labels, .noise_seeds = seeds};
    sg2_generate_float(five, &l, a);
    sg2_generate_float(two, &l, b);
    assert_memory_equal(a, b, sizeof a); /* to the bit */
    /* one picture alone, from the middle */
    struct sg2_latents one = {.n = 1, .z = z + 16 * 2, .labels = labels + 2, .noise_seeds = seeds + 2};
    sg2_generate_float(five, &one, b);
    assert_true(distance(a + 2 * PIXELS, b, PIXELS) < 1e-5);
    /* another noise seed is another picture, and so is another class */
    one.noise_seeds = seeds;
    sg2_generate_float(five, &one, b);
    assert_true(distance(a + 2 * PIXELS, b, PIXELS) > 1e-3);
    one.noise_seeds = seeds + 2, one.labels = labels;
    sg2_generate_float(five, &one, b);
    assert_true(distance(a + 2 * PIXELS, b, PIXELS) > 1e-3);
    /* by way of w+ */
    sg2_generate_ws(two, &l, ws);
    sg2_generate_float(five, &(struct sg2_latents){.n = 5, .ws = ws, .noise_seeds = seeds}, b);
    assert_true(distance(a, b, 5 * PIXELS) < 1e-5);
    /* in 8 bits: what rounding the floats gives */
    static uint8_t got[5 * PIXELS], want[5 * PIXELS];
    sg2_generate(five, &l, got);
    sg2_generate_float(five, &l, b);
    sg2_to_u8(b, want, 5 * PIXELS);
    assert_memory_equal(got, want, sizeof got);
    /* after the weights changed */
    sg2_net_init(n, 4);
    sg2_generator_refresh(five);
    sg2_generate_float(five, &l, b);
    assert_true(distance(a, b, 5 * PIXELS) > 1e-3);
    sg2_generator_free(five);
    sg2_generator_free(two);
    sg2_net_free(n);
}

/* One picture with `noise`, its layers scaled. */
static void with_noise(struct sg2_net *n, enum sg2_noise noise, const float *factors, float *out) {
    struct sg2_generator_opt o = {.batch = 1, .noise = noise, .psi = 1, .cutoff = -1, .noise_scale = factors};
    struct sg2_generator *s;
    struct error e;
    float z[16];
    philox_fill_normal(1, 0, 0, z, 16);
    if (sg2_generator_create(&s, device, n, &o, &e))
        fail_msg("%s", e.text);
    sg2_generate_float(s, &(struct sg2_latents){.n = 1, .z = z, .labels = (const int[]){1}}, out);
    sg2_generator_free(s);
}

static void test_noise_of_a_layer(void **unused) {
    (void)unused;
    struct sg2_net *n = network(); /* noise counts in layer 4 only, the last convolution at 16x16 */
    static float none[PIXELS], plain[PIXELS], got[PIXELS], twice[PIXELS];
    for (int k = SG2_NOISE_RANDOM; k <= SG2_NOISE_CONST; k++) {
        with_noise(n, SG2_NOISE_NONE, NULL, none);
        with_noise(n, k, NULL, plain);
        assert_true(distance(plain, none, PIXELS) > 1e-2);
        with_noise(n, k, (const float[6]){0, 0, 0, 0, 1, 0}, got);
        assert_true(distance(plain, got, PIXELS) < 1e-6);
        with_noise(n, k, (const float[6]){1, 1, 1, 1, 0, 1}, got);
        assert_true(distance(none, got, PIXELS) < 1e-6);
        /* factors multiply the strength */
        with_noise(n, k, (const float[6]){1, 1, 1, 1, 2, 1}, twice);
        float strength = 1;
        const struct sg2_tensor *t = sg2_net_find(n, "synthesis.b16.conv1.noise_strength");
        sg2_tensor_set(t, n->params, &strength);
        with_noise(n, k, NULL, got);
        assert_true(distance(twice, got, PIXELS) < 1e-6);
        assert_true(distance(twice, plain, PIXELS) > 1e-2);
        strength = 0.5f;
        sg2_tensor_set(t, n->params, &strength);
    }
    sg2_net_free(n);
}

static void test_bytes(void **unused) {
    (void)unused;
    const float x[] = {-2, -1, 0, 0.5f, 1, 2, NAN, INFINITY};
    const uint8_t want[] = {0, 0, 128, 191, 255, 255, 0, 255};
    uint8_t got[8];
    sg2_to_u8(x, got, 8);
    assert_memory_equal(got, want, 8);
}

/* Augments `batch` pictures, all equal, whose image indices start at `first`. */
static void augment(const char *groups, int batch, uint64_t first, double p, const float *img, float *out) {
    struct augment *a = augment_create(device, augment_by_name(groups), batch, RES, 3);
    struct buffer *in = buffer_create(device, batch * PIXELS * 4, "in"), *to = buffer_create(device, batch * PIXELS * 4, "out");
    struct graph *g = graph_create("augment");
    struct program *program;
    struct error e;
    for (int i = 0; i < batch; i++)
        buffer_write(in, i * PIXELS * 4, img, PIXELS * 4);
    tensor *y = augment_graph(a, g, graph_input(g, in, 0, DT_F32, "img", 4, batch, RES, RES, 3));
    assign(g, graph_input(g, to, 0, DT_F32, "out", 4, batch, RES, RES, 3), y);
    if (program_create(&program, g, device, &e))
        fail_msg("%s", e.text);
    augment_draw(a, 5, first, 9, p, -1);
    program_run(program);
    buffer_read(to, 0, out, batch * PIXELS * 4);
    program_free(program);
    graph_free(g);
    buffer_free(in);
    buffer_free(to);
    augment_free(a);
}

static void test_augment(void **unused) {
    (void)unused;
    static float img[PIXELS], four[4 * PIXELS], one[PIXELS];
    philox_fill_normal(2, 0, 0, img, PIXELS);
    /* probability 0 changes nothing, although everything runs: sym6 up and down is the identity */
    augment("bgcfnc", 4, 0, 0, img, four);
    for (int i = 0; i < 4; i++)
        assert_true(distance(four + i * PIXELS, img, PIXELS) < 1e-5);
    /* image 23 is the same alone and in a batch, and others are different */
    augment("bgcfnc", 4, 20, 1, img, four);
    augment("bgcfnc", 1, 23, 1, img, one);
    assert_true(distance(four + 3 * PIXELS, one, PIXELS) < 1e-5);
    assert_true(distance(four + 2 * PIXELS, one, PIXELS) > 1e-2);
    assert_null(augment_by_name("bgx"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bytes), cmocka_unit_test(test_batch_size_does_not_matter),
                                       cmocka_unit_test(test_noise_of_a_layer), cmocka_unit_test(test_augment)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
