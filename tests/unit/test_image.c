/* test_image.c - codecs, EXIF, limits, and the geometry that needs no resampling.
 *
 * As a tool for the program tests:  test_image decode FILE CHANNELS SIDE >png     (says "WxHxC oN scale S" on stderr)
 *                                   test_image encode FILE FORMAT QUALITY >bytes
 *                                   test_image resize FILE WIDTH HEIGHT FILTER >png
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <png.h>
#include <pthread.h>
#include <sys/stat.h>
#include <turbojpeg.h>
#include <unistd.h>

#include "common/image/image.h"

static struct error e;

/* A smooth picture, so that lossy codecs stay near it. */
static void draw(struct image *im, int width, int height, int channels) {
    image_alloc(im, width, height, channels);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < channels; c++)
                im->data[(y * width + x) * channels + c] = (uint8_t)(40 + (x * (c + 2) * 25) / width + (y * (3 - c % 3) * 25) / height);
}

static size_t size_of(const struct image *im) { return (size_t)im->width * (size_t)im->height * (size_t)im->channels; }

static int largest_difference(const struct image *a, const struct image *b) {
    assert_int_equal(a->width, b->width);
    assert_int_equal(a->height, b->height);
    assert_int_equal(a->channels, b->channels);
    int worst = 0;
    for (size_t i = 0; i < size_of(a); i++) {
        int d = abs(a->data[i] - b->data[i]);
        worst = d > worst ? d : worst;
    }
    return worst;
}

static void expect_bad(const void *bytes, size_t size, const char *text) {
    struct image im = {1, 1, 1, NULL};
    e.text[0] = '\0';
    enum status st = image_decode(bytes, size, 0, &im, &e);
    if (st != ST_BAD || !strstr(e.text, text))
        fail_msg("%zu bytes: status %d, \"%s\" where \"%s\" was expected", size, st, e.text, text);
    assert_null(im.data);
}

/* ---- codecs ---- */

static void round_trips(void **state) {
    (void)state;
    static const int channels[] = {1, 3, 4};
    for (int i = 0; i < 3; i++)
        for (int f = IMAGE_JPEG; f <= IMAGE_WEBP; f++) {
            struct image im, back;
            struct bytes b = {0};
            draw(&im, 61, 47, channels[i]);
            assert_int_equal(image_encode(&im, (enum image_format)f, 98, &b, &e), ST_OK);
            assert_int_equal(image_detect(b.data, b.size), f);
            struct image_info info;
            assert_int_equal(image_probe(b.data, b.size, &info, &e), ST_OK);
            bool alpha = f == IMAGE_PNG || f == IMAGE_WEBP, grey = f != IMAGE_WEBP;
            int holds = channels[i] == 4 && !alpha ? 3 : channels[i] == 1 && !grey ? 3 : channels[i];
            assert_int_equal(info.channels, holds);
            assert_int_equal(info.bits, 8);
            assert_int_equal(image_decode(b.data, b.size, 0, &back, &e), ST_OK);
            image_to_channels(&im, holds);
            assert_in_range(largest_difference(&im, &back), 0, f == IMAGE_JPEG ? 6 : f == IMAGE_WEBP ? 12 : 0);
            image_free(&back);
            assert_int_equal(image_decode(b.data, b.size, 3, &back, &e), ST_OK);
            assert_int_equal(back.channels, 3);
            image_free(&back);
            image_free(&im);
            bytes_free(&b);
        }
}

/* Every proper prefix of every format is refused, as truncated wherever that can be known. */
static void truncated(void **state) {
    (void)state;
    struct image im;
    draw(&im, 40, 24, 3);
    for (int f = IMAGE_JPEG; f <= IMAGE_WEBP; f++) {
        struct bytes b = {0};
        assert_int_equal(image_encode(&im, (enum image_format)f, 90, &b, &e), ST_OK);
        for (size_t n = 0; n < b.size; n++) {
            uint8_t *copy = malloc(n ? n : 1); /* its own block, so that the sanitizer sees every byte read behind it */
            memcpy(copy, b.data, n);
            expect_bad(copy, n, n >= b.size / 2 ? "truncated" : "");
            free(copy);
        }
        bytes_free(&b);
    }
    image_free(&im);
}

