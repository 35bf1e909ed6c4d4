/* test_ffhq.c - the crop's geometry and cutting, pose and sharpness, faces in JSON. The published script's pictures are in
 * check-reference; here is what those leave open: other scales of the source, extreme quads, five points, invariants. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/face/face_json.h"
#include "common/face/ffhq.h"
#include "common/face/quality.h"

static void near(double got, double want, double tolerance) {
    if (!(fabs(got - want) <= tolerance))
        fail_msg("%.9g instead of %.9g (within %g)", got, want, tolerance);
}

/* An upright face: eyes 60 apart at y = 100 about x, mouth 70 below. */
static struct ffhq_anchors upright(double x) { return (struct ffhq_anchors){{x - 30, 100}, {x + 30, 100}, {x, 170}}; }

static void quad_of_upright_face(void **state) {
    (void)state;
    struct ffhq_anchors a = upright(200);
    struct ffhq_quad q;
    ffhq_quad(&a, true, 1, &q);
    double half = fmax(2 * 60, 1.8 * 70); /* 126 */
    near(q.size, 2 * half, 1e-9);
    const double want[4][2] = {{200 - half, 107 - half}, {200 - half, 107 + half}, {200 + half, 107 + half}, {200 + half, 107 - half}};
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 2; k++)
            near(q.corner[i][k], want[i][k], 1e-9);
    ffhq_quad(&a, false, 1.5, &q);
    near(q.size, 3 * half, 1e-9);
}

/* Turning and scaling the face turns and scales the quad. */
static void quad_follows_the_face(void **state) {
    (void)state;
    struct ffhq_anchors a = upright(200), b;
    struct ffhq_quad p, q;
    ffhq_quad(&a, true, 1, &p);
    double c = 1.7 * cos(0.6), s = 1.7 * sin(0.6);
    const double (*from)[2] = &a.left_eye;
    double(*to)[2] = &b.left_eye;
    for (int i = 0; i < 3; i++) {
        to[i][0] = c * from[i][0] - s * from[i][1] + 11;
        to[i][1] = s * from[i][0] + c * from[i][1] - 5;
    }
    ffhq_quad(&b, true, 1, &q);
    for (int i = 0; i < 4; i++) {
        near(q.corner[i][0], c * p.corner[i][0] - s * p.corner[i][1] + 11, 1e-9);
        near(q.corner[i][1], s * p.corner[i][0] + c * p.corner[i][1] - 5, 1e-9);
    }
    double crop[2], centre[2] = {(q.corner[0][0] + q.corner[2][0]) / 2, (q.corner[0][1] + q.corner[2][1]) / 2};
    ffhq_to_crop(&q, 100, centre, crop);
    near(crop[0], 49.5, 1e-9);
    near(crop[1], 49.5, 1e-9);
    ffhq_to_crop(&q, 100, q.corner[3], crop);
    near(crop[0], 99.5, 1e-9);
    near(crop[1], -0.5, 1e-9);
}

static void bad_quads_are_refused(void **state) {
    (void)state;
    struct error e;
    struct ffhq_quad q;
    struct ffhq_anchors point = {{5, 5}, {5, 5}, {5, 5}}, far_away = upright(5000), a = upright(200), huge = {{0, 0}, {900, 0}, {400, 900}};
    ffhq_quad(&point, true, 1, &q);
    assert_int_equal(ffhq_quad_check(&q, 400, 400, &e), ST_BAD);
    ffhq_quad(&point, false, 1, &q);
    assert_int_equal(ffhq_quad_check(&q, 400, 400, &e), ST_BAD);
    ffhq_quad(&far_away, true, 1, &q);
    assert_int_equal(ffhq_quad_check(&q, 400, 400, &e), ST_BAD);
    ffhq_quad(&huge, true, 1, &q);
    assert_int_equal(ffhq_quad_check(&q, 100, 100, &e), ST_BAD);
    a.mouth[1] = NAN;
    ffhq_quad(&a, true, 1, &q);
    assert_int_equal(ffhq_quad_check(&q, 400, 400, &e), ST_BAD);
    a = upright(200);
    ffhq_quad(&a, true, 1, &q);
    assert_int_equal(ffhq_quad_check(&q, 400, 400, &e), ST_OK);
}

/* A smooth coloured pattern that a crop of any scale can be predicted from. */
static void pattern(double x, double y, double rgb[3]) {
    rgb[0] = 128 + 100 * sin(x * 0.021 + y * 0.013);
    rgb[1] = 128 + 100 * cos(x * 0.017 - y * 0.019);
    rgb[2] = 40 + x * 0.12 + y * 0.1;
}

/* The pattern as a picture of which each pixel covers `step` x `step` source pixels. */
static struct image drawn(int width, int height, double step) {
    struct image im;
    image_alloc(&im, width, height, 3);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            double rgb[3];
            pattern((x + 0.5) * step - 0.5, (y + 0.5) * step - 0.5, rgb);
            for (int c = 0; c < 3; c++)
                im.data[(y * width + x) * 3 + c] = (uint8_t)lrint(fmin(fmax(rgb[c], 0), 255));
        }
    return im;
}

