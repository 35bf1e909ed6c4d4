/* test_projector.c - the search for latents: its gradients against finite differences, that it finds what is there, that company does
 * not matter, the schedule, the noise maps. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/image/image.h"
#include "common/rng/philox.h"
#include "common/stylegan2/generator.h"
#include "common/stylegan2/projector_internal.h"

#define RES 16
#define PIXELS (RES * RES * 3)
#define NUM_WS 6
#define W_DIM 12
#define LATENT (NUM_WS * W_DIM)

static struct device *device;
static const struct sg2_config config = {.res = RES, .img_channels = 3, .z_dim = 16, .w_dim = W_DIM, .c_dim = 2, .channel_base = 128,
                                         .channel_max = 8, .map_layers = 2, .d_map_layers = 2, .mbstd_group = 4, .mbstd_channels = 1};
static struct sg2_net *net, *judge;

static int set_up(void **unused) {
    (void)unused;
    struct error e;
    if (device_open(&device, "cpu", 2, &e))
        return -1;
    net = sg2_net_create(device, SG2_G, &config);
    judge = sg2_net_create(device, SG2_D, &config);
    sg2_net_init(net, 3);
    sg2_net_init(judge, 4);
    for (int i = 0; i < net->n_tensors; i++) /* noise counts only when its strength is not zero */
        if (strstr(net->tensors[i].name, "noise_strength"))
            sg2_tensor_set(&net->tensors[i], net->params, &(float){0.3f});
    return 0;
}

static int tear_down(void **unused) {
    (void)unused;
    sg2_net_free(net);
    sg2_net_free(judge);
    device_close(device);
    return 0;
}

static struct projector *create(const struct projector_config *c) {
    struct projector *p;
    struct error e;
    if (projector_create(&p, device, net, c, &e))
        fail_msg("%s", e.text);
    return p;
}

/* Pictures of n z of their own, with the network's noise; psi draws them towards the mean. */
static void pictures(int n, float psi, uint8_t *out) {
    struct sg2_generator_opt o = {.batch = n, .noise = SG2_NOISE_CONST, .psi = psi, .cutoff = -1};
    struct sg2_generator *s;
    struct error e;
    float z[8 * 16];
    int labels[8];
    for (int i = 0; i < n; i++) {
        philox_fill_normal(9, (uint64_t)i, 0, z + 16 * i, 16);
        labels[i] = i % 2;
    }
    assert_int_equal(sg2_generator_create(&s, device, net, &o, &e), ST_OK);
    sg2_generate(s, &(struct sg2_latents){.n = n, .z = z, .labels = labels}, out);
    sg2_generator_free(s);
}

static double psnr(const uint8_t *x, const uint8_t *y) { return image_psnr(x, y, PIXELS); }

/* ---- gradients ---- */

/* The summed loss at params + t*d, as a step sees it; the gradient at that place goes to grad. */
static double loss_at(struct projector *p, const float *x, const float *d, float t, float *grad) {
    float *moved = malloc((size_t)p->n_params * sizeof *moved), parts[LOSSES * 8];
    double sum = 0;
    for (int64_t i = 0; i < p->n_params; i++)
        moved[i] = x[i] + t * d[i];
    buffer_write(p->params, 0, moved, p->n_params * 4);
    p->step = 1; /* the same random move every time; the learning rate is 0 */
    assert_true(projector_step(p));
    buffer_read(p->losses, 0, parts, LOSSES * p->c.batch * 4);
    for (int n = 0, N = p->c.batch; n < N; n++) {
        const float *of = parts + n;
        sum += log(1e-4 + (double)of[LOSS_PIXEL * N] + (double)of[LOSS_CONTRAST * N] + (double)of[LOSS_FEATURE * N]);
        sum += (double)of[LOSS_NOISE * N] + (double)of[LOSS_ROW * N] + (double)of[LOSS_PRIOR * N];
    }
    if (grad)
        buffer_read(p->grad, 0, grad, p->n_params * 4);
    free(moved);
    return sum;
}

