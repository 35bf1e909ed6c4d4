/* test_metrics.c - distances and scores with known answers, statistics files good and bad. The reference numbers of
 * tests/reference are check-reference's business; agreement with NumPy and SciPy is tested by fid-score.bats. */
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
#include "common/metrics/frechet.h"
#include "common/metrics/inception.h"
#include "common/metrics/inception_score.h"
#include "common/metrics/kid.h"
#include "common/metrics/manifold.h"
#include "common/metrics/moments.h"
#include "common/metrics/source.h"
#include "common/metrics/statistics.h"
#include "common/rng/numpy_rng.h"

static void close_to(double got, double want, double tolerance) {
    if (!(fabs(got - want) <= tolerance * fmax(1, fabs(want))))
        fail_msg("%.17g is not %.17g", got, want);
}

static float *vectors(uint32_t seed, int64_t n, int d) {
    float *x = xmalloc((size_t)n * d * sizeof *x);
    numpy_randn(seed, x, n * d);
    return x;
}

/* ---- moments ---- */

static void moments_match_two_passes(void **state) {
    (void)state;
    enum { N = 700, D = 9 };
    float *x = vectors(1, N, D);
    for (int i = 0; i < N * D; i++)
        x[i] = x[i] * 0.01f + 1000.0f; /* far from zero */
    double mu[D] = {0}, sigma[D * D], want[D * D] = {0}, got[D], once[D * D];
    for (int i = 0; i < N; i++)
        for (int j = 0; j < D; j++)
            mu[j] += x[i * D + j] / (double)N;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < D; j++)
            for (int k = 0; k < D; k++)
                want[j * D + k] += (x[i * D + j] - mu[j]) * (x[i * D + k] - mu[k]) / (N - 1);

    struct moments *m = moments_create(D), *whole = moments_create(D);
    for (int i = 0, n = 1; i < N; i += n, n = n * 7 % 97 + 1)
        moments_add(m, x + i * D, n < N - i ? n : N - i);
    moments_add(whole, x, N);
    assert_int_equal(moments_count(m), N);
    moments_finish(m, false, got, sigma);
    for (int j = 0; j < D; j++)
        close_to(got[j], mu[j], 1e-13);
    for (int j = 0; j < D * D; j++)
        assert_true(fabs(sigma[j] - want[j]) < 1e-15);
    moments_finish(whole, false, got, once);
    assert_memory_equal(sigma, once, sizeof sigma); /* however the vectors arrive */
    moments_finish(whole, true, got, once);
    close_to(once[0] * N, sigma[0] * (N - 1), 1e-12);
    moments_free(m);
    moments_free(whole);
    free(x);
}

/* ---- Frechet ---- */

static void frechet_of_diagonals(void **state) {
    (void)state;
    enum { D = 5 };
    double mu1[D] = {0, 1, 2, 3, 4}, mu2[D] = {1, 1, 2, 3, 2}, s1[D * D] = {0}, s2[D * D] = {0}, want = 1 + 4;
    for (int i = 0; i < D; i++) {
        s1[i * D + i] = i; /* the first is zero: rank 4 */
        s2[i * D + i] = 9.0 / (i + 1);
        want += pow(sqrt(s1[i * D + i]) - sqrt(s2[i * D + i]), 2);
    }
    struct frechet f;
    struct error e;
    assert_int_equal(frechet_distance(D, mu1, s1, 0, mu2, s2, 0, &f, &e), ST_OK);
    close_to(f.distance, want, 1e-14);
    close_to(f.mean_term, 5, 1e-15);
    assert_int_equal(f.rank1, 4);
    assert_int_equal(f.rank2, 5);
    memset(s1, 0, sizeof s1); /* no covariance at all */
    assert_int_equal(frechet_distance(D, mu1, s1, 1, mu1, s1, 1, &f, &e), ST_OK);
    close_to(f.distance, 0, 0);
    assert_int_equal(f.rank1, 0);
}