/* Whatever single byte is wrong: a picture or an error, never a crash, and never other sizes than the header's. */
static void damaged(void **state) {
    (void)state;
    struct image im;
    draw(&im, 33, 21, 3);
    for (int f = IMAGE_JPEG; f <= IMAGE_WEBP; f++) {
        struct bytes b = {0};
        assert_int_equal(image_encode(&im, (enum image_format)f, 90, &b, &e), ST_OK);
        size_t step = b.size / 400 + 1;
        for (size_t n = 0; n < b.size; n += step) {
            uint8_t keep = b.data[n];
            struct image got;
            b.data[n] ^= (uint8_t)(1 + n % 255);
            enum status st = image_decode(b.data, b.size, 0, &got, &e);
            assert_true(st == ST_BAD || (st == ST_OK && got.data));
            if (!st)
                image_free(&got);
            b.data[n] = keep;
        }
        bytes_free(&b);
    }
    image_free(&im);
}

static void jpeg_warnings(void **state) {
    (void)state;
    struct image im, got;
    struct bytes b = {0}, c = {0};
    draw(&im, 64, 64, 3);
    assert_int_equal(image_encode(&im, IMAGE_JPEG, 90, &b, &e), ST_OK);
    bytes_append(&c, b.data, b.size);
    bytes_append(&c, "trailing bytes", 14); /* harmless: cameras do it */
    assert_int_equal(image_decode(c.data, c.size, 3, &got, &e), ST_OK);
    image_free(&got);
    c.size = 0; /* harmless: bytes between two markers */
    bytes_append(&c, b.data, b.size - 2);
    bytes_append(&c, "junk\xff\xd9", 6);
    assert_int_equal(image_decode(c.data, c.size, 3, &got, &e), ST_OK);
    assert_int_equal(got.width, 64);
    image_free(&got);
    c.size -= 2; /* the same without end mark: cut */
    expect_bad(c.data, c.size, "truncated");
    bytes_free(&b);
    bytes_free(&c);
    image_free(&im);
}

static void cmyk(void **state) {
    (void)state;
    uint8_t pixels[16 * 16 * 4], *jpeg = NULL;
    unsigned long size = 0;
    for (int i = 0; i < 256; i++) /* as Adobe stores it: 255 = no ink */
        memcpy(pixels + 4 * i, "\xff\x80\x00\xc0", 4);
    tjhandle h = tjInitCompress();
    assert_int_equal(tjCompress2(h, pixels, 16, 0, 16, TJPF_CMYK, &jpeg, &size, TJSAMP_444, 98, 0), 0);
    struct image im;
    assert_int_equal(image_decode(jpeg, size, 0, &im, &e), ST_OK);
    assert_int_equal(im.channels, 3);
    assert_in_range(im.data[0], 190, 194); /* 255 * 192 / 255 */
    assert_in_range(im.data[1], 94, 98);   /* 128 * 192 / 255 */
    assert_in_range(im.data[2], 0, 3);
    image_free(&im);
    assert_int_equal(image_decode(jpeg, size, 1, &im, &e), ST_OK);
    assert_int_equal(im.channels, 1);
    image_free(&im);
    tjFree(jpeg);
    tjDestroy(h);
}

static void append_png(png_structp png, png_bytep data, size_t size) { bytes_append(png_get_io_ptr(png), data, size); }

/* One of the kinds that our own encoder does not write; rows hold what libpng expects for them. */
static void write_png(struct bytes *out, int width, int height, int bits, int type, int interlace, const uint8_t *rows, size_t stride,
                      bool transparent) {
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    if (setjmp(png_jmpbuf(png)))
        fail_msg("libpng refuses the test's picture");
    png_set_write_fn(png, out, append_png, NULL);
    png_set_IHDR(png, info, (png_uint_32)width, (png_uint_32)height, bits, type, interlace, 0, 0);
    static const png_color colours[4] = {{255, 0, 0}, {0, 255, 0}, {0, 0, 255}, {9, 8, 7}};
    static const png_byte alpha[2] = {255, 128};
    png_color_16 key = {.gray = 1};
    if (type == PNG_COLOR_TYPE_PALETTE)
        png_set_PLTE(png, info, colours, 4);
    if (transparent)
        png_set_tRNS(png, info, type == PNG_COLOR_TYPE_PALETTE ? alpha : NULL, 2, &key);
    png_write_info(png, info);
    int passes = png_set_interlace_handling(png);
    for (int p = 0; p < passes; p++)
        for (int y = 0; y < height; y++)
            png_write_row(png, rows + (size_t)y * stride);
    png_write_end(png, NULL);
    png_destroy_write_struct(&png, &info);
}

