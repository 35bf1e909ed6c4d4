/* animation.c - see animation.h. APNG (W3C PNG, third edition): acTL before the first IDAT; before each frame fcTL, its data in
 * IDAT for the first and fdAT for the others, every fcTL and fdAT with the next sequence number. WebP: RIFF with VP8X, ANIM, and one
 * ANMF a frame. */
#include "common/image/animation.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "common/image/image_internal.h"

#define PNG_ACTL 33               /* where acTL stands: behind signature and IHDR */
#define WEBP_MAX_SIDE 16383       /* WEBP_MAX_DIMENSION */
#define RIFF_MAX 0xfffffffeu      /* bytes that a RIFF head can count */
#define WEBP_MAX_MS ((1 << 24) - 1)

struct animation {
    FILE *f;
    enum image_format format;
    int fps_num, fps_den, quality;
    int width, height, channels; /* of the first frame; 0 = none yet */
    uint32_t frames, sequence;
    uint64_t size;               /* bytes written */
    struct bytes encoded, chunk; /* one frame; one chunk of it */
};

struct animation *animation_create(FILE *f, enum image_format format, int fps_num, int fps_den, int quality) {
    struct animation *a = xcalloc(1, sizeof *a);
    *a = (struct animation){.f = f, .format = format, .fps_num = fps_num, .fps_den = fps_den, .quality = quality};
    return a;
}

void animation_free(struct animation *a) {
    if (!a)
        return;
    bytes_free(&a->encoded);
    bytes_free(&a->chunk);
    free(a);
}

static void big(struct bytes *b, uint32_t v, int size) {
    for (int shift = 8 * (size - 1); shift >= 0; shift -= 8)
        bytes_append(b, &(uint8_t){(uint8_t)(v >> shift)}, 1);
}

static void little(struct bytes *b, uint32_t v, int size) {
    for (int i = 0; i < size; i++)
        bytes_append(b, &(uint8_t){(uint8_t)(v >> 8 * i)}, 1);
}

static enum status put(struct animation *a, const void *data, size_t size, struct error *e) {
    a->size += size;
    return fwrite(data, 1, size, a->f) == size ? ST_OK : st_fail(e, "%s", strerror(errno));
}

/* ---- APNG ---- */

/* One chunk: `name`, then what a->chunk holds, which is emptied. */
static enum status png_put(struct animation *a, const char *name, struct error *e) {
    struct bytes b = {0};
    big(&b, (uint32_t)a->chunk.size, 4);
    bytes_append(&b, name, 4);
    if (a->chunk.size)
        bytes_append(&b, a->chunk.data, a->chunk.size);
    big(&b, (uint32_t)crc32(0, b.data + 4, (uInt)(b.size - 4)), 4);
    enum status st = put(a, b.data, b.size, e);
    a->chunk.size = 0;
    bytes_free(&b);
    return st;
}

static enum status png_put_count(struct animation *a, struct error *e) {
    big(&a->chunk, a->frames, 4);
    big(&a->chunk, 0, 4); /* plays: for ever */
    return png_put(a, "acTL", e);
}

static enum status png_put_control(struct animation *a, struct error *e) {
    bool fits = a->fps_num <= 65535 && a->fps_den <= 65535; /* the delay's two halves have 16 bits */
    big(&a->chunk, a->sequence++, 4);
    big(&a->chunk, (uint32_t)a->width, 4);
    big(&a->chunk, (uint32_t)a->height, 4);
    big(&a->chunk, 0, 4); /* x, y */
    big(&a->chunk, 0, 4);
    big(&a->chunk, fits ? (uint32_t)a->fps_den : (uint32_t)(10000.0 * a->fps_den / a->fps_num + 0.5), 2);
    big(&a->chunk, fits ? (uint32_t)a->fps_num : 10000, 2);
    big(&a->chunk, 0, 2); /* leave the frame, replace what was there */
    return png_put(a, "fcTL", e);
}

static enum status png_add(struct animation *a, struct error *e) {
    const uint8_t *b = a->encoded.data;
    enum status st = ST_OK;
    if (a->frames == 0) {
        if ((st = put(a, b, PNG_ACTL, e)) != ST_OK || (st = png_put_count(a, e)) != ST_OK)
            return st;
    }
    if ((st = png_put_control(a, e)) != ST_OK)
        return st;
    for (size_t at = 8; at + 12 <= a->encoded.size && st == ST_OK;) { /* our own encoder's chunks: well formed */
        size_t length = be32(b + at);
        if (!memcmp(b + at + 4, "IDAT", 4)) {
            if (a->frames)
                big(&a->chunk, a->sequence++, 4);
            bytes_append(&a->chunk, b + at + 8, length);
            st = png_put(a, a->frames ? "fdAT" : "IDAT", e);
        }
        at += length + 12;
    }
    return st;
}

