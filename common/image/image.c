/* image.c - pictures in memory: allocation, channels, orientation, crops, grids, and the choice of the codec.
 *
 * Typical work: a 225x275 portrait or a 12-megapixel photograph in, 128x128 to 1024x1024 out. Conversions touch each pixel
 * once in plain loops that the compiler vectorises; the codecs cost ten times as much.
 */
#include "common/image/image.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/image/image_internal.h"

#define TILE 32 /* pixels, for turning pictures */

static size_t pixels(const struct image *im) { return (size_t)im->width * (size_t)im->height; }

void image_alloc(struct image *im, int width, int height, int channels) {
    assert(width > 0 && height > 0 && width <= IMAGE_MAX_SIDE && height <= IMAGE_MAX_SIDE);
    assert((int64_t)width * height <= IMAGE_MAX_PIXELS && (channels == 1 || channels == 3 || channels == 4));
    *im = (struct image){width, height, channels, xmalloc((size_t)width * (size_t)height * (size_t)channels)};
}

void image_free(struct image *im) {
    free(im->data);
    *im = (struct image){0};
}

void image_copy(struct image *to, const struct image *from) {
    if (!from->data) {
        *to = (struct image){0};
        return;
    }
    image_alloc(to, from->width, from->height, from->channels);
    memcpy(to->data, from->data, pixels(from) * (size_t)from->channels);
}

/* ---- what a file is ---- */

enum image_format image_detect(const void *bytes, size_t size) {
    const uint8_t *b = bytes;
    if (size >= 3 && b[0] == 0xff && b[1] == 0xd8 && b[2] == 0xff)
        return IMAGE_JPEG;
    if (size >= 8 && !memcmp(b, "\x89PNG\r\n\x1a\n", 8))
        return IMAGE_PNG;
    if (size >= 3 && b[0] == 'P' && b[1] >= '1' && b[1] <= '6' && (strchr(" \t\n\v\f\r#", b[2]) && b[2]))
        return IMAGE_PPM;
    if (size >= 12 && !memcmp(b, "RIFF", 4) && !memcmp(b + 8, "WEBP", 4))
        return IMAGE_WEBP;
    return IMAGE_UNKNOWN;
}

static const struct {
    const char *name;
    enum image_format format;
} names[] = {{"jpg", IMAGE_JPEG}, {"jpeg", IMAGE_JPEG}, {"jpe", IMAGE_JPEG}, {"jfif", IMAGE_JPEG}, {"png", IMAGE_PNG},  {"ppm", IMAGE_PPM},
             {"pgm", IMAGE_PPM},  {"pnm", IMAGE_PPM},   {"pbm", IMAGE_PPM},  {"webp", IMAGE_WEBP}};

const char *const image_suffixes[] = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".ppm", ".pgm", ".pbm", ".pnm", ".webp", NULL};

enum image_format image_format_by_name(const char *name) {
    const char *slash = strrchr(name, '/'), *base = slash ? slash + 1 : name, *dot = strrchr(base, '.');
    const char *suffix = dot ? dot + 1 : base;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcasecmp(suffix, names[i].name))
            return names[i].format;
    return IMAGE_UNKNOWN;
}

const char *image_format_name(enum image_format f) {
    static const char *const text[] = {"unknown", "jpg", "png", "ppm", "webp"};
    return text[f];
}

const char *image_filter_name(enum image_filter filter) {
    static const char *const text[] = {"lanczos", "bicubic", "bilinear", "box"};
    return text[filter];
}

