/* ffhq.h - the oriented face crop of the FFHQ dataset: where it lies and how it is cut.
 *
 *     struct ffhq_anchors a; struct ffhq_quad q; struct image crop;
 *     ffhq_anchors(&landmarks, &a);
 *     ffhq_quad(&a, true, 1.0, &q);
 *     if (ffhq_quad_check(&q, picture.width, picture.height, &e) == ST_OK)
 *         ffhq_cut(&picture, 8, &q, 256, true, &crop);          // 8: the picture is at 8/8 of the coordinates' scale
 *
 * Coordinates are pixels of the upright picture at full resolution; the centre of its first pixel is (0, 0).
 *
 * Five points instead of 68. FACE_5M holds eyes and mouth corners and needs no estimate. dlib's five (FACE_5) have eye corners
 * and the base of the nose but no mouth; the mouth is then taken to lie on the line that the nose continues: with n the vector
 * from between the eyes to the nose, split into its part across the eye line and its part along it, and d the distance between
 * the eyes, mouth = eye midpoint + FFHQ_ACROSS*n_across + FFHQ_ALONG*n_along + FFHQ_DOWN*d downwards. The constants were fitted
 * to the 68-point crops of 1,400 portraits; face-align(1) gives the difference that remains.
 */
#ifndef FACEMILL_FFHQ_H
#define FACEMILL_FFHQ_H

#include "common/base/status.h"
#include "common/face/face.h"
#include "common/image/image.h"

#define FFHQ_ACROSS 0.571
#define FFHQ_ALONG 0.083
#define FFHQ_DOWN 0.570

struct ffhq_anchors {
    double left_eye[2], right_eye[2], mouth[2]; /* eye centres, middle between the mouth corners; left is the picture's */
};

struct ffhq_quad {
    double corner[4][2]; /* top left, bottom left, bottom right, top right of the crop, in the source */
    double size;         /* side in source pixels */
};

void ffhq_anchors(const struct face_landmarks *lm, struct ffhq_anchors *a);

/* rotate false: the square stays upright. scale 1 is FFHQ's; 1.2 takes in a fifth more on every axis. */
void ffhq_quad(const struct ffhq_anchors *a, bool rotate, double scale, struct ffhq_quad *q);

/* ST_BAD when the quad is not one to cut: not finite, under 4 pixels, over 8 times the picture, or wholly outside it. */
enum status ffhq_quad_check(const struct ffhq_quad *q, int width, int height, struct error *e);

/* The smallest eighth (1..8) at which a decoded picture still holds twice the pixels of the crop, so that cutting from it
 * loses nothing against cutting from the full picture: FFHQ itself shrinks to no less. */
int ffhq_eighths(const struct ffhq_quad *q, int size);

/* Cuts the crop out of im (1, 3 or 4 channels), which is the full picture scaled by eighths/8 (a JPEG decoded at a DCT scale;
 * 8 = the full picture), into a fresh size x size picture. What lies outside the source is filled as FFHQ does (mirrored, faded
 * into a blur and the median colour) with `padding`, else black. Agrees with the published script within rounding. */
void ffhq_cut(const struct image *im, int eighths, const struct ffhq_quad *q, int size, bool padding, struct image *out);

/* Source point -> point of the size x size crop, both with pixel centres at whole numbers. */
void ffhq_to_crop(const struct ffhq_quad *q, int size, const double source[2], double crop[2]);

#endif