static void expect_pixels(const struct bytes *b, int channels, const uint8_t *want, size_t n) {
    struct image im;
    if (image_decode(b->data, b->size, 0, &im, &e))
        fail_msg("%s", e.text);
    assert_int_equal(im.channels, channels);
    assert_int_equal(size_of(&im), n);
    assert_memory_equal(im.data, want, n);
    image_free(&im);
}

static void png_kinds(void **state) {
    (void)state;
    struct bytes b = {0};
    write_png(&b, 2, 2, 16, PNG_COLOR_TYPE_GRAY, 0, (const uint8_t *)"\x00\x7f\x00\x81\x12\x34\xff\xff", 4, false);
    expect_pixels(&b, 1, (const uint8_t[]){0, 1, 18, 255}, 4); /* 127/257 = 0.49, 129/257 = 0.502 */
    b.size = 0;
    write_png(&b, 2, 1, 8, PNG_COLOR_TYPE_GRAY_ALPHA, 0, (const uint8_t *)"\x10\x20\x30\x40", 4, false);
    expect_pixels(&b, 4, (const uint8_t[]){16, 16, 16, 32, 48, 48, 48, 64}, 8);
    b.size = 0;
    write_png(&b, 4, 1, 2, PNG_COLOR_TYPE_PALETTE, 0, (const uint8_t *)"\x1b", 1, false);
    expect_pixels(&b, 3, (const uint8_t[]){255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 8, 7}, 12);
    b.size = 0;
    write_png(&b, 4, 1, 2, PNG_COLOR_TYPE_PALETTE, 0, (const uint8_t *)"\x1b", 1, true);
    expect_pixels(&b, 4, (const uint8_t[]){255, 0, 0, 255, 0, 255, 0, 128, 0, 0, 255, 255, 9, 8, 7, 255}, 16);
    b.size = 0;
    write_png(&b, 4, 1, 2, PNG_COLOR_TYPE_GRAY, 0, (const uint8_t *)"\x1b", 1, true);
    expect_pixels(&b, 4, (const uint8_t[]){0, 0, 0, 255, 85, 85, 85, 0, 170, 170, 170, 255, 255, 255, 255, 255}, 16);
    b.size = 0;
    write_png(&b, 8, 1, 1, PNG_COLOR_TYPE_GRAY, 0, (const uint8_t *)"\xa5", 1, false);
    expect_pixels(&b, 1, (const uint8_t[]){255, 0, 255, 0, 0, 255, 0, 255}, 8);
    struct image im;
    draw(&im, 23, 17, 3);
    b.size = 0;
    write_png(&b, 23, 17, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_ADAM7, im.data, 69, false);
    expect_pixels(&b, 3, im.data, size_of(&im));
    image_free(&im);
    bytes_free(&b);
}

static void pnm(const char *text, size_t size, int channels, const uint8_t *want, size_t n) {
    struct bytes b = {(uint8_t *)text, size, size};
    expect_pixels(&b, channels, want, n);
}

static void pnm_kinds(void **state) {
    (void)state;
#define PNM(text, channels, ...) \
    pnm(text, sizeof text - 1, channels, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))
    PNM("P1\n# bits\n3 2\n10 1\n010", 1, 0, 255, 0, 255, 0, 255);
    PNM("P2 2 2 # maxval\n 3\n0 1\t2 3\n", 1, 0, 85, 170, 255);
    PNM("P3 1 1 65535 65535 32896 0", 3, 255, 128, 0);
    PNM("P4 9 2\n\x80\x80\x7f\x00", 1, 0, 255, 255, 255, 255, 255, 255, 255, 0, 255, 0, 0, 0, 0, 0, 0, 0, 255);
    PNM("P5 3 1 15 \x00\x07\x0f", 1, 0, 119, 255);
    PNM("P5\n2 1\n1023\n\x03\xff\x02\x00", 1, 255, 128);
    PNM("P6\n#one\n#two\n1 1 255\n\x01\x02\x03trailing", 3, 1, 2, 3);
    PNM("P5 1 1 7 \xff", 1, 255); /* over maxval */