/* Mean absolute difference between a crop and the pattern at its pixels' places in the source; `off` is the shift of the
 * published script when it shrinks. */
static double error_of(const struct image *crop, const struct ffhq_quad *q, double off) {
    double sum = 0;
    int n = crop->width;
    for (int y = 0; y < n; y++)
        for (int x = 0; x < n; x++) {
            double u = (x + 0.5) / n, v = (y + 0.5) / n, at[2], rgb[3];
            for (int k = 0; k < 2; k++)
                at[k] = q->corner[0][k] + u * (q->corner[3][k] - q->corner[0][k]) + v * (q->corner[1][k] - q->corner[0][k]) + off;
            pattern(at[0], at[1], rgb);
            for (int c = 0; c < 3; c++)
                sum += fabs(crop->data[(y * n + x) * 3 + c] - rgb[c]);
        }
    return sum / (3.0 * n * n);
}

static void cut_from_any_scale(void **state) {
    (void)state;
    struct ffhq_anchors a = {{330, 370}, {470, 400}, {380, 550}};
    struct ffhq_quad q;
    ffhq_quad(&a, true, 1, &q); /* about 600 pixels */
    for (int size = 32; size <= 512; size *= 2) {
        double published = fmax(floor(q.size / (2.0 * size)), 1), off = (published - 1) / 2;
        for (int eighths = ffhq_eighths(&q, size); eighths <= 8; eighths++) {
            struct image im = drawn(800 * eighths / 8, 800 * eighths / 8, 8.0 / eighths), crop;
            ffhq_cut(&im, eighths, &q, size, false, &crop);
            /* where the cut shrinks by a whole number, it rounds the picture's size like the script: up to a pixel of stretch */
            near(error_of(&crop, &q, off), 0, q.size * eighths / 8 >= 4 * size ? 3 : 0.75);
            image_free(&im);
            image_free(&crop);
        }
    }
    assert_int_equal(ffhq_eighths(&q, 1024), 8);
    assert_int_equal(ffhq_eighths(&q, 16), 1);
}

static void outside_is_black_or_filled(void **state) {
    (void)state;
    struct image im, crop;
    image_alloc(&im, 90, 70, 3);
    memset(im.data, 200, (size_t)90 * 70 * 3);
    struct ffhq_quad q = {{{-400, -400}, {-400, 400}, {400, 400}, {400, -400}}, 800};
    ffhq_cut(&im, 8, &q, 64, false, &crop);
    assert_int_equal(crop.data[0], 0);
    assert_true(crop.data[(34 * 64 + 34) * 3] > 150);
    image_free(&crop);
    ffhq_cut(&im, 8, &q, 64, true, &crop); /* padding of several times the picture: mirrored again and again */
    for (int i = 0; i < 64 * 64 * 3; i++)
        assert_int_equal(crop.data[i], 200);
    image_free(&crop);
    image_free(&im);
    image_alloc(&im, 1, 1, 3);
    memset(im.data, 77, 3);
    struct ffhq_quad tiny = {{{-4, -4}, {-4, 4}, {4, 4}, {4, -4}}, 8};
    ffhq_cut(&im, 8, &tiny, 16, true, &crop);
    for (int i = 0; i < 16 * 16 * 3; i++)
        assert_int_equal(crop.data[i], 77);
    image_free(&crop);
    image_free(&im);
}

static void five_points(void **state) {
    (void)state;
    struct face_landmarks with_mouth = {.scheme = FACE_5M, .n = 5, .xy = {{170, 100}, {230, 100}, {200, 140}, {180, 170}, {220, 170}}};
    struct face_landmarks dlib = {.scheme = FACE_5, .n = 5, .xy = {{246, 100}, {214, 100}, {154, 100}, {186, 100}, {200, 149}}};
    struct ffhq_anchors a, b, want = upright(200);
    ffhq_anchors(&with_mouth, &a);
    assert_memory_equal(&a, &want, sizeof a);
    ffhq_anchors(&dlib, &b);
    for (int k = 0; k < 2; k++) {
        near(b.left_eye[k], want.left_eye[k], 1e-9);
        near(b.right_eye[k], want.right_eye[k], 1e-9);
    }
    near(b.mouth[0], 200, 1e-9);
    near(b.mouth[1], 100 + FFHQ_ACROSS * 49 + FFHQ_DOWN * 60, 1e-9); /* 162: a mean face's mouth */
}

