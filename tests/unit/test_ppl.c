/* test_ppl.c - features of a discriminator, and path length against its definition, on a tiny network. */
#include <math.h>
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
#include "common/metrics/extractor.h"
#include "common/metrics/ppl.h"
#include "common/rng/numpy_rng.h"
#include "common/store/checkpoint.h"
#include "common/stylegan2/generator.h"

enum { RES = 8, Z = 6, W = 10, D = 8 };
static char path[] = "/tmp/test_ppl-XXXXXX";
static struct device *device;

static int make_network(void **state) {
    (void)state;
    struct trainer_config c;
    struct trainer *t;
    struct error e;
    close(mkstemp(path));
    if (device_open(&device, "cpu", 1, &e) || trainer_preset(&c, "auto", RES, 1, NULL))
        return 1;
    c.batch = 4;
    c.net.channel_base = 64;
    c.net.channel_max = D;
    c.net.z_dim = Z;
    c.net.w_dim = W;
    if (trainer_create(&t, device, &c, &e))
        return 1;
    trainer_init(t);
    int code = checkpoint_write(path, t, &c, 0, NULL, &e);
    trainer_free(t);
    return code;
}

static int remove_network(void **state) {
    (void)state;
    device_close(device);
    return unlink(path);
}

static struct extractor *open_extractor(int batch) {
    struct extractor_options o = {.features = path, .device = "cpu", .resize = RESIZE_CLEAN, .threads = 1, .batch = batch};
    struct extractor *x;
    struct error e;
    if (extractor_open(&x, &o, &e) != ST_OK)
        fail_msg("%s", e.text);
    return x;
}