/* Along random directions within elements from .. to - 1 of the flat buffer. */
static void check_range(struct projector *p, const float *x, int64_t from, int64_t to, const char *what) {
    float *d = calloc((size_t)p->n_params, sizeof *d), *grad = malloc((size_t)p->n_params * sizeof *grad);
    philox_fill_normal(21, (uint64_t)from, 3, d + from, to - from);
    const float h = 5e-4f; /* small enough to stay off the kinks of the leaky ReLUs, large enough for float32 */
    loss_at(p, x, d, 0, grad);
    double along = 0, size = 0;
    for (int64_t i = from; i < to; i++) {
        along += (double)grad[i] * (double)d[i];
        size += fabs((double)grad[i] * (double)d[i]);
    }
    double difference = (loss_at(p, x, d, -2 * h, NULL) - 8 * loss_at(p, x, d, -h, NULL) + 8 * loss_at(p, x, d, h, NULL) -
                         loss_at(p, x, d, 2 * h, NULL)) / (12 * (double)h);
    if (!(fabs(along - difference) <= 1e-2 * fmax(fabs(difference), 0.3 * size)) || size == 0)
        fail_msg("%s: derivative %.7g, finite differences say %.7g (without signs %.7g)", what, along, difference, size);
    free(d);
    free(grad);
}

static int features_of_blocks(void *context, struct graph *g, tensor *img, tensor **out) {
    (void)context;
    out[0] = tanh1(g, img);
    out[1] = scale(g, square(g, img), 1, 0.5f);
    return 2;
}

static void check_gradients(struct projector_config c) {
    c.batch = 2;
    c.lr = 0;
    c.steps = 10;
    c.guesses = 0;
    struct projector *p = create(&c);
    uint8_t targets[2 * PIXELS];
    pictures(2, 1, targets);
    projector_begin(p, targets, 2);
    float *x = malloc((size_t)p->n_params * sizeof *x), *random = malloc((size_t)p->n_params * sizeof *random);
    buffer_read(p->params, 0, x, p->n_params * 4);
    philox_fill_normal(5, 6, 7, random, p->n_params);
    for (int64_t i = 0; i < p->n_params; i++) /* away from the start, where all rows are alike */
        x[i] += 0.2f * random[i];
    check_range(p, x, 0, 2 * p->rows * W_DIM, "w");
    for (int k = 0; k < p->layers; k++) {
        char name[32];
        snprintf(name, sizeof name, "noise map %d", k);
        check_range(p, x, p->at_map[k], p->at_map[k] + 2 * sg2_noise_res(k) * sg2_noise_res(k), name);
    }
    free(x);
    free(random);
    projector_free(p);
}

static void test_gradients(void **unused) {
    (void)unused;
    struct projector_config c = projector_defaults(PROJECT_W_PLUS);
    c.noise_weight = 1; /* comparable with the rest, or float32 shows nothing else */
    c.optimise_noise = true;
    c.row_weight = 0.1;
    c.w_first = 0; /* or gradients are those of one w */
    c.prior_weight = 0.1;
    c.discriminator = judge;
    check_gradients(c);
    c.discriminator = NULL;
    c.judge = features_of_blocks;
    check_gradients(c);
    c = projector_defaults(PROJECT_W);
    check_gradients(c);
}

/* ---- the search ---- */

static void run(struct projector *p, const uint8_t *targets, int n, float *ws, uint8_t *own) {
    projector_begin(p, targets, n);
    while (projector_step(p))
        ;
    assert_int_equal(projector_steps_done(p), p->c.steps);
    projector_latents(p, ws);
    projector_pictures(p, own, NULL);
}