/* Equal sides are at distance 0, turning both leaves the distance; above and below the limit where the method changes. */
static void frechet_is_a_distance(void **state) {
    (void)state;
    static const struct { int d, n; } cases[] = {{40, 100}, {40, 12}, {800, 900}, {800, 50}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        int d = cases[c].d, n = cases[c].n;
        double *mu[2], *sigma[2];
        for (int i = 0; i < 2; i++) {
            float *x = vectors(3 + i, n, d);
            struct moments *m = moments_create(d);
            mu[i] = xmalloc((size_t)d * sizeof(double));
            sigma[i] = xmalloc((size_t)d * d * sizeof(double));
            moments_add(m, x, n);
            moments_finish(m, false, mu[i], sigma[i]);
            moments_free(m);
            free(x);
        }
        struct frechet same, ab, ba;
        struct error e;
        assert_int_equal(frechet_distance(d, mu[0], sigma[0], n, mu[0], sigma[0], n, &same, &e), ST_OK);
        assert_true(same.distance >= 0 && same.distance < 1e-9 * same.trace1);
        assert_int_equal(same.rank1, n - 1 < d ? n - 1 : d);
        assert_int_equal(frechet_distance(d, mu[0], sigma[0], n, mu[1], sigma[1], n, &ab, &e), ST_OK);
        assert_int_equal(frechet_distance(d, mu[1], sigma[1], n, mu[0], sigma[0], n, &ba, &e), ST_OK);
        close_to(ab.distance, ba.distance, 1e-9);
        assert_true(ab.distance > 0.01);
        sigma[1][d + 1] = NAN;
        assert_int_equal(frechet_distance(d, mu[0], sigma[0], n, mu[1], sigma[1], n, &ab, &e), ST_BAD);
        assert_non_null(strstr(e.text, "not finite"));
        sigma[1][d + 1] = 1;
        sigma[1][1] += 5;
        assert_int_equal(frechet_distance(d, mu[0], sigma[0], n, mu[1], sigma[1], n, &ab, &e), ST_BAD);
        assert_non_null(strstr(e.text, "not symmetric"));
        for (int i = 0; i < 2; i++) {
            free(mu[i]);
            free(sigma[i]);
        }
    }
}

/* More samples than dimensions, but every feature twice: the rank is half, and the distance twice that of the half. */
static void frechet_of_doubled_features(void **state) {
    (void)state;
    enum { D = 24, N = 200 };
    double *mu[4], *sigma[4];
    for (int side = 0; side < 4; side++) {
        int d = side < 2 ? D : 2 * D;
        float *x = vectors(11 + side % 2, N, D), *twice = xmalloc(N * 2 * D * sizeof *twice);
        for (int i = 0; i < N; i++)
            for (int j = 0; j < d; j++)
                twice[i * d + j] = x[i * D + j % D] * (side % 2 ? 1.5f : 1);
        struct moments *m = moments_create(d);
        mu[side] = xmalloc((size_t)d * sizeof(double));
        sigma[side] = xmalloc((size_t)d * d * sizeof(double));
        moments_add(m, twice, N);
        moments_finish(m, false, mu[side], sigma[side]);
        moments_free(m);
        free(x);
        free(twice);
    }
    struct frechet once, both;
    struct error e;
    assert_int_equal(frechet_distance(D, mu[0], sigma[0], N, mu[1], sigma[1], N, &once, &e), ST_OK);
    assert_int_equal(frechet_distance(2 * D, mu[2], sigma[2], N, mu[3], sigma[3], N, &both, &e), ST_OK);
    assert_int_equal(once.rank1, D);
    assert_int_equal(both.rank1, D);
    assert_int_equal(both.rank2, D);
    close_to(both.distance, 2 * once.distance, 1e-9);
    for (int side = 0; side < 4; side++) {
        free(mu[side]);
        free(sigma[side]);
    }
}

/* ---- KID, manifold, Inception score ---- */