/* The features times the last layer are the logit, where the deviation is taken over groups of one. */
static void features_lead_to_the_logit(void **state) {
    (void)state;
    struct checkpoint *c;
    struct sg2_net *net;
    struct error e;
    assert_int_equal(checkpoint_open(&c, path, &e), ST_OK);
    assert_int_equal(checkpoint_discriminator(c, device, &net, &e), ST_OK);
    enum { N = 4 };
    struct image im[N];
    float pictures[N * RES * RES * 3], logit[N], features[N * D], one[D], weight[D], bias;
    for (int i = 0; i < N; i++) {
        image_alloc(&im[i], RES, RES, 3);
        for (int k = 0; k < RES * RES * 3; k++) {
            im[i].data[k] = (uint8_t)(k * 37 + i * 61);
            pictures[i * RES * RES * 3 + k] = im[i].data[k] / 127.5f - 1;
        }
    }
    struct buffer *in = buffer_create(device, sizeof pictures, "in"), *out = buffer_create(device, sizeof logit, "out");
    net->config.mbstd_group = 1;
    struct graph *g = graph_create("logits");
    struct sg2_vars *v = sg2_vars_create(g, net, true);
    assign(g, graph_input(g, out, 0, DT_F32, "out", 2, N, 1),
           sg2_discriminator(v, graph_input(g, in, 0, DT_F32, "in", 4, N, RES, RES, 3), NULL, false));
    struct program *p;
    assert_int_equal(program_create(&p, g, device, &e), ST_OK);
    buffer_write(in, 0, pictures, sizeof pictures);
    program_run(p);
    buffer_read(out, 0, logit, sizeof logit);

    struct extractor *x = open_extractor(N);
    assert_string_equal(extractor_name(x), "discriminator");
    assert_int_equal(extractor_dim(x), D);
    assert_int_equal(extractor_run(x, im, N, features, NULL, &e), ST_OK);
    sg2_tensor_get(sg2_net_find(net, "b4.out.weight"), net->params, weight);
    sg2_tensor_get(sg2_net_find(net, "b4.out.bias"), net->params, &bias);
    for (int i = 0; i < N; i++) {
        double sum = bias;
        for (int k = 0; k < D; k++)
            sum += features[i * D + k] * weight[k] / sqrt(D);
        assert_true(fabs(sum - logit[i]) < 1e-4 * (1 + fabs(sum)));
    }
    assert_int_equal(extractor_run(x, im + 2, 1, one, NULL, &e), ST_OK); /* alone, in a batch that is not full */
    for (int k = 0; k < D; k++)
        assert_true(fabsf(one[k] - features[2 * D + k]) < 1e-5f);
    assert_int_equal(extractor_run_float(x, pictures, 0, RES, RES, one, &e), ST_OK); /* none is none */

    extractor_close(x);
    program_free(p);
    sg2_vars_free(v);
    graph_free(g);
    buffer_free(in);
    buffer_free(out);
    for (int i = 0; i < N; i++)
        image_free(&im[i]);
    sg2_net_free(net);
    checkpoint_close(c);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The definition, pair by pair, in the largest step at which float32 still holds its ground. */
static double by_definition(const struct ppl_options *o, struct extractor *x) {
    struct checkpoint *c;
    struct sg2_net *net;
    struct sg2_generator *gen;
    struct error e;
    struct sg2_generator_opt go = {.batch = 16, .noise = SG2_NOISE_CONST, .psi = 1, .cutoff = -1};
    assert_int_equal(checkpoint_open(&c, path, &e), ST_OK);
    assert_int_equal(checkpoint_generator(c, device, &net, &e), ST_OK);
    assert_int_equal(sg2_generator_create(&gen, device, net, &go, &e), ST_OK);
    struct numpy_rng rng;
    double distance[64], mean = 0;
    int num_ws = sg2_num_ws(&net->config);
    numpy_rng_seed(&rng, o->seed);
    for (int i = 0; i < o->samples; i++) {
        float z[2][Z], ws[2][16 * W], w[2][W], pictures[2 * RES * RES * 3], features[2 * D];
        for (int k = 0; k < 2 * Z; k++)
            z[k / Z][k % Z] = (float)numpy_rng_gauss(&rng);
        double t = o->full ? numpy_rng_double(&rng) : 0;
        if (o->z) { /* two points of the great circle through both */
            double a[Z], b[Z], la = 0, lb = 0, dot = 0;
            for (int j = 0; j < Z; j++)
                la += (double)z[0][j] * z[0][j], lb += (double)z[1][j] * z[1][j];
            for (int j = 0; j < Z; j++) {
                a[j] = z[0][j] / sqrt(la), b[j] = z[1][j] / sqrt(lb);
                dot += a[j] * b[j];
            }
            for (int k = 0; k < 2; k++)
                for (int j = 0; j < Z; j++) {
                    double at = t + k * o->epsilon, angle = acos(dot);
                    z[k][j] = (float)((sin((1 - at) * angle) * a[j] + sin(at * angle) * b[j]) / sin(angle));
                }
        }
        for (int k = 0; k < 2; k++)
            sg2_generate_ws(gen, &(struct sg2_latents){.n = 1, .z = z[k]}, ws[k]);
        assert_true(num_ws <= 16);
        for (int k = 0; k < 2; k++)
            for (int j = 0; j < W; j++)
                w[k][j] = o->z ? ws[k][j] : (float)(ws[0][j] + ((double)ws[1][j] - ws[0][j]) * (t + k * o->epsilon));
        sg2_generate_float(gen, &(struct sg2_latents){.n = 2, .w = w[0]}, pictures);
        for (int k = 0; k < 2 * RES * RES * 3; k++)
            pictures[k] = (pictures[k] + 1) * 127.5f;
        float half[2 * RES / 2 * RES / 2 * 3];
        for (int k = 0; k < 2 * RES / 2 * RES / 2 * 3; k++) { /* columns 2 to 5 and rows 3 to 6 of 8 */
            int ch = k % 3, column = k / 3 % (RES / 2), row = k / 3 / (RES / 2) % (RES / 2), n = k / 3 / (RES / 2) / (RES / 2);
            half[k] = pictures[((n * RES + row + 3) * RES + column + 2) * 3 + ch];
        }
        int side = o->crop ? RES / 2 : RES;
        assert_int_equal(extractor_run_float(x, o->crop ? half : pictures, 2, side, side, features, &e), ST_OK);
        distance[i] = 0;
        for (int k = 0; k < D; k++)
            distance[i] += pow((features[k] - features[D + k]) / o->epsilon, 2);
    }
    qsort(distance, (size_t)o->samples, sizeof *distance, ascending);
    int low = (int)floor(0.01 * (o->samples - 1)), high = (int)ceil(0.99 * (o->samples - 1));
    for (int i = low; i <= high; i++)
        mean += distance[i] / (high - low + 1);
    sg2_generator_free(gen);
    sg2_net_free(net);
    checkpoint_close(c);
    return mean;
}

static void path_length_by_definition(void **state) {
    (void)state;
    struct extractor *x = open_extractor(7);
    double last = 0;
    for (int kind = 0; kind < 5; kind++) {
        struct ppl_options o = {.device = "cpu", .threads = 1, .samples = 21, .epsilon = 1e-2, .full = kind % 2, .z = kind / 2 % 2, .crop = kind == 4, .seed = 5};
        struct ppl p, again;
        struct error e;
        if (ppl_measure(path, x, &o, &p, &e) != ST_OK)
            fail_msg("%s", e.text);
        double want = by_definition(&o, x);
        if (!(fabs(p.mean - want) < 1e-2 * want) || !(want > 0))
            fail_msg("%g is not %g", p.mean, want);
        assert_int_equal(p.samples, 21);
        assert_int_equal(p.kept, 21);
        assert_int_equal(ppl_measure(path, x, &o, &again, &e), ST_OK);
        assert_true(again.mean == p.mean);
        assert_true(p.mean != last);
        last = p.mean;
    }
    extractor_close(x);
}

/* dlib's embedding of the same pictures as bytes and as floats: apart by the rounding of the cut to 8 bits. */
static void embedding_of_floats(void **state) {
    (void)state;
    enum { N = 3, SIDE = 200, E = 128 };
    struct extractor_options o = {.features = "dlib-face", .threads = 2, .batch = N};
    struct extractor *x;
    struct error e;
    if (extractor_open(&x, &o, &e) != ST_OK)
        skip(); /* the model is not there */
    struct image im[N];
    float *floats = xmalloc(N * SIDE * SIDE * 3 * sizeof *floats), bytes_of[N * E], floats_of[N * E];
    double apart = 0, between = 0;
    for (int i = 0; i < N; i++) {
        image_alloc(&im[i], SIDE, SIDE, 3);
        for (int k = 0; k < SIDE * SIDE * 3; k++)
            floats[i * SIDE * SIDE * 3 + k] = im[i].data[k] = (uint8_t)(127 + 100 * sin((k / 3 % SIDE) * 0.05 * (i + 1)) * cos(k / 3 / SIDE * 0.07 + k % 3));
    }
    assert_int_equal(extractor_run(x, im, N, bytes_of, NULL, &e), ST_OK);
    assert_int_equal(extractor_run_float(x, floats, N, SIDE, SIDE, floats_of, &e), ST_OK);
    for (int i = 0; i < N * E; i++) {
        apart += pow(bytes_of[i] - floats_of[i], 2);
        between += i < E ? pow(bytes_of[i] - bytes_of[E + i], 2) : 0;
    }
    assert_true(between > 0);
    assert_true(apart < 1e-3 * between);
    for (int i = 0; i < N; i++)
        image_free(&im[i]);
    free(floats);
    extractor_close(x);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(embedding_of_floats), cmocka_unit_test(features_lead_to_the_logit), cmocka_unit_test(path_length_by_definition)};
    return cmocka_run_group_tests(tests, make_network, remove_network);
}