/* Pictures that the network can draw are found; what is found is a w where w is asked for; and it is what the picture shows. */
static void test_finds_what_is_there(void **unused) {
    (void)unused;
    enum { N = 8 };
    static uint8_t target[N * PIXELS], start[N * PIXELS], found[N * PIXELS], again[N * PIXELS];
    static float ws[N * LATENT];
    pictures(N, 1, target);
    for (int space = PROJECT_W; space <= PROJECT_W_PLUS; space++) {
        struct projector_config c = projector_defaults((enum projector_space)space);
        c.guesses = 0; /* the search by itself */
        c.lr = 0.4;
        c.steps = 500;
        c.batch = N;
        struct projector *p = create(&c);
        projector_begin(p, target, N);
        projector_pictures(p, start, NULL);
        run(p, target, N, ws, found);
        for (int i = 0; i < N; i++) {
            double from = psnr(start + i * PIXELS, target + i * PIXELS), to = psnr(found + i * PIXELS, target + i * PIXELS);
            if (from > 20 || to < 30)
                fail_msg("space %d, picture %d: from %.2f to %.2f dB", space, i, from, to);
            float spread = 0;
            for (int k = 0; k < LATENT; k++)
                spread = fmaxf(spread, fabsf(ws[i * LATENT + k] - ws[i * LATENT + k % W_DIM]));
            assert_true(space == PROJECT_W ? spread == 0 : spread > 0);
        }
        projector_free(p);
        struct sg2_generator *s;
        struct error e;
        assert_int_equal(sg2_generator_create(&s, device, net, &(struct sg2_generator_opt){.batch = N, .noise = SG2_NOISE_CONST,
                         .psi = 1, .cutoff = -1}, &e), ST_OK);
        sg2_generate(s, &(struct sg2_latents){.n = N, .ws = ws}, again);
        assert_memory_equal(again, found, sizeof found);
        sg2_generator_free(s);
    }
}

/* A first guess is nearer than the middle, is the same in any company, and depends on the target. */
static void test_first_guess(void **unused) {
    (void)unused;
    enum { N = 3 };
    static uint8_t target[N * PIXELS], middle[N * PIXELS], guessed[N * PIXELS];
    float ws[N * LATENT], again[N * LATENT];
    pictures(N, 1, target);
    struct projector_config c = projector_defaults(PROJECT_W_PLUS);
    c.batch = N;
    for (int guesses = 0; guesses <= 100; guesses += 100) {
        c.guesses = guesses;
        struct projector *p = create(&c);
        projector_begin(p, target, N);
        projector_pictures(p, guesses ? guessed : middle, NULL);
        projector_latents(p, ws);
        projector_begin(p, target + PIXELS, 1);
        projector_latents(p, again);
        assert_memory_equal(again, ws + LATENT, LATENT * sizeof *ws);
        for (int i = 0; i < LATENT; i++)
            assert_true(ws[i] == ws[i % W_DIM]);
        projector_free(p);
    }
    for (int i = 0; i < N; i++) {
        double from = psnr(middle + i * PIXELS, target + i * PIXELS), to = psnr(guessed + i * PIXELS, target + i * PIXELS);
        if (to < from + 5)
            fail_msg("picture %d: from %.2f to %.2f dB", i, from, to);
    }
}

/* The rows of w+ are one until they are released. */
static void test_rows_are_one_at_first(void **unused) {
    (void)unused;
    uint8_t target[PIXELS], own[PIXELS];
    float ws[LATENT], w[LATENT];
    pictures(1, 1, target);
    struct projector_config c = projector_defaults(PROJECT_W_PLUS);
    c.steps = 10;
    c.w_first = 1;
    struct projector *p = create(&c);
    run(p, target, 1, ws, own);
    for (int i = 0; i < LATENT; i++)
        assert_true(ws[i] == ws[i % W_DIM]);
    projector_free(p);
    c = projector_defaults(PROJECT_W);
    c.steps = 10;
    p = create(&c);
    run(p, target, 1, w, own);
    float far = 0;
    for (int i = 0; i < LATENT; i++)
        far = fmaxf(far, fabsf(w[i] - ws[i]));
    assert_true(far < 1e-3f); /* the search for a single w, but for rounding */
    projector_free(p);
}