const char *image_looks_like(const void *bytes, size_t n) {
    const uint8_t *b = bytes;
    static const char *const ours[] = {NULL, "a JPEG picture", "a PNG picture", "a PNM picture", "a WebP picture"};
    enum image_format format = image_detect(b, n);
    if (format != IMAGE_UNKNOWN)
        return ours[format];
    if (!n)
        return "nothing";
    static const struct {
        size_t at, size;
        const char *magic, *name;
    } kinds[] = {
        {0, 4, "GIF8", "a GIF picture"},        {0, 4, "%PDF", "a PDF document"},      {0, 2, "BM", "a BMP picture"},
        {0, 4, "II*\0", "a TIFF picture"},      {0, 4, "MM\0*", "a TIFF picture"},     {0, 4, "PK\3\4", "a ZIP archive"},
        {4, 8, "ftypheic", "a HEIC picture"},   {4, 8, "ftypmif1", "a HEIF picture"},  {4, 8, "ftypavif", "an AVIF picture"},
        {4, 4, "ftyp", "an MP4 video"},         {0, 2, "\x1f\x8b", "gzip data"},       {0, 4, "\x28\xb5\x2f\xfd", "zstd data"},
        {257, 5, "ustar", "a tar archive"},     {0, 4, "\x7f" "ELF", "a program"},     {0, 4, "RIFF", "a RIFF file (sound or video)"},
        {0, 8, "farbfeld", "a farbfeld picture"}, {0, 2, "P7", "a PAM picture"},       {0, 6, "\x93NUMPY", "a NumPy array"},
        {0, 12, "\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL picture"},                      {0, 2, "\xff\x0a", "a JPEG XL picture"},
        {0, 4, "8BPS", "a Photoshop picture"},  {0, 4, "\0\0\1\0", "an icon"},         {0, 2, "Pf", "a PFM picture"},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (n >= kinds[i].at + kinds[i].size && !memcmp(b + kinds[i].at, kinds[i].magic, kinds[i].size))
            return kinds[i].name;
    size_t zeros = 0, text = 0, look = n < 512 ? n : 512, start = n >= 3 && !memcmp(b, "\xef\xbb\xbf", 3) ? 3 : 0;
    for (size_t i = start; i < look; i++) {
        zeros += b[i] == 0;
        text += b[i] >= ' ' || (b[i] >= '\t' && b[i] <= '\r');
    }
    if (zeros == look)
        return "nothing but zeros";
    if (text < look - start)
        return "unknown data";
    while (start < n && strchr(" \t\r\n", b[start]) && b[start])
        start++;
    if (n - start >= 5 && (!strncasecmp((const char *)b + start, "<html", 5) || !strncasecmp((const char *)b + start, "<!doc", 5)))
        return "HTML text";
    if (n - start >= 4 && (!memcmp(b + start, "<svg", 4) || !memcmp(b + start, "<?xm", 4)))
        return "SVG or XML text";
    return "text";
}

enum status image_probe(const void *bytes, size_t size, struct image_info *info, struct error *e) {
    *info = (struct image_info){.format = image_detect(bytes, size), .orientation = 1};
    enum status st = ST_OK;
    if (size > IMAGE_MAX_FILE)
        return st_bad(e, "%zu bytes are over the limit of %zu for one picture", size, IMAGE_MAX_FILE);
    switch (info->format) {
    case IMAGE_JPEG: st = jpeg_probe(bytes, size, info, e); break;
    case IMAGE_PNG: st = png_probe(bytes, size, info, e); break;
    case IMAGE_PPM: st = ppm_probe(bytes, size, info, e); break;
    case IMAGE_WEBP: st = webp_probe(bytes, size, info, e); break;
    case IMAGE_UNKNOWN:
        if (size == 0)
            return st_bad(e, "empty, no picture");
        return st_bad(e, "no picture that is read here (JPEG, PNG, WebP, PNM) but %s", image_looks_like(bytes, size));
    }
    if (st)
        return st;
    if (info->width < 1 || info->height < 1)
        return st_bad(e, "picture of %dx%d pixels", info->width, info->height);
    if (info->width > IMAGE_MAX_SIDE || info->height > IMAGE_MAX_SIDE)
        return st_bad(e, "%dx%d pixels: a side is over the limit of %d", info->width, info->height, IMAGE_MAX_SIDE);
    if ((int64_t)info->width * info->height > IMAGE_MAX_PIXELS)
        return st_bad(e, "%dx%d pixels are over the limit of %lld in all", info->width, info->height, IMAGE_MAX_PIXELS);
    return ST_OK;
}

enum status image_decode_scaled(const void *bytes, size_t size, int channels, int side, struct image *im, double *scale,
                                struct error *e) {
    *im = (struct image){0};
    struct image_info info;
    enum status st = image_probe(bytes, size, &info, e);
    if (st)
        return st;
    switch (info.format) {
    case IMAGE_JPEG: st = jpeg_decode(bytes, size, &info, channels, side, im, e); break;
    case IMAGE_PNG: st = png_decode(bytes, size, im, e); break;
    case IMAGE_PPM: st = ppm_decode(bytes, size, im, e); break;
    case IMAGE_WEBP: st = webp_decode(bytes, size, &info, im, e); break;
    case IMAGE_UNKNOWN: break; /* refused by the probe */
    }
    if (st)
        return st;
    /* Also with channels 0: a damaged transparency chunk counts for the probe but not for libpng, which warns and goes on. */
    image_to_channels(im, channels ? channels : info.channels);
    if (scale)
        *scale = (double)im->width / info.width;
    return ST_OK;
}

enum status image_decode(const void *bytes, size_t size, int channels, struct image *im, struct error *e) {
    return image_decode_scaled(bytes, size, channels, 0, im, NULL, e);
}

enum status image_decode_upright(const void *bytes, size_t size, int channels, struct image *im, struct image_info *info, struct error *e) {
    struct image_info own;
    *im = (struct image){0};
    if (!info)
        info = &own;
    enum status st = image_probe(bytes, size, info, e);
    if (st == ST_OK)
        st = image_decode(bytes, size, channels, im, e);
    if (st == ST_OK)
        image_orient(im, info->orientation);
    return st;
}

enum status image_encode(const struct image *im, enum image_format format, int quality, struct bytes *out, struct error *e) {
    struct image other = {0}; /* when the format cannot hold these channels */
    int channels = im->channels;
    if ((format == IMAGE_JPEG || format == IMAGE_PPM) && channels == 4)
        channels = 3;
    if (format == IMAGE_WEBP && channels == 1)
        channels = 3;
    if (channels != im->channels) {
        image_copy(&other, im);
        image_to_channels(&other, channels);
        im = &other;
    }
    quality = quality < 1 ? 1 : quality > 100 ? 100 : quality;
    enum status st = ST_OK;
    switch (format) {
    case IMAGE_JPEG: st = jpeg_encode(im, quality, out, e); break;
    case IMAGE_PNG: st = png_encode(im, out, e); break;
    case IMAGE_PPM: ppm_encode(im, out); break;
    case IMAGE_WEBP: st = webp_encode(im, quality, out, e); break;
    case IMAGE_UNKNOWN: st = st_fail(e, "no picture format was chosen"); break;
    }
    image_free(&other);
    return st;
}

/* ---- channels ---- */

static uint8_t grey_of(const uint8_t *p) { return (uint8_t)((19595u * p[0] + 38470u * p[1] + 7471u * p[2] + 32768u) >> 16); }

/* v*a/255 + 255*(1-a/255), rounded */
static uint8_t over_white(uint8_t v, uint8_t a) {
    unsigned t = (unsigned)v * a + 255u * (255u - a) + 128;
    return (uint8_t)((t + (t >> 8)) >> 8);
}

void image_to_channels(struct image *im, int channels) {
    if (im->channels == channels)
        return;
    struct image out;
    image_alloc(&out, im->width, im->height, channels);
    const uint8_t *p = im->data;
    uint8_t *q = out.data;
    for (size_t i = 0, n = pixels(im); i < n; i++, p += im->channels, q += channels) {
        uint8_t rgb[3];
        if (im->channels == 1)
            rgb[0] = rgb[1] = rgb[2] = p[0];
        else if (im->channels == 3 || channels == 4)
            memcpy(rgb, p, 3);
        else
            for (int c = 0; c < 3; c++)
                rgb[c] = over_white(p[c], p[3]);
        if (channels == 1)
            q[0] = im->channels == 1 ? p[0] : grey_of(rgb);
        else
            memcpy(q, rgb, 3);
        if (channels == 4)
            q[3] = 255;
    }
    image_free(im);
    *im = out;
}

/* ---- geometry without resampling ---- */

void image_flip_horizontal(struct image *im) {
    size_t c = (size_t)im->channels, w = (size_t)im->width;
    for (int y = 0; y < im->height; y++) {
        uint8_t *a = im->data + (size_t)y * w * c, *b = a + (w - 1) * c;
        for (; a < b; a += c, b -= c)
            for (size_t k = 0; k < c; k++) {
                uint8_t keep = a[k];
                a[k] = b[k];
                b[k] = keep;
            }
    }
}

void image_orient(struct image *im, int orientation) {
    if (orientation < 2 || orientation > 8)
        return;
    if (orientation == 2) {
        image_flip_horizontal(im);
        return;
    }
    bool swap = orientation >= 5; /* rows become columns */
    struct image out;
    image_alloc(&out, swap ? im->height : im->width, swap ? im->width : im->height, im->channels);
    /* Where the stored pixel (0,0) lands, and how far one step right and one step down move there. */
    ptrdiff_t c = im->channels, row = (ptrdiff_t)out.width * c, last_x = (out.width - 1) * c, last_y = (out.height - 1) * row;
    static const struct { signed char x_end, y_end; } corner[9] = {
        [3] = {1, 1}, [4] = {0, 1}, [5] = {0, 0}, [6] = {1, 0}, [7] = {1, 1}, [8] = {0, 1}};
    bool right = corner[orientation].x_end, bottom = corner[orientation].y_end;
    ptrdiff_t step_x = right ? -c : c, step_y = bottom ? -row : row;
    ptrdiff_t on_x = swap ? step_y : step_x, on_y = swap ? step_x : step_y;
    uint8_t *origin = out.data + (right ? last_x : 0) + (bottom ? last_y : 0);
    for (int y0 = 0; y0 < im->height; y0 += TILE) /* in tiles, so that neither side leaves the cache where rows become columns */
        for (int x0 = 0; x0 < im->width; x0 += TILE) {
            int y1 = y0 + TILE < im->height ? y0 + TILE : im->height, x1 = x0 + TILE < im->width ? x0 + TILE : im->width;
            for (int y = y0; y < y1; y++) {
                const uint8_t *p = im->data + ((ptrdiff_t)y * im->width + x0) * c;
                uint8_t *q = origin + y * on_y + x0 * on_x;
                if (c == 3)
                    for (int x = x0; x < x1; x++, p += 3, q += on_x)
                        q[0] = p[0], q[1] = p[1], q[2] = p[2];
                else
                    for (int x = x0; x < x1; x++, p += c, q += on_x)
                        for (ptrdiff_t k = 0; k < c; k++)
                            q[k] = p[k];
            }
        }
    image_free(im);
    *im = out;
}

void image_crop(const struct image *im, int x, int y, int width, int height, struct image *out) {
    image_alloc(out, width, height, im->channels);
    size_t c = (size_t)im->channels;
    int64_t left = x < 0 ? -(int64_t)x : 0, right = (int64_t)im->width - x; /* columns of out that lie within the picture */
    if (left > width)
        left = width;
    if (right > width)
        right = width;
    if (right < left)
        right = left;
    for (int i = 0; i < height; i++) {
        uint8_t *q = out->data + (size_t)i * (size_t)width * c;
        int64_t from = (int64_t)y + i;
        if (from < 0 || from >= im->height || right == left) {
            memset(q, 0, (size_t)width * c);
            continue;
        }
        memset(q, 0, (size_t)left * c);
        memcpy(q + (size_t)left * c, im->data + ((size_t)from * (size_t)im->width + (size_t)(x + left)) * c, (size_t)(right - left) * c);
        memset(q + (size_t)right * c, 0, (size_t)(width - right) * c);
    }
}

double image_psnr(const uint8_t *x, const uint8_t *y, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
    return sum > 0 ? 10 * log10(255.0 * 255.0 * (double)n / sum) : 99;
}

void image_grid(const struct image *tiles, int n, int columns, struct image *out) {
    assert(n > 0 && columns > 0);
    const struct image *first = &tiles[0];
    int rows = (n + columns - 1) / columns;
    image_alloc(out, first->width * columns, first->height * rows, first->channels);
    size_t tile = (size_t)first->width * (size_t)first->channels, stride = tile * (size_t)columns;
    memset(out->data, 0, stride * (size_t)out->height); /* black where the last row is not full */
    for (int i = 0; i < n; i++) {
        assert(tiles[i].width == first->width && tiles[i].height == first->height && tiles[i].channels == first->channels);
        uint8_t *q = out->data + (size_t)(i / columns) * (size_t)first->height * stride + (size_t)(i % columns) * tile;
        for (int y = 0; y < first->height; y++, q += stride)
            memcpy(q, tiles[i].data + (size_t)y * tile, tile);
    }
}
