/* codec_jpeg.c - JPEG by TurboJPEG (libjpeg-turbo 2.1), and the scan of its markers that finds size and EXIF.
 *
 * A handle costs more to make than a 128x128 picture to decode, so each thread keeps one of either kind until it ends.
 * TurboJPEG reports a truncated file as a mere warning and fills the rest with grey: here warnings are judged. Data that
 * ends early or cannot be decoded is ST_BAD; oddities that leave all pixels right (bytes between markers, unknown JFIF
 * revision) are not. Measured on one core of an EPYC: 225x275 to RGB 0.18 ms, 128x128 0.06 ms; encoding 128x128 0.09 ms;
 * a smooth 4000x3000 38 ms whole, 15 ms at 1/4, 24 at 1/2, but 58 to 82 ms at 5/8 to 7/8.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <turbojpeg.h>

#include "common/image/image_internal.h"

struct markers {
    int width, height, components, bits;
    bool frame;          /* SOF seen */
    bool supported;      /* baseline, extended or progressive */
    int orientation;
    size_t scan;         /* offset of the first SOS, 0 when there is none */
};

/* Walks the markers up to the first scan; every length is checked against the end. */
static void scan_markers(const uint8_t *b, size_t n, struct markers *m) {
    *m = (struct markers){.orientation = 1};
    bool exif = false;
    size_t at = 2;
    while (at + 4 <= n) {
        if (b[at] != 0xff) { /* libjpeg skips to the next marker, so do we */
            at++;
            continue;
        }
        uint8_t marker = b[at + 1];
        if (marker == 0xff || marker == 0 || marker == 0x01 || (marker >= 0xd0 && marker <= 0xd8)) {
            at += marker == 0xff ? 1 : 2; /* fill byte, stuffing, or a marker without length */
            continue;
        }
        if (marker == 0xd9)
            return;
        size_t length = be16(b + at + 2);
        if (length < 2 || length > n - at - 2)
            return;
        const uint8_t *p = b + at + 4;
        size_t size = length - 2;
        if (marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc && !m->frame && size >= 6) {
            m->frame = true;
            m->supported = marker <= 0xc2 || marker == 0xc9 || marker == 0xca; /* the latter two are arithmetic coding */
            m->bits = p[0];
            m->height = (int)be16(p + 1);
            m->width = (int)be16(p + 3);
            m->components = p[5];
        } else if (marker == 0xe1 && size > 6 && !exif && !memcmp(p, "Exif\0\0", 6)) {
            exif = true;
            m->orientation = exif_orientation(p, size);
        } else if (marker == 0xda) {
            m->scan = at;
            return;
        }
        at += 2 + length;
    }
}

enum status jpeg_probe(const uint8_t *b, size_t n, struct image_info *info, struct error *e) {
    struct markers m;
    scan_markers(b, n, &m);
    if (!m.frame)
        return st_bad(e, "truncated or damaged JPEG: no frame header in %zu bytes", n);
    if (!m.supported || m.bits != 8)
        return st_bad(e, "JPEG of a kind that is not read (%d bits a sample%s)", m.bits, m.supported ? "" : ", lossless or hierarchical");
    if (m.components != 1 && m.components != 3 && m.components != 4)
        return st_bad(e, "JPEG with %d components", m.components);
    info->width = m.width;
    info->height = m.height;
    info->channels = m.components == 1 ? 1 : 3;
    info->bits = 8;
    info->orientation = m.orientation;
    return ST_OK;
}

/* ---- one handle of either kind a thread ---- */

static _Thread_local struct handles {
    tjhandle decoder, encoder;
    bool kept; /* known to the key below */
} handles;
static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void free_handles(void *p) {
    struct handles *h = p;
    if (h->decoder)
        tjDestroy(h->decoder);
    if (h->encoder)
        tjDestroy(h->encoder);
    *h = (struct handles){0};
}

static void free_main_handles(void) { free_handles(&handles); }

static void make_key(void) {
    pthread_key_create(&key, free_handles); /* runs when a thread ends, except the one that returns from main */
    atexit(free_main_handles);
}

static tjhandle handle(bool encoder) {
    if (!handles.kept) {
        pthread_once(&once, make_key);
        pthread_setspecific(key, &handles);
        handles.kept = true;
    }
    tjhandle *h = encoder ? &handles.encoder : &handles.decoder;
    if (!*h)
        *h = encoder ? tjInitCompress() : tjInitDecompress();
    return *h;
}

/* ---- decoding ---- */

