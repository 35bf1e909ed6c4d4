/* codec_webp.c - WebP by libwebp; animations give their first frame as the demuxer's animation decoder shows it. */
#include <stdlib.h>
#include <string.h>

#include <webp/decode.h>
#include <webp/demux.h>
#include <webp/encode.h>

#include "common/image/image_internal.h"

/* The orientation in the EXIF chunk of the RIFF container. */
static int orientation(const uint8_t *b, size_t n) {
    for (size_t at = 12; at + 8 <= n;) {
        size_t size = le32(b + at + 4);
        if (size > n - at - 8)
            break;
        if (!memcmp(b + at, "EXIF", 4))
            return exif_orientation(b + at + 8, size);
        at += 8 + size + (size & 1);
    }
    return 1;
}

enum status webp_probe(const uint8_t *b, size_t n, struct image_info *info, struct error *e) {
    WebPBitstreamFeatures f;
    VP8StatusCode code = WebPGetFeatures(b, n, &f);
    if (code != VP8_STATUS_OK)
        return st_bad(e, code == VP8_STATUS_NOT_ENOUGH_DATA ? "truncated WebP: no header in %zu bytes" : "damaged WebP header (%zu bytes)",
                      n);
    info->width = f.width;
    info->height = f.height;
    info->channels = f.has_alpha || f.has_animation ? 4 : 3;
    info->bits = 8;
    info->animated = f.has_animation;
    info->orientation = orientation(b, n);
    return ST_OK;
}

static enum status decode_first_frame(const uint8_t *b, size_t n, struct image *im, struct error *e) {
    WebPAnimDecoderOptions options;
    if (!WebPAnimDecoderOptionsInit(&options))
        return st_fail(e, "libwebpdemux does not fit its header");
    options.color_mode = MODE_RGBA;
    WebPData data = {b, n};
    WebPAnimDecoder *decoder = WebPAnimDecoderNew(&data, &options);
    WebPAnimInfo info;
    uint8_t *frame;
    int time;
    enum status st = ST_OK;
    if (!decoder || !WebPAnimDecoderGetInfo(decoder, &info) || !WebPAnimDecoderGetNext(decoder, &frame, &time)) {
        st = st_bad(e, "truncated or damaged animated WebP: the first frame cannot be decoded");
    } else {
        image_alloc(im, (int)info.canvas_width, (int)info.canvas_height, 4);
        memcpy(im->data, frame, (size_t)im->width * (size_t)im->height * 4);
    }
    WebPAnimDecoderDelete(decoder);
    return st;
}

enum status webp_decode(const uint8_t *b, size_t n, const struct image_info *info, struct image *im, struct error *e) {
    if (info->animated)
        return decode_first_frame(b, n, im, e);
    struct image got = {0};
    image_alloc(&got, info->width, info->height, info->channels);
    WebPDecoderConfig config;
    if (!WebPInitDecoderConfig(&config)) {
        image_free(&got);
        return st_fail(e, "libwebp does not fit its header");
    }
    config.output.colorspace = got.channels == 4 ? MODE_RGBA : MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA.rgba = got.data;
    config.output.u.RGBA.stride = got.width * got.channels;
    config.output.u.RGBA.size = (size_t)got.width * (size_t)got.height * (size_t)got.channels;
    VP8StatusCode code = WebPDecode(b, n, &config);
    WebPFreeDecBuffer(&config.output);
    if (code != VP8_STATUS_OK) {
        image_free(&got);
        return st_bad(e, code == VP8_STATUS_NOT_ENOUGH_DATA || code == VP8_STATUS_SUSPENDED ? "truncated WebP" : "damaged WebP");
    }
    *im = got;
    return ST_OK;
}

enum status webp_encode(const struct image *im, int quality, struct bytes *out, struct error *e) {
    if (im->width > WEBP_MAX_DIMENSION || im->height > WEBP_MAX_DIMENSION)
        return st_bad(e, "WebP holds at most %d pixels a side, not %dx%d", WEBP_MAX_DIMENSION, im->width, im->height);
    uint8_t *encoded = NULL;
    size_t size = im->channels == 4
                      ? WebPEncodeRGBA(im->data, im->width, im->height, im->width * 4, (float)quality, &encoded)
                      : WebPEncodeRGB(im->data, im->width, im->height, im->width * 3, (float)quality, &encoded);
    if (!size)
        return st_bad(e, "encode WebP: failed");
    bytes_append(out, encoded, size);
    WebPFree(encoded);
    return ST_OK;
}