/* The same alone, in company, and run again. */
static void test_company_does_not_matter(void **unused) {
    (void)unused;
    uint8_t target[3 * PIXELS], own[3 * PIXELS];
    float all[3 * LATENT], alone[3 * LATENT], twice[3 * LATENT];
    pictures(3, 1, target);
    struct projector_config c = projector_defaults(PROJECT_W_PLUS);
    c.batch = 3;
    c.steps = 30;
    c.discriminator = judge;
    c.optimise_noise = true;
    struct projector *p = create(&c);
    run(p, target, 3, all, own);
    run(p, target + PIXELS, 1, alone, own);
    for (int i = 0; i < LATENT; i++)
        assert_true(fabsf(alone[i] - all[LATENT + i]) < 1e-3f);
    run(p, target, 3, twice, own);
    assert_memory_equal(all, twice, sizeof all);
    projector_free(p);
    p = create(&c);
    run(p, target, 3, twice, own);
    assert_memory_equal(all, twice, sizeof all);
    projector_free(p);
    c.seed = 5; /* other random moves */
    p = create(&c);
    run(p, target, 3, twice, own);
    assert_memory_not_equal(all, twice, sizeof all);
    projector_free(p);
}

static void test_noise_maps(void **unused) {
    (void)unused;
    uint8_t target[2 * PIXELS], own[2 * PIXELS], plain[2 * PIXELS];
    pictures(2, 1, target);
    struct projector_config c = projector_defaults(PROJECT_W);
    c.batch = 2;
    c.steps = 50;
    c.optimise_noise = true;
    struct projector *p = create(&c);
    float ws[2 * LATENT], maps[2 * RES * RES];
    run(p, target, 2, ws, own);
    for (int k = 0; k < sg2_noise_layers(&config); k++) {
        int size = sg2_noise_res(k) * sg2_noise_res(k);
        projector_noise(p, k, maps);
        for (int n = 0; n < 2; n++) {
            double mean = 0, square = 0;
            for (int i = 0; i < size; i++) {
                mean += (double)maps[n * size + i] / size;
                square += (double)maps[n * size + i] * (double)maps[n * size + i] / size;
            }
            assert_true(fabs(mean) < 1e-5 && fabs(square - 1) < 1e-5);
        }
    }
    projector_pictures(p, own, plain);
    assert_memory_not_equal(own, plain, sizeof own);
    projector_free(p);
    c.optimise_noise = false;
    p = create(&c);
    run(p, target, 2, ws, own);
    projector_pictures(p, own, plain);
    assert_memory_equal(own, plain, sizeof own);
    projector_noise(p, 3, maps); /* the network's own */
    float want[RES * RES];
    sg2_tensor_get(sg2_net_find(net, "synthesis.b16.conv0.noise_const"), net->state, want);
    assert_memory_equal(maps + RES * RES, want, sizeof want);
    projector_free(p);
}

static void test_schedule(void **unused) {
    (void)unused;
    struct projector_config c = projector_defaults(PROJECT_W);
    c.steps = 200;
    c.lr = 0.1;
    c.w_noise = 0.05;
    struct projector *p = create(&c);
    uint8_t target[PIXELS];
    pictures(1, 1, target);
    projector_begin(p, target, 1);
    float lr[200], noise[200];
    for (int i = 0; projector_step(p); i++) {
        memcpy(&lr[i], p->host + AT_HYPER, 4);
        memcpy(&noise[i], p->host + AT_W_NOISE, 4);
    }
    assert_false(projector_step(p));
    double full = 0.05 * sqrt(W_DIM);
    assert_true(lr[0] == 0 && fabs((double)lr[5] - 0.05) < 1e-6 && fabs((double)lr[100] - 0.1) < 1e-6);
    assert_true(fabs((double)lr[175] - 0.05) < 1e-6 && lr[199] > 0 && lr[199] < 1e-3f);
    assert_true(fabs((double)noise[0] - full) < 1e-6 && fabs((double)noise[75] - full / 4) < 1e-6 && noise[150] == 0);
    projector_free(p);
    /* w+: the same for a single w in the first half, and a gentler one for its rows in the second */
    c = projector_defaults(PROJECT_W_PLUS);
    c.steps = 200;
    c.lr = 0.1;
    c.w_first = 0.5;
    p = create(&c);
    projector_begin(p, target, 1);
    float release[200];
    for (int i = 0; projector_step(p); i++) {
        memcpy(&lr[i], p->host + AT_HYPER, 4);
        memcpy(&noise[i], p->host + AT_W_NOISE, 4);
        memcpy(&release[i], p->host + AT_RELEASE, 4);
    }
    assert_true(lr[0] == 0 && fabs((double)lr[50] - 0.1) < 1e-6 && lr[99] < 1e-3f && noise[0] > 0);
    assert_true(lr[100] == 0 && fabs((double)lr[150] - 0.1) < 1e-6 && lr[199] < 1e-3f && noise[100] == 0);
    assert_true(release[99] == 0 && release[100] == 1);
    projector_free(p);
}