/* What a warning of the decoder means: NULL = all pixels are right. */
static const char *judge_warning(const char *text, const uint8_t *b, size_t n) {
    if (strcasestr(text, "premature end"))
        return "truncated JPEG";
    if (strcasestr(text, "corrupt") && !strcasestr(text, "extraneous"))
        return "damaged JPEG";
    /* Only the first warning's text is kept; a file that also lacks its end mark was cut. */
    struct markers m;
    scan_markers(b, n, &m);
    for (size_t i = n; i >= m.scan + 2; i--)
        if (b[i - 1] == 0xd9 && b[i - 2] == 0xff)
            return NULL;
    return "truncated JPEG";
}

/* (255-c)*(255-k)/255, rounded as Pillow does it: white is what black leaves, and colour takes its share of that. */
static inline uint8_t ink(uint8_t c, uint8_t k) {
    unsigned white = 255u - k, t = c * white + 128;
    return (uint8_t)(white - (((t >> 8) + t) >> 8));
}

/* CMYK in a JPEG stands inverted (255 = no ink), as Adobe began it and Pillow and the browsers take it, marked or not. */
static void cmyk_to_rgb(const uint8_t *in, uint8_t *out, size_t n) {
    for (size_t i = 0; i < n; i++, in += 4, out += 3) {
        uint8_t k = in[3] ^ 255;
        for (int c = 0; c < 3; c++)
            out[c] = ink(in[c] ^ 255, k);
    }
}

static int scaled(int size, int eighths) { return (size * eighths + 7) / 8; }

enum status jpeg_decode(const uint8_t *b, size_t n, const struct image_info *info, int channels, int side, struct image *im,
                        struct error *e) {
    tjhandle h = handle(false);
    if (!h)
        return st_fail(e, "TurboJPEG: %s", tjGetErrorStr2(NULL));
    int eighths = 8, longer = info->width > info->height ? info->width : info->height;
    static const int scales[] = {1, 2, 3, 4}; /* 5/8 to 7/8 have no SIMD code and take twice as long as 8/8 */
    for (int i = 0; side > 0 && eighths == 8 && i < 4; i++)
        if (scaled(longer, scales[i]) >= side)
            eighths = scales[i];
    struct markers m;
    scan_markers(b, n, &m);
    bool cmyk = m.components == 4;
    int want = channels ? channels : info->channels;
    struct image got = {0};
    image_alloc(&got, scaled(info->width, eighths), scaled(info->height, eighths), cmyk ? 4 : want);
    int format = cmyk ? TJPF_CMYK : want == 1 ? TJPF_GRAY : want == 3 ? TJPF_RGB : TJPF_RGBA;
    int failed = tjDecompress2(h, b, (unsigned long)n, got.data, got.width, 0, got.height, format, TJFLAG_LIMITSCANS);
    if (failed) {
        const char *text = tjGetErrorStr2(h);
        const char *what = tjGetErrorCode(h) == TJERR_WARNING ? judge_warning(text, b, n) : "damaged JPEG";
        if (what) {
            image_free(&got);
            return st_bad(e, "%s (%s)", what, text);
        }
    }
    if (cmyk) {
        struct image rgb = {0};
        image_alloc(&rgb, got.width, got.height, 3);
        cmyk_to_rgb(got.data, rgb.data, (size_t)got.width * (size_t)got.height);
        image_free(&got);
        got = rgb;
        image_to_channels(&got, want);
    }
    *im = got;
    return ST_OK;
}

/* ---- encoding ---- */

enum status jpeg_encode(const struct image *im, int quality, struct bytes *out, struct error *e) {
    tjhandle h = handle(true);
    if (!h)
        return st_fail(e, "TurboJPEG: %s", tjGetErrorStr2(NULL));
    int subsampling = im->channels == 1 ? TJSAMP_GRAY : quality >= 90 ? TJSAMP_444 : TJSAMP_420;
    unsigned long most = tjBufSize(im->width, im->height, subsampling), size = most;
    if (most == (unsigned long)-1)
        return st_bad(e, "JPEG: %s", tjGetErrorStr2(NULL));
    bytes_reserve(out, out->size + most);
    uint8_t *place = out->data + out->size;
    if (tjCompress2(h, im->data, im->width, 0, im->height, im->channels == 1 ? TJPF_GRAY : TJPF_RGB, &place, &size, subsampling,
                    quality, TJFLAG_NOREALLOC | TJFLAG_ACCURATEDCT))
        return st_bad(e, "encode JPEG: %s", tjGetErrorStr2(h));
    out->size += size;
    return ST_OK;
}