#undef PNM
    expect_bad("P6 2 2 255\n12345678901", 22, "truncated");
    expect_bad("P6 2", 4, "truncated");
    expect_bad("P5 2 2 0\n1234", 13, "maxval");
    expect_bad("P5 2 2 70000\n1234", 17, "maxval");
    expect_bad("P5 x 2 255\n1234", 15, "damaged");
    expect_bad("P5 -2 2 255\n1234", 16, "damaged");
    expect_bad("P5 0 2 255\n1234", 15, "0x2");
    expect_bad("P2 2 1 255\n12 a", 15, "damaged");
    expect_bad("P5 99999999999999999999 2 255\n1234", 35, "damaged");
}

static void limits(void **state) {
    (void)state;
    expect_bad("P6 65501 1 255\n1234", 19, "limit of 65500");
    expect_bad("P6 60000 60000 255\n1234", 23, "limit of 268435456");
    expect_bad("P6 999999999 999999999 255\n", 27, "limit");
    struct image im;
    struct bytes b = {0};
    draw(&im, 8, 8, 3);
    image_encode(&im, IMAGE_PNG, 0, &b, &e);
    memcpy(b.data + 16, "\xff\xff\xff\xff\x00\x00\x00\x01", 8);
    expect_bad(b.data, b.size, "limit");
    b.size = 0;
    image_encode(&im, IMAGE_JPEG, 90, &b, &e);
    for (size_t i = 0; i + 9 < b.size; i++)
        if (b.data[i] == 0xff && b.data[i + 1] == 0xc0) {
            memset(b.data + i + 5, 0xff, 4); /* 65535 x 65535 */
            break;
        }
    expect_bad(b.data, b.size, "limit");
    bytes_free(&b);
    image_free(&im);
}

static void other_files(void **state) {
    (void)state;
    expect_bad("", 0, "empty");
    expect_bad("GIF89a\1\0\1\0", 10, "GIF");
    expect_bad("%PDF-1.4\n", 9, "PDF");
    expect_bad("<!DOCTYPE html><html>", 21, "HTML");
    expect_bad("\n\n<HTML>", 8, "HTML");
    expect_bad("BM123456", 8, "BMP");
    expect_bad("II*\0\x08\0\0\0", 8, "TIFF");
    expect_bad("\0\0\0\x18" "ftypheic", 12, "HEIC");
    expect_bad("\0\0\0\0", 4, "zeros");
    expect_bad("hello", 5, "text");
    expect_bad("\x01\x02\x03", 3, "unknown");
    expect_bad("P7\nWIDTH 1", 10, "PAM");
    assert_int_equal(image_format_by_name("a/b.c/Photo.JPEG"), IMAGE_JPEG);
    assert_int_equal(image_format_by_name("png"), IMAGE_PNG);
    assert_int_equal(image_format_by_name("x.gif"), IMAGE_UNKNOWN);
    assert_int_equal(image_format_by_name("folder.png/x"), IMAGE_UNKNOWN);
}

static void *decode_often(void *bytes) {
    struct bytes *b = bytes;
    for (int i = 0; i < 20; i++) {
        struct image im;
        struct error why;
        if (image_decode(b->data, b->size, 3, &im, &why))
            return "failed";
        struct bytes out = {0};
        image_encode(&im, IMAGE_JPEG, 90, &out, &why);
        bytes_free(&out);
        image_free(&im);
    }
    return NULL;
}

static void threads(void **state) {
    (void)state;
    struct image im;
    struct bytes b = {0};
    draw(&im, 50, 50, 3);
    image_encode(&im, IMAGE_JPEG, 90, &b, &e);
    pthread_t t[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, decode_often, &b);
    for (int i = 0; i < 4; i++) {
        void *result;
        pthread_join(t[i], &result);
        assert_null(result);
    }
    bytes_free(&b);
    image_free(&im);
}