/* A turned model face is recovered. */
static void pose_of_a_turned_face(void **state) {
    (void)state;
    static const double at[5][3] = {{-31, 1, -6}, {31, 1, -6}, {0, 34, 29}, {-25, 67, 11}, {25, 67, 11}};
    for (double yaw = -40; yaw <= 40; yaw += 20)
        for (double roll = -30; roll <= 30; roll += 30) {
            struct face_landmarks lm = {.scheme = FACE_5M, .n = 5};
            double y = yaw * M_PI / 180, r = roll * M_PI / 180;
            for (int i = 0; i < 5; i++) {
                double u = cos(y) * at[i][0] + sin(y) * at[i][2], v = at[i][1];
                lm.xy[i][0] = 300 + 2 * (cos(r) * u - sin(r) * v);
                lm.xy[i][1] = 200 + 2 * (sin(r) * u + cos(r) * v);
            }
            struct face_pose pose;
            assert_true(face_pose(&lm, &pose));
            near(pose.yaw, yaw, 0.1);
            near(pose.roll, roll, 0.1);
            near(pose.pitch, 0, 0.1);
        }
    struct face_landmarks flat = {.scheme = FACE_5M, .n = 5};
    struct face_pose pose;
    assert_false(face_pose(&flat, &pose));
}

static void blur_is_less_sharp(void **state) {
    (void)state;
    struct image im, small, large;
    image_alloc(&im, 64, 64, 3);
    uint32_t seed = 1;
    for (int i = 0; i < 64 * 64 * 3; i++)
        im.data[i] = (uint8_t)((seed = seed * 1664525 + 1013904223) >> 24);
    image_resize(&im, 16, 16, FILTER_LANCZOS, &small);
    image_resize(&small, 64, 64, FILTER_LANCZOS, &large);
    struct face_box box = {0, 0, 64, 64, 0}, outside = {100, 100, 20, 20, 0}, beyond = {-50, -50, 1000, 1000, 0};
    assert_true(face_sharpness(&im, &box) > 5 * face_sharpness(&large, &box));
    assert_true(face_sharpness(&im, &outside) == 0);
    near(face_sharpness(&im, &beyond), face_sharpness(&im, &box), 1e-9);
    image_free(&im);
    image_free(&small);
    image_free(&large);
}

static void json_round_trip_and_mirror(void **state) {
    (void)state;
    cJSON *json = cJSON_CreateObject();
    struct face_landmarks lm = {.scheme = FACE_68, .n = 68}, back;
    for (int i = 0; i < 68; i++) {
        lm.xy[i][0] = i + 0.25;
        lm.xy[i][1] = 2 * i;
    }
    struct face_box box = {10, 20, 30, 40, 0}, got;
    face_json_set_box(json, "box", &box);
    face_json_set_landmarks(json, "landmarks", &lm);
    assert_true(face_json_get_landmarks(json, "landmarks", &back));
    assert_memory_equal(&lm, &back, sizeof lm);
    const double one[2] = {1, 1}, none[2] = {0, 0}, half[2] = {0.5, 0.5}, shift[2] = {(0.5 - 4) * 0.5 - 0.5, (0.5 - 6) * 0.5 - 0.5};
    face_json_transform(json, one, none, 100);
    assert_true(face_json_get_landmarks(json, "landmarks", &back));
    near(back.xy[36][0], 99 - 45.25, 1e-9); /* the left eye's outer corner was the right one's */
    near(back.xy[8][0], 99 - 8.25, 1e-9);
    assert_true(face_json_get_box(json, "box", &got));
    near(got.x, 60, 1e-9);
    face_json_transform(json, one, none, 100);
    assert_true(face_json_get_landmarks(json, "landmarks", &back));
    assert_memory_equal(&lm, &back, sizeof lm); /* twice mirrored is unchanged: the numbering is its own inverse */
    face_json_transform(json, half, shift, 0);  /* cut at (4, 6), halved */
    assert_true(face_json_get_box(json, "box", &got));
    near(got.x, 3, 1e-9);
    near(got.y, 7, 1e-9);
    near(got.width, 15, 1e-9);
    cJSON_Delete(json);

    static const char *const bad[] = {"{\"landmarks\":[[1,2]]}", "{\"landmarks\":7}", "{\"landmarks\":[[1,2],[1,2],[1,2],[1,2],[1,\"x\"]]}",
                                      "{\"landmarks\":[[1,2],[1,2],[1,2],[1,2],[1,1e300]]}", "{\"landmarks\":[1,2,3,4,5]}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json = cJSON_Parse(bad[i]);
        assert_false(face_json_get_landmarks(json, "landmarks", &back));
        cJSON_Delete(json);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quad_of_upright_face), cmocka_unit_test(quad_follows_the_face), cmocka_unit_test(bad_quads_are_refused),
        cmocka_unit_test(cut_from_any_scale), cmocka_unit_test(outside_is_black_or_filled), cmocka_unit_test(five_points),
        cmocka_unit_test(pose_of_a_turned_face), cmocka_unit_test(blur_is_less_sharp), cmocka_unit_test(json_round_trip_and_mirror)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
