/* image.h - 8-bit pictures in memory, and the codecs that make and read them.
 *
 * Pixels are interleaved, row by row from the top, without padding: data[(y*width + x)*channels + c]. Channels: 1 grey,
 * 3 RGB, 4 RGBA (not premultiplied). Everything that leaves a decoder is 8-bit sRGB: 16-bit samples keep their high byte
 * (rounded), CMYK and YCCK are converted, palettes are expanded, animations give their first frame with a note.
 */
#ifndef FACEMILL_IMAGE_H
#define FACEMILL_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/mem.h"
#include "common/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define IMAGE_MAX_SIDE 65500            /* the JPEG limit; larger claims are refused before any allocation */
#define IMAGE_MAX_PIXELS (1LL << 28)    /* 268 megapixels: 805 MB as RGB */
#define IMAGE_MAX_FILE ((size_t)1 << 30) /* encoded bytes of one picture */

struct image {
    int width, height, channels;
    uint8_t *data; /* owned: width*height*channels bytes */
};

/* Fills *im with fresh uninitialised pixels. Sizes must be within the limits above (asserted). */
void image_alloc(struct image *im, int width, int height, int channels);
void image_free(struct image *im); /* leaves {0}; a {0} image is fine */
void image_copy(struct image *to, const struct image *from);

enum image_format { IMAGE_UNKNOWN, IMAGE_JPEG, IMAGE_PNG, IMAGE_PPM, IMAGE_WEBP };

/* By magic bytes, never by name. */
enum image_format image_detect(const void *bytes, size_t size);
extern const char *const image_suffixes[]; /* ".jpg" ..., NULL at the end: of the files that are taken out of folders */
enum image_format image_format_by_name(const char *name); /* "jpg" "jpeg" "png" "ppm" "pgm" "pnm" "webp" (any case), with or without path */
const char *image_format_name(enum image_format f);       /* "jpg" "png" "ppm" "webp"; member suffix in streams */

struct image_info {
    enum image_format format;
    int width, height, channels; /* as stored: before EXIF rotation; channels as the decoder will deliver */
    int bits;                    /* per sample in the file */
    int orientation;             /* EXIF 1..8; 1 when absent or invalid */
    bool animated;               /* more than one frame; decoders deliver the first */
};

/* What bytes that are none of these look like, for messages: "a GIF picture", "HTML text", "a PDF document", "unknown data". */
const char *image_looks_like(const void *bytes, size_t size);

/* Reads the header only. ST_BAD when it is no picture we read, broken, or over the limits. */
enum status image_probe(const void *bytes, size_t size, struct image_info *info, struct error *e);

/* Decodes to `channels` (1, 3, 4, or 0 = as stored; grey with alpha is stored as 4), converted as image_to_channels does, except
 * that a JPEG's own luma is its grey. Does not apply the EXIF orientation (image_orient does). A truncated JPEG or PNG is ST_BAD. *im is
 * fresh on ST_OK and {0} otherwise. */
enum status image_decode(const void *bytes, size_t size, int channels, struct image *im, struct error *e);

/* The two together: probes, decodes and turns upright. *info (may be NULL) is of the picture as stored. */
enum status image_decode_upright(const void *bytes, size_t size, int channels, struct image *im, struct image_info *info, struct error *e);

/* JPEG only: decodes at the smallest of the scales 1/8 1/4 3/8 1/2 1 whose longer side is at least `side` pixels (the DCT does
 * the shrinking; the scales between 1/2 and 1 are slower than the whole and left out). For other formats and when side <= 0
 * the full picture. *scale (may be NULL) gets decoded width / full width. */
enum status image_decode_scaled(const void *bytes, size_t size, int channels, int side, struct image *im, double *scale,
                                struct error *e);

/* Rotates and flips so that an EXIF orientation of 1..8 becomes upright. In place of the old pixels. */
void image_orient(struct image *im, int orientation);

/* 1<->3<->4: grey is 0.299 R + 0.587 G + 0.114 B rounded; alpha added is 255; alpha dropped is composited over white. */
void image_to_channels(struct image *im, int channels);

void image_flip_horizontal(struct image *im);
/* Copies the rectangle; parts outside the picture are black. */
void image_crop(const struct image *im, int x, int y, int width, int height, struct image *out);

/* Appends the encoded picture to *out. quality: JPEG and WebP 1..100 (95 = 4:4:4 from 90 on); PNG compression is level 6. */
enum status image_encode(const struct image *im, enum image_format format, int quality, struct bytes *out, struct error *e);

/* Whole file in memory (limit IMAGE_MAX_FILE); ST_BAD when it cannot be read, with the reason. */
enum status file_read(const char *path, size_t limit, struct bytes *out, struct error *e);
/* Writes to PATH.tmp-PID, flushes to disk, renames: the name holds the whole old or the whole new content. */
enum status file_write_atomic(const char *path, const void *data, size_t size, struct error *e);
/* The same; sync false leaves out the flush to disk: whole after a kill, not after a power cut. For folders of many pictures. */
enum status file_write_renamed(const char *path, const void *data, size_t size, bool sync, struct error *e);

/* Resampling: separable, support scaled by the shrink factor (antialiased); the 8-bit arithmetic gives Pillow's results.
 * Filters: box, bilinear (triangle), bicubic (a = -0.5), lanczos (a = 3). */
enum image_filter { FILTER_LANCZOS, FILTER_BICUBIC, FILTER_BILINEAR, FILTER_BOX };
#define IMAGE_FILTERS "lanczos|bicubic|bilinear|box" /* in enum order, for CLI_CHOICE */
const char *image_filter_name(enum image_filter filter); /* "lanczos"; static */
void image_resize(const struct image *im, int width, int height, enum image_filter filter, struct image *out);
/* Of the box (x0, y0)-(x1, y1) in pixels, fractions allowed, inside the picture. */
void image_resize_box(const struct image *im, double x0, double y0, double x1, double y1, int width, int height,
                      enum image_filter filter, struct image *out);

/* Peak signal-to-noise ratio of n 8-bit values in dB; 99 where they are all alike. */
double image_psnr(const uint8_t *x, const uint8_t *y, int64_t n);

/* A grid of equal tiles (all width x height x channels alike) in rows of `columns`, without gaps. */
void image_grid(const struct image *tiles, int n, int columns, struct image *out);

#ifdef __cplusplus
}
#endif
#endif