static void scaled(void **state) {
    (void)state;
    struct image im, small;
    struct bytes b = {0};
    double scale;
    draw(&im, 801, 403, 3);
    image_encode(&im, IMAGE_JPEG, 95, &b, &e);
    static const int cases[][3] = {{0, 801, 403}, {1, 101, 51}, {101, 101, 51}, {102, 201, 101},
                                   {250, 301, 152}, {302, 401, 202}, {402, 801, 403}, {5000, 801, 403}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(image_decode_scaled(b.data, b.size, 3, cases[i][0], &small, &scale, &e), ST_OK);
        assert_int_equal(small.width, cases[i][1]);
        assert_int_equal(small.height, cases[i][2]);
        assert_true(scale == (double)small.width / 801);
        image_free(&small);
    }
    bytes_free(&b);
    image_free(&im);
}

/* ---- EXIF ---- */

static size_t exif_block(uint8_t *out, bool little, unsigned orientation) {
    memcpy(out, little ? "II*\0\x08\0\0\0\x02\0" : "MM\0*\0\0\0\x08\0\x02", 10);
    static const uint8_t first[2][12] = {{0x01, 0x0f, 0, 2, 0, 0, 0, 1, 'x', 0, 0, 0}, {0x0f, 0x01, 2, 0, 1, 0, 0, 0, 'x', 0, 0, 0}};
    memcpy(out + 10, first[little], 12); /* Make */
    uint8_t o = (uint8_t)orientation;
    const uint8_t second[2][12] = {{0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, o, 0, 0}, {0x12, 0x01, 3, 0, 1, 0, 0, 0, o, 0, 0, 0}};
    memcpy(out + 22, second[little], 12);
    memset(out + 34, 0, 4);
    return 38;
}

