/* animation.h - animated PNG and WebP, written a frame at a time in constant memory: one encoded frame is held, and the head
 * (number of frames, size) is set right at the end, so the file must be seekable.
 *
 *     struct animation *a = animation_create(f, IMAGE_PNG, 24, 1, 90);     // 24 frames a second
 *     animation_add(a, &frame, &e) ...
 *     animation_finish(a, &e);
 *     animation_free(a);
 *
 * Each frame is encoded by itself by the codecs of image.h (libpng, libwebp) and put into its container's chunks here. The
 * containers' libraries would keep every frame until the end, or are not there (Debian's libpng writes no APNG); and frames of a walk
 * through latent space differ everywhere, so there is nothing that storing differences could save. Played for ever.
 */
#ifndef FACEMILL_ANIMATION_H
#define FACEMILL_ANIMATION_H

#include <stdio.h>

#include "common/image/image.h"

struct animation;
/* format is IMAGE_PNG or IMAGE_WEBP; f stays the caller's and must be positioned at 0; fps_num/fps_den frames a second; quality
 * of WebP, 1..100. */
struct animation *animation_create(FILE *f, enum image_format format, int fps_num, int fps_den, int quality);
/* ST_BAD when a frame has another size or number of channels than the first, or does not fit the format; ST_FAIL when writing fails. */
enum status animation_add(struct animation *a, const struct image *im, struct error *e);
/* Writes what the head must say. ST_BAD when there was no frame. Does not close f. */
enum status animation_finish(struct animation *a, struct error *e);
void animation_free(struct animation *a); /* NULL is fine */

#endif