/* ---- WebP ---- */

static enum status webp_head(struct animation *a, struct error *e) {
    struct bytes *b = &a->chunk;
    bytes_append(b, "RIFF", 4);
    little(b, (uint32_t)(a->size ? a->size - 8 : 0), 4);
    bytes_append(b, "WEBPVP8X", 8);
    little(b, 10, 4);
    little(b, 0x02 | (a->channels == 4 ? 0x10 : 0), 4); /* animation, alpha */
    little(b, (uint32_t)a->width - 1, 3);
    little(b, (uint32_t)a->height - 1, 3);
    bytes_append(b, "ANIM", 4);
    little(b, 6, 4);
    little(b, 0xffffffff, 4); /* background: white */
    little(b, 0, 2);          /* plays: for ever */
    enum status st = put(a, b->data, b->size, e);
    b->size = 0;
    return st;
}

/* Whole milliseconds that add up right. */
static uint64_t time_of(const struct animation *a, uint64_t frame) {
    return (frame * 2000 * (uint64_t)a->fps_den + (uint64_t)a->fps_num) / (2 * (uint64_t)a->fps_num);
}

static enum status webp_add(struct animation *a, struct error *e) {
    const uint8_t *b = a->encoded.data;
    size_t n = a->encoded.size;
    enum status st;
    if (a->frames == 0 && (st = webp_head(a, e)) != ST_OK)
        return st;
    uint64_t ms = time_of(a, a->frames + 1ull) - time_of(a, a->frames);
    struct bytes *c = &a->chunk;
    little(c, 0, 3); /* x, y */
    little(c, 0, 3);
    little(c, (uint32_t)a->width - 1, 3);
    little(c, (uint32_t)a->height - 1, 3);
    little(c, ms > WEBP_MAX_MS ? WEBP_MAX_MS : (uint32_t)ms, 3);
    little(c, 0x02, 1); /* do not blend with the frame before */
    for (size_t at = 12; at + 8 <= n;) { /* all chunks of the still picture but its own VP8X */
        size_t size = 8 + (size_t)le32(b + at + 4);
        size += size & 1;
        if (memcmp(b + at, "VP8X", 4))
            bytes_append(c, b + at, size < n - at ? size : n - at);
        at += size;
    }
    if (c->size & 1)
        little(c, 0, 1);
    if (a->size + c->size + 8 > RIFF_MAX)
        return st_bad(e, "an animated WebP holds 4 GiB at most; frame %u does not fit", a->frames);
    struct bytes head = {0};
    bytes_append(&head, "ANMF", 4);
    little(&head, (uint32_t)c->size, 4);
    if ((st = put(a, head.data, head.size, e)) == ST_OK)
        st = put(a, c->data, c->size, e);
    bytes_free(&head);
    c->size = 0;
    return st;
}

/* ---- both ---- */

enum status animation_add(struct animation *a, const struct image *im, struct error *e) {
    if (a->frames && (im->width != a->width || im->height != a->height || im->channels != a->channels))
        return st_bad(e, "frame %u has %dx%d pixels and %d channels, the first had %dx%d and %d", a->frames, im->width, im->height,
                      im->channels, a->width, a->height, a->channels);
    if (a->format == IMAGE_WEBP && (im->width > WEBP_MAX_SIDE || im->height > WEBP_MAX_SIDE))
        return st_bad(e, "WebP holds at most %d pixels a side, not %dx%d", WEBP_MAX_SIDE, im->width, im->height);
    a->width = im->width, a->height = im->height, a->channels = im->channels;
    a->encoded.size = 0;
    enum status st = image_encode(im, a->format, a->quality, &a->encoded, e);
    if (st == ST_OK)
        st = a->format == IMAGE_WEBP ? webp_add(a, e) : png_add(a, e);
    a->frames += st == ST_OK;
    return st;
}

enum status animation_finish(struct animation *a, struct error *e) {
    if (!a->frames)
        return st_bad(e, "no frames");
    bool webp = a->format == IMAGE_WEBP;
    enum status st = webp ? ST_OK : png_put(a, "IEND", e);
    if (st == ST_OK && fseek(a->f, webp ? 0 : PNG_ACTL, SEEK_SET) != 0)
        st = st_fail(e, "%s", strerror(errno));
    if (st == ST_OK)
        st = webp ? webp_head(a, e) : png_put_count(a, e);
    return st;
}
