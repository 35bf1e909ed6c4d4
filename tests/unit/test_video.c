/* test_video.c - frame rates, the planes of y4m, and that files appear whole or not at all. What other programs read is tested in
 * tests/programs/sg2-gen-video.bats. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/rng/philox.h"
#include "common/stream/video.h"
#include "common/stream/y4m.h"

static char folder[] = "/tmp/test-video-XXXXXX";

static int set_up(void **unused) {
    (void)unused;
    return !mkdtemp(folder) || chdir(folder);
}

static int tear_down(void **unused) {
    (void)unused;
    return rmdir(folder);
}

static void noise(struct image *im, int width, int height, int channels, uint64_t seed) {
    image_alloc(im, width, height, channels);
    uint32_t out[4];
    for (int i = 0; i < width * height * channels; i++) {
        if (i % 4 == 0)
            philox4x32(seed, 0, 0, (uint32_t)i, out);
        im->data[i] = (uint8_t)out[i % 4];
    }
}

static void test_rates(void **unused) {
    (void)unused;
    static const struct {
        double fps;
        int num, den;
    } want[] = {{24, 24, 1}, {30, 30, 1}, {29.97, 30000, 1001}, {23.976, 24000, 1001}, {59.94, 60000, 1001}, {12.5, 25, 2}, {0.5, 1, 2},
                {0.01, 1, 100}, {1000, 1000, 1}, {1.001, 1001, 1000}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        int num, den;
        video_rate(want[i].fps, &num, &den);
        assert_int_equal(num, want[i].num);
        assert_int_equal(den, want[i].den);
    }
    enum video_kind kind;
    assert_true(video_kind_by_name("a.b/walk.APNG", &kind) && kind == VIDEO_PNG);
    assert_true(video_kind_by_name("walk.y4m", &kind) && kind == VIDEO_Y4M);
    assert_false(video_kind_by_name("walk.png/walk", &kind));
    assert_false(video_kind_by_name("walk.mp4", &kind));
}

/* BT.601 in floating point */
static double luma(const uint8_t *p) { return 0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2]; }

static void check_frame(int w, int h, enum y4m_chroma chroma) {
    struct image im;
    struct bytes out = {0};
    noise(&im, w, h, 3, (uint64_t)(w * 100 + h));
    y4m_frame(&out, &im, chroma);
    int s = chroma == Y4M_420 ? 2 : 1, cw = (w + s - 1) / s, ch = (h + s - 1) / s;
    assert_int_equal(out.size, 6 + w * h + 2 * cw * ch);
    assert_memory_equal(out.data, "FRAME\n", 6);
    const uint8_t *y = out.data + 6, *cb = y + w * h, *cr = cb + cw * ch;
    for (int i = 0; i < w * h; i++)
        assert_true(fabs(y[i] - (16 + luma(im.data + 3 * i) * 219 / 255)) < 0.501);
    for (int r = 0; r < ch; r++)
        for (int c = 0; c < cw; c++) {
            double b = 0, d = 0, n = 0;
            for (int i = r * s; i < r * s + s && i < h; i++)
                for (int j = c * s; j < c * s + s && j < w; j++, n++) {
                    const uint8_t *p = im.data + 3 * (i * w + j);
                    b += (p[2] - luma(p)) / 1.772, d += (p[0] - luma(p)) / 1.402;
                }
            assert_true(fabs(cb[r * cw + c] - (128 + b / n * 224 / 255)) < 0.501);
            assert_true(fabs(cr[r * cw + c] - (128 + d / n * 224 / 255)) < 0.501);
        }
    image_free(&im);
    bytes_free(&out);
}

static void test_planes(void **unused) {
    (void)unused;
    check_frame(16, 16, Y4M_420);
    check_frame(17, 5, Y4M_420);
    check_frame(1, 1, Y4M_420);
    check_frame(7, 3, Y4M_444);
    /* the corners of the cube: black and white are 16 and 235, saturated colours stay within 16..240 */
    struct image im;
    struct bytes out = {0};
    image_alloc(&im, 8, 1, 3);
    for (int i = 0; i < 8; i++)
        for (int c = 0; c < 3; c++)
            im.data[3 * i + c] = i >> c & 1 ? 255 : 0;
    y4m_frame(&out, &im, Y4M_444);
    const uint8_t want[24] = {16,  81,  145, 210, 41,  106, 170, 235,  /* black red green yellow blue magenta cyan white */
                              128, 90,  54,  16,  240, 202, 166, 128,
                              128, 240, 34,  146, 110, 222, 16,  128};
    assert_memory_equal(out.data + 6, want, 24);
    /* grey and alpha */
    image_to_channels(&im, 1);
    out.size = 0;
    y4m_frame(&out, &im, Y4M_444);
    for (int i = 8; i < 24; i++)
        assert_int_equal(out.data[6 + i], 128);
    image_free(&im);
    bytes_free(&out);
}

static void test_files(void **unused) {
    (void)unused;
    static const char *const names[] = {"a.y4m", "a.apng", "a.webp", "a.ppm"};
    static const enum video_kind kinds[] = {VIDEO_Y4M, VIDEO_PNG, VIDEO_WEBP, VIDEO_PPM};
    for (int k = 0; k < 4; k++)
        for (int keep = 0; keep < 2; keep++) {
            struct video_options o = {.path = names[k], .kind = kinds[k], .fps = 24, .quality = 80};
            struct video *v;
            struct error e;
            struct image im;
            assert_int_equal(video_open(&v, &o, &e), ST_OK);
            for (int i = 0; i < 3; i++) {
                noise(&im, 16, 12, 3, (uint64_t)i);
                assert_int_equal(video_add(v, &im, &e), ST_OK);
                assert_int_equal(access(names[k], F_OK), -1); /* not before it is whole */
                image_free(&im);
            }
            noise(&im, 15, 12, 3, 0);
            assert_int_equal(video_add(v, &im, &e), ST_BAD);
            image_free(&im);
            assert_int_equal(video_close(v, keep, &e), ST_OK);
            assert_int_equal(access(names[k], F_OK), keep - 1);
        }
    /* a still reader takes the first frame of an animation */
    struct bytes file = {0};
    struct image_info info;
    struct image first, im;
    struct error e;
    for (int k = 1; k <= 2; k++) {
        assert_int_equal(file_read(names[k], IMAGE_MAX_FILE, &file, &e), ST_OK);
        assert_int_equal(image_probe(file.data, file.size, &info, &e), ST_OK);
        assert_true(info.animated && info.width == 16 && info.height == 12);
        assert_int_equal(image_decode(file.data, file.size, 3, &im, &e), ST_OK);
        noise(&first, 16, 12, 3, 0);
        if (k == 1)
            assert_memory_equal(im.data, first.data, 16 * 12 * 3);
        image_free(&im);
        image_free(&first);
    }
    bytes_free(&file);
    for (int k = 0; k < 4; k++)
        unlink(names[k]);
    /* no frames, no folder, no room */
    struct video *v;
    struct video_options o = {.path = "none.apng", .kind = VIDEO_PNG, .fps = 24};
    assert_int_equal(video_open(&v, &o, &e), ST_OK);
    assert_int_equal(video_close(v, true, &e), ST_BAD);
    assert_non_null(strstr(e.text, "none.apng: there was no picture"));
    o.path = "nowhere/a.apng";
    assert_int_equal(video_open(&v, &o, &e), ST_FAIL);
    assert_non_null(strstr(e.text, "nowhere/a.apng: No such file"));
    assert_int_equal(video_close(NULL, true, &e), ST_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rates), cmocka_unit_test(test_planes), cmocka_unit_test(test_files)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