static uint32_t crc32_of(const uint8_t *p, size_t n, uint32_t crc) {
    while (n--) {
        crc ^= *p++;
        for (int k = 0; k < 8; k++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return crc;
}

/* The picture with an EXIF block put in. */
static void with_exif(const struct bytes *b, enum image_format f, const uint8_t *tiff, size_t n, struct bytes *out) {
    uint8_t head[18];
    out->size = 0;
    if (f == IMAGE_JPEG) {
        memcpy(head, "\xff\xe1\0\0Exif\0\0", 10);
        head[2] = (uint8_t)((n + 8) >> 8), head[3] = (uint8_t)(n + 8);
        bytes_append(out, b->data, 2);
        bytes_append(out, head, 10);
        bytes_append(out, tiff, n);
        bytes_append(out, b->data + 2, b->size - 2);
        return;
    }
    memcpy(head, "\0\0\0\0eXIf", 8);
    head[3] = (uint8_t)n;
    uint8_t crc[4];
    uint32_t sum = ~crc32_of(tiff, n, crc32_of(head + 4, 4, ~0u));
    for (int i = 0; i < 4; i++)
        crc[i] = (uint8_t)(sum >> (24 - 8 * i));
    bytes_append(out, b->data, 33);
    bytes_append(out, head, 8);
    bytes_append(out, tiff, n);
    bytes_append(out, crc, 4);
    bytes_append(out, b->data + 33, b->size - 33);
}

static int orientation_of(const struct bytes *b) {
    struct image_info info;
    struct image im;
    assert_int_equal(image_probe(b->data, b->size, &info, &e), ST_OK);
    assert_int_equal(image_decode(b->data, b->size, 3, &im, &e), ST_OK);
    image_free(&im);
    return info.orientation;
}

static void exif(void **state) {
    (void)state;
    struct image im;
    draw(&im, 20, 10, 3);
    for (int f = IMAGE_JPEG; f <= IMAGE_PNG; f++) {
        struct bytes b = {0}, c = {0};
        uint8_t tiff[64];
        image_encode(&im, (enum image_format)f, 90, &b, &e);
        assert_int_equal(orientation_of(&b), 1);
        for (unsigned o = 0; o <= 9; o++)
            for (int little = 0; little < 2; little++) {
                size_t n = exif_block(tiff, little, o);
                with_exif(&b, (enum image_format)f, tiff, n, &c);
                assert_int_equal(orientation_of(&c), o >= 1 && o <= 8 ? o : 1);
            }
        for (size_t n = 0; n < 34; n++) { /* cut within the block: its end, not the file's, is the limit */
            exif_block(tiff, true, 6);
            with_exif(&b, (enum image_format)f, tiff, n, &c);
            assert_int_equal(orientation_of(&c), 1);
        }
        static const uint32_t offsets[] = {37, 38, 1000, 0x7fffffff, 0xfffffff0, 0xffffffff};
        for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++) {
            size_t n = exif_block(tiff, true, 6);
            for (int k = 0; k < 4; k++)
                tiff[4 + k] = (uint8_t)(offsets[i] >> 8 * k);
            with_exif(&b, (enum image_format)f, tiff, n, &c);
            assert_int_equal(orientation_of(&c), 1);
        }
        size_t n = exif_block(tiff, true, 6);
        tiff[8] = tiff[9] = 0xff; /* 65535 entries in room for two */
        with_exif(&b, (enum image_format)f, tiff, n, &c);
        assert_int_equal(orientation_of(&c), 6);
        bytes_free(&b);
        bytes_free(&c);
    }
    image_free(&im);
}

/* The eight orientations of  abc / def  as EXIF defines them: what is shown upright. */
static void orientations(void **state) {
    (void)state;
    static const char *const upright[9] = {NULL,      "abc/def",  "cba/fed",  "fed/cba", "def/abc",
                                           "ad/be/cf", "da/eb/fc", "fc/eb/da", "cf/be/ad"};
    for (int channels = 1; channels <= 4; channels += channels == 1 ? 2 : 1)
        for (int o = 1; o <= 8; o++) {
            struct image im;
            image_alloc(&im, 3, 2, channels);
            for (int i = 0; i < 6; i++)
                memset(im.data + i * channels, 'a' + i, (size_t)channels);
            image_orient(&im, o);
            const char *p = upright[o];
            assert_int_equal(im.width, strcspn(p, "/"));
            for (int y = 0; y < im.height; y++, p++)
                for (int x = 0; x < im.width; x++, p++)
                    for (int c = 0; c < channels; c++)
                        assert_int_equal(im.data[(y * im.width + x) * channels + c], *p);
            image_free(&im);
        }
}

/* Larger than a tile: turning by each orientation and by the one that undoes it gives the picture back. */
static void orientations_undone(void **state) {
    (void)state;
    static const int undo[9] = {0, 1, 2, 3, 4, 5, 8, 7, 6};
    struct image im, turned;
    draw(&im, 131, 67, 3);
    for (int i = 0; i < 131 * 67 * 3; i++)
        im.data[i] = (uint8_t)(i * 2654435761u >> 24);
    for (int o = 1; o <= 8; o++) {
        image_copy(&turned, &im);
        image_orient(&turned, o);
        assert_int_equal(turned.width, o >= 5 ? 67 : 131);
        image_orient(&turned, undo[o]);
        assert_int_equal(largest_difference(&turned, &im), 0);
        image_free(&turned);
    }
    image_free(&im);
}

/* Decoding upright is probing, decoding and turning. */
static void upright(void **state) {
    (void)state;
    struct image im, want, got;
    struct image_info info;
    struct bytes plain = {0}, turned = {0};
    uint8_t tiff[64];
    draw(&im, 20, 10, 3);
    assert_int_equal(image_encode(&im, IMAGE_PNG, 0, &plain, &e), ST_OK);
    for (unsigned o = 1; o <= 8; o++) {
        with_exif(&plain, IMAGE_PNG, tiff, exif_block(tiff, true, o), &turned);
        image_copy(&want, &im);
        image_orient(&want, (int)o);
        assert_int_equal(image_decode_upright(turned.data, turned.size, 3, &got, o % 2 ? &info : NULL, &e), ST_OK);
        assert_int_equal(largest_difference(&got, &want), 0);
        if (o % 2)
            assert_true(info.orientation == (int)o && info.width == 20 && info.height == 10);
        image_free(&want);
        image_free(&got);
    }
    assert_int_equal(image_decode_upright(plain.data, plain.size, 1, &got, NULL, &e), ST_OK);
    assert_int_equal(got.channels, 1);
    image_free(&got);
    assert_int_equal(image_decode_upright(plain.data, plain.size / 2, 3, &got, &info, &e), ST_BAD);
    assert_null(got.data);
    assert_int_equal(image_decode_upright("nonsense", 8, 3, &got, &info, &e), ST_BAD);
    assert_null(got.data);
    bytes_free(&plain);
    bytes_free(&turned);
    image_free(&im);
}

/* ---- comparing ---- */

static void psnr(void **state) {
    (void)state;
    uint8_t x[100], y[100];
    memset(x, 10, sizeof x);
    memset(y, 10, sizeof y);
    assert_true(image_psnr(x, y, 100) == 99);
    memset(y, 15, 25); /* mean square 25 / 4 */
    assert_true(fabs(image_psnr(x, y, 100) - 20 * log10(255 / 2.5)) < 1e-12);
    assert_true(image_psnr(x, y, 100) == image_psnr(y, x, 100));
    assert_true(image_psnr(x + 25, y + 25, 75) == 99);
    memset(x, 0, sizeof x);
    memset(y, 255, sizeof y);
    assert_true(image_psnr(x, y, 100) == 0);
}

/* ---- geometry and channels ---- */

static void crops(void **state) {
    (void)state;
    struct image im, out;
    draw(&im, 5, 4, 3);
    static const int boxes[][4] = {{0, 0, 5, 4}, {1, 1, 2, 2}, {-2, -1, 9, 7}, {-9, 0, 3, 3},
                                   {7, 0, 3, 3}, {0, 9, 2, 2}, {4, 3, 4, 4}, {-3, -3, 4, 4},
                                   {2000000000, 0, 2, 2}, {-2000000000, -2000000000, 2, 2}};
    for (size_t i = 0; i < sizeof boxes / sizeof *boxes; i++) {
        const int *b = boxes[i];
        image_crop(&im, b[0], b[1], b[2], b[3], &out);
        for (int y = 0; y < b[3]; y++)
            for (int x = 0; x < b[2]; x++)
                for (int c = 0; c < 3; c++) {
                    int64_t fx = (int64_t)b[0] + x, fy = (int64_t)b[1] + y;
                    int want = fx < 0 || fx >= 5 || fy < 0 || fy >= 4 ? 0 : im.data[(fy * 5 + fx) * 3 + c];
                    assert_int_equal(out.data[(y * b[2] + x) * 3 + c], want);
                }
        image_free(&out);
    }
    image_free(&im);
}

static void channels(void **state) {
    (void)state;
    struct image im;
    image_alloc(&im, 2, 1, 4);
    memcpy(im.data, "\xff\x00\x00\xff\x00\x00\x00\x80", 8);
    struct image rgb, grey;
    image_copy(&rgb, &im);
    image_to_channels(&rgb, 3);
    assert_memory_equal(rgb.data, "\xff\x00\x00\x7f\x7f\x7f", 6); /* half black over white */
    image_copy(&grey, &rgb);
    image_to_channels(&grey, 1);
    assert_memory_equal(grey.data, "\x4c\x7f", 2);
    image_to_channels(&grey, 4);
    assert_memory_equal(grey.data, "\x4c\x4c\x4c\xff\x7f\x7f\x7f\xff", 8);
    image_flip_horizontal(&grey);
    assert_memory_equal(grey.data, "\x7f\x7f\x7f\xff\x4c\x4c\x4c\xff", 8);
    image_free(&grey);
    image_free(&rgb);
    image_free(&im);
    image_copy(&rgb, &im); /* of nothing: nothing */
    assert_null(rgb.data);
}

static void grids(void **state) {
    (void)state;
    struct image tiles[5], out;
    for (int i = 0; i < 5; i++) {
        image_alloc(&tiles[i], 2, 3, 1);
        memset(tiles[i].data, i + 1, 6);
    }
    image_grid(tiles, 5, 3, &out);
    assert_int_equal(out.width, 6);
    assert_int_equal(out.height, 6);
    for (int y = 0; y < 6; y++)
        for (int x = 0; x < 6; x++) {
            int i = y / 3 * 3 + x / 2;
            assert_int_equal(out.data[y * 6 + x], i < 5 ? i + 1 : 0);
        }
    image_free(&out);
    for (int i = 0; i < 5; i++)
        image_free(&tiles[i]);
}

static void files(void **state) {
    (void)state;
    char dir[] = "/tmp/test_image-XXXXXX", path[64], missing[64];
    struct bytes b = {0};
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/file", dir);
    snprintf(missing, sizeof missing, "%s/none/file", dir);
    assert_int_equal(file_write_atomic(path, "first", 5, &e), ST_OK);
    assert_int_equal(file_write_atomic(path, "second!", 7, &e), ST_OK);
    assert_int_equal(file_read(path, 100, &b, &e), ST_OK);
    assert_int_equal(b.size, 7);
    assert_memory_equal(b.data, "second!", 7);
    assert_int_equal(file_read(path, 6, &b, &e), ST_BAD);
    assert_non_null(strstr(e.text, "limit of 6"));
    assert_int_equal(file_read(dir, 100, &b, &e), ST_BAD);
    assert_int_equal(file_read(missing, 100, &b, &e), ST_BAD);
    assert_non_null(strstr(e.text, "No such file"));
    assert_int_equal(file_write_atomic(missing, "x", 1, &e), ST_FAIL);
    assert_non_null(strstr(e.text, "No such file"));
    assert_int_equal(file_read("/proc/self/status", 1 << 20, &b, &e), ST_OK); /* size unknown beforehand */
    assert_true(b.size > 100);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0); /* and so no temporary file was left */
    bytes_free(&b);
}

