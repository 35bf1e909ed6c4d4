/* test_resample.c - properties of resizing that hold for every filter; equality with Pillow is in check_resample.c and
 * tests/programs/formats.bats. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/image/image.h"

static void noise(struct image *im, int width, int height, int channels, unsigned seed) {
    image_alloc(im, width, height, channels);
    for (int i = 0; i < width * height * channels; i++) {
        seed = seed * 1664525u + 1013904223u;
        im->data[i] = (uint8_t)(seed >> 24);
    }
}

static size_t size_of(const struct image *im) { return (size_t)im->width * (size_t)im->height * (size_t)im->channels; }

static void same_size_is_a_copy(void **state) {
    (void)state;
    struct image im, out;
    noise(&im, 37, 21, 3, 1);
    image_resize(&im, 37, 21, FILTER_LANCZOS, &out);
    assert_memory_equal(im.data, out.data, size_of(&im));
    assert_ptr_not_equal(im.data, out.data);
    image_free(&out);
    image_free(&im);
}

/* One colour stays that colour at any size: the weights sum to 1 after rounding, edges included. */
static void constants_stay(void **state) {
    (void)state;
    static const int sizes[] = {1, 2, 7, 32, 33, 50, 128};
    for (int channels = 1; channels <= 4; channels += channels == 1 ? 2 : 1)
        for (int f = FILTER_LANCZOS; f <= FILTER_BOX; f++)
            for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
                for (int value = 0; value <= 255; value += 51) {
                    struct image im, out;
                    image_alloc(&im, 33, 50, channels);
                    memset(im.data, value, size_of(&im));
                    if (channels == 4)
                        for (int k = 3; k < 33 * 50 * 4; k += 4)
                            im.data[k] = 255;
                    image_resize(&im, sizes[i], sizes[(i + 3) % 7], (enum image_filter)f, &out);
                    for (size_t k = 0; k < size_of(&out); k++)
                        assert_int_equal(out.data[k], channels == 4 && k % 4 == 3 ? 255 : value);
                    image_free(&out);
                    image_free(&im);
                }
}

/* Halving with the box filter is the mean of 2x2, rounded in each pass. */
static void box_is_the_mean(void **state) {
    (void)state;
    struct image im, out;
    noise(&im, 64, 48, 3, 2);
    image_resize(&im, 32, 24, FILTER_BOX, &out);
    for (int y = 0; y < 24; y++)
        for (int x = 0; x < 32; x++)
            for (int c = 0; c < 3; c++) {
                const uint8_t *p = im.data + (2 * y * 64 + 2 * x) * 3 + c;
                int top = (p[0] + p[3] + 1) / 2, bottom = (p[64 * 3] + p[64 * 3 + 3] + 1) / 2;
                assert_int_equal(out.data[(y * 32 + x) * 3 + c], (top + bottom + 1) / 2);
            }
    image_free(&out);
    image_free(&im);
}

/* Grey, RGB of equal channels and opaque RGBA go through different loops and must agree, odd sizes included. */
static void layouts_agree(void **state) {
    (void)state;
    struct image grey;
    noise(&grey, 53, 31, 1, 3);
    for (int f = FILTER_LANCZOS; f <= FILTER_BOX; f++)
        for (int size = 1; size < 90; size += 11) {
            struct image a, b, c, rgb, rgba;
            image_copy(&rgb, &grey);
            image_copy(&rgba, &grey);
            image_to_channels(&rgb, 3);
            image_to_channels(&rgba, 4);
            image_resize(&grey, size, 90 - size, (enum image_filter)f, &a);
            image_resize(&rgb, size, 90 - size, (enum image_filter)f, &b);
            image_resize(&rgba, size, 90 - size, (enum image_filter)f, &c);
            for (int i = 0; i < a.width * a.height; i++) {
                uint8_t v = a.data[i];
                assert_memory_equal(b.data + 3 * i, ((uint8_t[]){v, v, v}), 3);
                assert_memory_equal(c.data + 4 * i, ((uint8_t[]){v, v, v, 255}), 4);
            }
            image_free(&a), image_free(&b), image_free(&c), image_free(&rgb), image_free(&rgba);
        }
    image_free(&grey);
}

/* A whole-pixel box of the same size is a crop; the box of a filter's whole support is what the crop gives inside. */
static void boxes(void **state) {
    (void)state;
    struct image im, crop, out;
    noise(&im, 40, 30, 3, 4);
    image_crop(&im, 5, 7, 20, 10, &crop);
    image_resize_box(&im, 5, 7, 25, 17, 20, 10, FILTER_LANCZOS, &out);
    assert_memory_equal(crop.data, out.data, size_of(&crop));
    image_free(&out);
    struct image a, b;
    image_resize_box(&im, 5, 7, 25, 17, 10, 5, FILTER_BOX, &a); /* box: support ends at the box's edges */
    image_resize(&crop, 10, 5, FILTER_BOX, &b);
    assert_memory_equal(a.data, b.data, size_of(&a));
    image_free(&a), image_free(&b), image_free(&crop), image_free(&im);
}

static void transparent_lends_no_colour(void **state) {
    (void)state;
    struct image im, out;
    image_alloc(&im, 2, 1, 4);
    memcpy(im.data, "\xff\x00\x00\x00\x00\x40\x00\xff", 8); /* red, invisible; green, opaque */
    image_resize(&im, 1, 1, FILTER_BOX, &out);
    assert_int_equal(out.data[0], 0);
    assert_in_range(out.data[1], 0x3e, 0x42);
    assert_int_equal(out.data[3], 128);
    image_free(&out);
    image_free(&im);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_size_is_a_copy), cmocka_unit_test(constants_stay),
                                       cmocka_unit_test(box_is_the_mean),     cmocka_unit_test(layouts_agree),
                                       cmocka_unit_test(boxes),               cmocka_unit_test(transparent_lends_no_colour)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
