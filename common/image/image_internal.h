/* image_internal.h - what the codecs share with image.c. Each codec has the same three functions:
 *   X_probe   header only; the dispatcher checks sides and pixels against the limits afterwards
 *   X_decode  fresh picture in `channels` (0 = as stored) of a header that was probed and found within the limits
 *   X_encode  appends; channels are already some that the format can hold
 */
#ifndef FACEMILL_IMAGE_INTERNAL_H
#define FACEMILL_IMAGE_INTERNAL_H

#include "common/image/image.h"

enum status jpeg_probe(const uint8_t *b, size_t n, struct image_info *info, struct error *e);
enum status jpeg_decode(const uint8_t *b, size_t n, const struct image_info *info, int channels, int side, struct image *im,
                        struct error *e);
enum status jpeg_encode(const struct image *im, int quality, struct bytes *out, struct error *e);

enum status png_probe(const uint8_t *b, size_t n, struct image_info *info, struct error *e);
enum status png_decode(const uint8_t *b, size_t n, struct image *im, struct error *e);
enum status png_encode(const struct image *im, struct bytes *out, struct error *e);

enum status ppm_probe(const uint8_t *b, size_t n, struct image_info *info, struct error *e);
enum status ppm_decode(const uint8_t *b, size_t n, struct image *im, struct error *e);
void ppm_encode(const struct image *im, struct bytes *out);

enum status webp_probe(const uint8_t *b, size_t n, struct image_info *info, struct error *e);
enum status webp_decode(const uint8_t *b, size_t n, const struct image_info *info, struct image *im, struct error *e);
enum status webp_encode(const struct image *im, int quality, struct bytes *out, struct error *e);

/* The orientation in a TIFF structure (an EXIF block, with or without its "Exif\0\0" head); 1 when absent or invalid. */
int exif_orientation(const uint8_t *b, size_t n);

static inline uint32_t be32(const uint8_t *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }
static inline uint32_t be16(const uint8_t *p) { return (uint32_t)p[0] << 8 | p[1]; }
static inline uint32_t le32(const uint8_t *p) { return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0]; }
static inline uint32_t le16(const uint8_t *p) { return (uint32_t)p[1] << 8 | p[0]; }

#endif