/* ---- the tool ---- */

static int tool(int argc, char **argv) {
    struct bytes b = {0};
    struct image im, out;
    struct image_info info;
    enum image_format format = IMAGE_PNG;
    int quality = 0;
    double scale = 1;
    if (argc < 5 || file_read(argv[2], IMAGE_MAX_FILE, &b, &e) || image_probe(b.data, b.size, &info, &e))
        goto bad;
    bool decode = !strcmp(argv[1], "decode");
    if (image_decode_scaled(b.data, b.size, decode ? atoi(argv[3]) : 0, decode ? atoi(argv[4]) : 0, &im, &scale, &e))
        goto bad;
    if (decode)
        fprintf(stderr, "%dx%dx%d o%d scale %g%s\n",
                info.width, info.height, info.channels, info.orientation, scale, info.animated ? " animated" : "");
    if (!strcmp(argv[1], "encode")) {
        format = image_format_by_name(argv[3]);
        quality = atoi(argv[4]);
    }
    if (!strcmp(argv[1], "resize") && argc > 5) {
        image_resize(&im, atoi(argv[3]), atoi(argv[4]), (enum image_filter)atoi(argv[5]), &out);
        image_free(&im);
        im = out;
    }
    b.size = 0;
    if (image_encode(&im, format, quality, &b, &e))
        goto bad;
    fwrite(b.data, 1, b.size, stdout);
    image_free(&im);
    bytes_free(&b);
    return 0;
bad:
    fprintf(stderr, "test_image: %s\n", e.text);
    bytes_free(&b);
    return 1;
}

int main(int argc, char **argv) {
    if (argc > 1)
        return tool(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips), cmocka_unit_test(truncated), cmocka_unit_test(damaged),      cmocka_unit_test(jpeg_warnings),
        cmocka_unit_test(cmyk),        cmocka_unit_test(png_kinds), cmocka_unit_test(pnm_kinds),    cmocka_unit_test(limits),
        cmocka_unit_test(other_files), cmocka_unit_test(threads),   cmocka_unit_test(scaled),       cmocka_unit_test(exif),
        cmocka_unit_test(crops),       cmocka_unit_test(channels),  cmocka_unit_test(orientations), cmocka_unit_test(orientations_undone),
        cmocka_unit_test(grids),       cmocka_unit_test(upright),   cmocka_unit_test(psnr),         cmocka_unit_test(files)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