/* Against the rows themselves: centre and covariance of w with the last leaky ReLU undone. */
static void test_w_space(void **unused) {
    (void)unused;
    enum { N = 300 };
    static float z[N * 16], ws[N * LATENT], centre[W_DIM], spread[W_DIM * W_DIM];
    static int labels[N];
    double mean[W_DIM] = {0}, covariance[W_DIM * W_DIM] = {0}, variance = 0;
    struct error e;
    struct sg2_generator *s;
    assert_int_equal(projector_w_space(net, N, 11, 1, centre, spread, &e), ST_OK);
    assert_int_equal(sg2_generator_create(&s, device, net, &(struct sg2_generator_opt){.batch = 50, .noise = SG2_NOISE_CONST, .psi = 1,
                     .cutoff = -1}, &e), ST_OK);
    for (int i = 0; i < N; i++) {
        philox_fill_normal(11, (uint64_t)i, 0x76, z + 16 * i, 16);
        labels[i] = 1;
    }
    sg2_generate_ws(s, &(struct sg2_latents){.n = N, .z = z, .labels = labels}, ws);
    for (int i = 0; i < N * LATENT; i++)
        ws[i] = ws[i] < 0 ? 5 * ws[i] : ws[i];
    for (int i = 0; i < N; i++)
        for (int j = 0; j < W_DIM; j++)
            mean[j] += (double)ws[i * LATENT + j] / N;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < W_DIM * W_DIM; j++)
            covariance[j] += ((double)ws[i * LATENT + j / W_DIM] - mean[j / W_DIM]) * ((double)ws[i * LATENT + j % W_DIM] - mean[j % W_DIM]) / N;
    for (int j = 0; j < W_DIM; j++)
        variance += covariance[j * W_DIM + j] / W_DIM;
    for (int j = 0; j < W_DIM * W_DIM; j++) {
        double product = 0;
        for (int k = 0; k < W_DIM; k++)
            product += (double)spread[j / W_DIM * W_DIM + k] * (double)spread[j % W_DIM * W_DIM + k];
        assert_true(fabs((double)centre[j % W_DIM] - mean[j % W_DIM]) < 1e-5);
        assert_true(fabs(product - covariance[j] - (j / W_DIM == j % W_DIM ? 1e-3 * variance : 0)) < 1e-5 * variance);
        assert_true(j % W_DIM <= j / W_DIM || spread[j] == 0);
    }
    sg2_generator_free(s);
}

static void test_refusals(void **unused) {
    (void)unused;
    struct projector *p;
    struct error e;
    struct projector_config c = projector_defaults(PROJECT_W);
    c.batch = 0;
    assert_int_equal(projector_create(&p, device, net, &c, &e), ST_BAD);
    c = projector_defaults(PROJECT_W);
    c.steps = 0;
    assert_int_equal(projector_create(&p, device, net, &c, &e), ST_BAD);
    c = projector_defaults(PROJECT_W);
    c.class_number = 2;
    assert_int_equal(projector_create(&p, device, net, &c, &e), ST_BAD);
    c = projector_defaults(PROJECT_W);
    assert_int_equal(projector_create(&p, device, judge, &c, &e), ST_BAD);
    c.discriminator = net;
    assert_int_equal(projector_create(&p, device, net, &c, &e), ST_BAD);
    projector_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_gradients), cmocka_unit_test(test_schedule), cmocka_unit_test(test_w_space),
                                       cmocka_unit_test(test_finds_what_is_there), cmocka_unit_test(test_company_does_not_matter),
                                       cmocka_unit_test(test_rows_are_one_at_first), cmocka_unit_test(test_first_guess),
                                       cmocka_unit_test(test_noise_maps), cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
