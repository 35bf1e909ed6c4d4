/* codec_ppm.c - the PNM family: P1..P6, text and binary, any maxval up to 65535, comments; written as P5 and P6.
 *
 * This is what samples carry in a pipe, so the case that matters is P6 with maxval 255, which is one memcpy. PAM (P7) is
 * not read. Bytes behind the picture are ignored, as other readers do.
 */
#include <stdio.h>
#include <string.h>

#include "common/image/image_internal.h"

struct header {
    int kind;          /* 1..6 */
    long width, height, maxval;
    size_t data;       /* offset of the first sample */
};

static bool is_blank(uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* Skips blanks and '#' comments. */
static size_t skip(const uint8_t *b, size_t n, size_t at) {
    while (at < n && (is_blank(b[at]) || b[at] == '#')) {
        if (b[at] == '#')
            while (at < n && b[at] != '\n' && b[at] != '\r')
                at++;
        else
            at++;
    }
    return at;
}

/* A decimal number of at most 9 digits; -1 when there is none or it is too long. */
static long number(const uint8_t *b, size_t n, size_t *at) {
    size_t first = *at = skip(b, n, *at);
    long v = 0;
    while (*at < n && b[*at] >= '0' && b[*at] <= '9' && *at - first < 10)
        v = v * 10 + (b[(*at)++] - '0');
    return *at == first || *at - first > 9 ? -1 : v;
}

static enum status parse(const uint8_t *b, size_t n, struct header *h, struct error *e) {
    h->kind = b[1] - '0';
    size_t at = 2;
    h->width = number(b, n, &at);
    h->height = number(b, n, &at);
    h->maxval = h->kind == 1 || h->kind == 4 ? 1 : number(b, n, &at);
    if (h->width < 0 || h->height < 0 || h->maxval < 0)
        return st_bad(e, at >= n ? "truncated PNM header" : "damaged PNM header: a number is missing or too long");
    if (h->maxval < 1 || h->maxval > 65535)
        return st_bad(e, "PNM maxval %ld is not within 1..65535", h->maxval);
    if (at >= n || !is_blank(b[at]))
        return st_bad(e, at >= n ? "truncated PNM header" : "damaged PNM header: no blank behind the numbers");
    h->data = at + 1;
    return ST_OK;
}

enum status ppm_probe(const uint8_t *b, size_t n, struct image_info *info, struct error *e) {
    struct header h;
    enum status st = parse(b, n, &h, e);
    if (st)
        return st;
    info->width = h.width > INT32_MAX ? INT32_MAX : (int)h.width;
    info->height = h.height > INT32_MAX ? INT32_MAX : (int)h.height;
    info->channels = h.kind == 3 || h.kind == 6 ? 3 : 1;
    info->bits = h.maxval == 1 ? 1 : h.maxval < 256 ? 8 : 16;
    info->orientation = 1;
    return ST_OK;
}

static uint8_t to_8bit(long v, long maxval) {
    if (v > maxval)
        v = maxval;
    return (uint8_t)((v * 255 + maxval / 2) / maxval);
}

static enum status read_binary(const uint8_t *b, size_t n, const struct header *h, struct image *im, struct error *e) {
    size_t row = (size_t)im->width * (size_t)im->channels, total = row * (size_t)im->height;
    int wide = h->maxval > 255 ? 2 : 1;
    size_t need = h->kind == 4 ? ((size_t)im->width + 7) / 8 * (size_t)im->height : total * (size_t)wide;
    const uint8_t *p = b + h->data;
    if (n - h->data < need)
        return st_bad(e, "truncated PNM: %zu bytes of pixels where %dx%d needs %zu", n - h->data, im->width, im->height, need);
    image_alloc(im, im->width, im->height, im->channels);
    if (h->kind == 4) { /* packed bits, rows start on a byte, 1 is black */
        size_t stride = ((size_t)im->width + 7) / 8;
        for (int y = 0; y < im->height; y++)
            for (int x = 0; x < im->width; x++)
                im->data[(size_t)y * row + (size_t)x] = p[(size_t)y * stride + (size_t)x / 8] >> (7 - x % 8) & 1 ? 0 : 255;
    } else if (h->maxval == 255) {
        memcpy(im->data, p, total);
    } else if (wide == 1) {
        uint8_t table[256];
        for (int v = 0; v < 256; v++)
            table[v] = to_8bit(v, h->maxval);
        for (size_t i = 0; i < total; i++)
            im->data[i] = table[p[i]];
    } else {
        for (size_t i = 0; i < total; i++)
            im->data[i] = to_8bit((long)be16(p + 2 * i), h->maxval);
    }
    return ST_OK;
}

static enum status read_text(const uint8_t *b, size_t n, const struct header *h, struct image *im, struct error *e) {
    size_t total = (size_t)im->width * (size_t)im->height * (size_t)im->channels, at = h->data;
    if (n - at < (h->kind == 1 ? total : 2 * total - 1)) /* a digit each, and a blank between numbers */
        return st_bad(e, "truncated PNM: %zu characters cannot hold %zu values", n - at, total);
    image_alloc(im, im->width, im->height, im->channels);
    for (size_t i = 0; i < total; i++) {
        long v;
        if (h->kind == 1) { /* bits may stand without blanks between */
            at = skip(b, n, at);
            v = at < n && (b[at] == '0' || b[at] == '1') ? 1 - (b[at++] - '0') : -1;
        } else {
            v = number(b, n, &at);
        }
        if (v < 0)
            return st_bad(e, at >= n ? "truncated PNM: value %zu of %zu is missing" : "damaged PNM: value %zu of %zu is no number", i + 1,
                          total);
        im->data[i] = to_8bit(v, h->maxval);
    }
    return ST_OK;
}

enum status ppm_decode(const uint8_t *b, size_t n, struct image *im, struct error *e) {
    struct header h;
    enum status st = parse(b, n, &h, e);
    if (st)
        return st;
    struct image got = {.width = (int)h.width, .height = (int)h.height, .channels = h.kind == 3 || h.kind == 6 ? 3 : 1};
    st = h.kind <= 3 ? read_text(b, n, &h, &got, e) : read_binary(b, n, &h, &got, e);
    if (st)
        image_free(&got);
    *im = got;
    return st;
}

void ppm_encode(const struct image *im, struct bytes *out) {
    char head[64];
    int n = snprintf(head, sizeof head, "P%d\n%d %d\n255\n", im->channels == 1 ? 5 : 6, im->width, im->height);
    bytes_append(out, head, (size_t)n);
    bytes_append(out, im->data, (size_t)im->width * (size_t)im->height * (size_t)im->channels);
}