static void kid_by_its_definition(void **state) {
    (void)state;
    enum { N = 40, M = 30, D = 3 };
    float *x = vectors(5, N, D), *y = vectors(6, M, D);
    double xx = 0, yy = 0, xy = 0;
    for (int side = 0; side < 3; side++) {
        const float *a = side == 1 ? y : x, *b = side == 0 ? x : y;
        int n = side == 1 ? M : N, m = side == 0 ? N : M;
        for (int i = 0; i < n; i++)
            for (int j = 0; j < m; j++) {
                double dot = 0;
                for (int k = 0; k < D; k++)
                    dot += (double)a[i * D + k] * b[j * D + k];
                if (side == 2)
                    xy += pow(dot / D + 1, 3);
                else if (i != j)
                    *(side ? &yy : &xx) += pow(dot / D + 1, 3);
            }
    }
    double want = xx / (N * (N - 1)) + yy / (M * (M - 1)) - 2 * xy / (N * M);
    close_to(kid_block(x, N, y, M, D), want, 1e-13);

    struct kid k;
    struct error e;
    assert_int_equal(kid_subsets(x, M, y, M, D, 3, M, 2020, &k, &e), ST_OK); /* every draw is the whole set */
    close_to(k.mean, kid_block(x, M, y, M, D), 1e-12);
    close_to(k.std, 0, 1e-12);
    assert_int_equal(kid_subsets(x, N, y, M, D, 3, M + 1, 2020, &k, &e), ST_BAD);
    free(x);
    free(y);
}

static void manifold_on_a_line(void **state) {
    (void)state;
    /* real 0 1 2 3 4 100, generated 0.5 2.5 2.6 2.7 50; k = 1 for both */
    const float real[] = {0, 1, 2, 3, 4, 100}, made[] = {0.5f, 2.5f, 2.6f, 2.7f, 50};
    struct manifold s;
    struct error e;
    assert_int_equal(manifold_scores(real, 6, made, 5, 1, 1, 1, &s, &e), ST_OK);
    /* real balls: radius 1 around 0..4, 96 around 100 (reaches 4): 50 is inside the last */
    close_to(s.precision, 1, 0);
    /* generated balls: 0.5+-2, 2.5+-0.1, 2.6+-0.1, 2.7+-0.1, 50+-47.3: hold 0 1 2, none, none, none, 3 4 */
    close_to(s.recall, 5.0 / 6, 1e-15);
    close_to(s.f_score, 2 * (5.0 / 6) / (1 + 5.0 / 6), 1e-15);
    /* 0.5 in the balls of 0 and 1; 2.5 2.6 2.7 each of 2 and 3; 50 of 100 */
    close_to(s.density, 9.0 / 5, 1e-15);
    close_to(s.coverage, 5.0 / 6, 1e-15); /* all but 4 */
    assert_int_equal(manifold_scores(real, 6, made, 3, 1, 3, 5, &s, &e), ST_BAD);
}

static void inception_score_of_certainty(void **state) {
    (void)state;
    enum { N = 20, C = 4 };
    double logits[N * C];
    struct inception_score s;
    struct error e;
    for (int i = 0; i < N * C; i++)
        logits[i] = i % C == i / C % C ? 1000 : 0; /* sure of a class, all classes alike */
    assert_int_equal(inception_score(logits, N, C, 5, &s, &e), ST_OK);
    close_to(s.mean, C, 1e-12);
    close_to(s.std, 0, 1e-12);
    for (int i = 0; i < N * C; i++)
        logits[i] = -3;
    assert_int_equal(inception_score(logits, N, C, 1, &s, &e), ST_OK);
    close_to(s.mean, 1, 1e-12);
    assert_int_equal(inception_score(logits, 4, C, 5, &s, &e), ST_BAD);
}

/* ---- statistics files ---- */

static struct statistics sample_statistics(int d) {
    struct statistics s = {.dim = d, .count = 123, .biased = true};
    s.mu = xmalloc((size_t)d * sizeof(double));
    s.sigma = xmalloc((size_t)d * d * sizeof(double));
    for (int i = 0; i < d; i++)
        s.mu[i] = i / 7.0;
    for (int i = 0; i < d * d; i++)
        s.sigma[i] = 1.0 / (1 + i / d + i % d);
    strcpy(s.features, "inception");
    strcpy(s.extractor_hash, "abc");
    strcpy(s.preprocessing, "a \"quoted\" way");
    strcpy(s.content_hash, "def");
    strcpy(s.pictures, "8x8");
    return s;
}

static void statistics_come_back(void **state) {
    (void)state;
    char path[] = "/tmp/facemill-test-XXXXXX";
    struct statistics s = sample_statistics(6), t;
    struct error e = {""};
    close(mkstemp(path));
    assert_int_equal(statistics_write(&s, path, &e), ST_OK);
    if (statistics_read(&t, path, &e) != ST_OK)
        fail_msg("%s", e.text);
    assert_int_equal(t.dim, 6);
    assert_int_equal(t.count, 123);
    assert_true(t.biased);
    assert_memory_equal(t.mu, s.mu, 6 * sizeof(double));
    assert_memory_equal(t.sigma, s.sigma, 36 * sizeof(double));
    assert_string_equal(t.features, s.features);
    assert_string_equal(t.extractor_hash, s.extractor_hash);
    assert_string_equal(t.preprocessing, s.preprocessing);
    assert_string_equal(t.content_hash, s.content_hash);
    assert_string_equal(t.pictures, s.pictures);
    statistics_free(&t);

    struct bytes b = {0};
    assert_int_equal(file_read(path, 1 << 20, &b, &e), ST_OK);
    unlink(path);
    for (size_t n = 0; n < b.size; n++) { /* cut anywhere: refused or, past the data, the same numbers; never a crash */
        if (statistics_parse(&t, b.data, n, "cut", &e) == ST_OK)
            assert_memory_equal(t.sigma, s.sigma, 36 * sizeof(double));
        statistics_free(&t);
    }
    for (size_t i = 0; i < b.size; i++) { /* and any byte changed */
        b.data[i] ^= 0xff;
        statistics_parse(&t, b.data, b.size, "changed", &e);
        statistics_free(&t);
        b.data[i] ^= 0xff;
    }
    bytes_free(&b);
    statistics_free(&s);
}

/* ---- pictures ---- */

static void preprocess_as_tensorflow_1(void **state) {
    (void)state;
    struct image im;
    image_alloc(&im, 2, 2, 3);
    const uint8_t grey[4] = {0, 100, 200, 255};
    for (int i = 0; i < 12; i++)
        im.data[i] = grey[i / 3];
    float *out = xmalloc(INCEPTION_SIDE * INCEPTION_SIDE * 3 * sizeof *out);
    struct prepare p = prepare_inception(RESIZE_TF1);
    prepare_picture(&p, &im, out);
    assert_float_equal(out[0], -1, 0);                    /* target 0 is source 0, not -0.5 */
    float at = 100 * 2.0f / 299, want = (100 * at - 128) / 128;
    assert_float_equal(out[100 * 3 + 1], want, 1e-6);     /* column 100, row 0 */
    assert_float_equal(out[298 * 3], (100.0f - 128) / 128, 1e-6); /* past the last source pixel: repeated */
    assert_float_equal(out[(298 * 299 + 298) * 3 + 2], (255.0f - 128) / 128, 1e-6);
    image_free(&im);
    free(out);
}

static void face_rectangle_is_inside(void **state) {
    (void)state;
    double box[4];
    extractor_face_rectangle(box);
    assert_true(box[0] > 0.1 && box[1] > 0.2 && box[2] < 0.9 && box[3] < 1);
    close_to(box[2] - box[0], box[3] - box[1], 1e-12); /* square */
    close_to((box[0] + box[2]) / 2, 0.5, 0.01);
}

static void content_hash_sees_order(void **state) {
    (void)state;
    uint8_t a[SHA256_SIZE], b[SHA256_SIZE];
    sha256("a", 1, a);
    sha256("b", 1, b);
    struct content_hash ab = {0}, ba = {0}, again = {0};
    content_hash_add(&ab, a);
    content_hash_add(&ab, b);
    content_hash_add(&ba, b);
    content_hash_add(&ba, a);
    content_hash_add(&again, a);
    content_hash_add(&again, b);
    assert_memory_not_equal(&ab, &ba, sizeof ab);
    assert_memory_equal(&ab, &again, sizeof ab);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moments_match_two_passes), cmocka_unit_test(frechet_of_diagonals),
        cmocka_unit_test(frechet_is_a_distance),    cmocka_unit_test(frechet_of_doubled_features),
        cmocka_unit_test(kid_by_its_definition),
        cmocka_unit_test(manifold_on_a_line),       cmocka_unit_test(inception_score_of_certainty),
        cmocka_unit_test(statistics_come_back),     cmocka_unit_test(preprocess_as_tensorflow_1),
        cmocka_unit_test(face_rectangle_is_inside), cmocka_unit_test(content_hash_sees_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
