/* quality.h - measures of a face that decide whether it is worth keeping: pose and sharpness. Size is its box. */
#ifndef FACEMILL_QUALITY_H
#define FACEMILL_QUALITY_H

#include "common/face/face.h"
#include "common/image/image.h"

/* Degrees. yaw > 0: the face looks to the picture's right; pitch > 0: down; roll > 0: its eye line falls to the right (clockwise). */
struct face_pose {
    double yaw, pitch, roll;
};

/* Fits a rigid mean face, seen from far away, to the landmarks: eye corners, nose tip, mouth corners and chin of 68 points; the
 * eye corners and the nose's base of dlib's 5; eyes, nose, mouth corners of the other 5. Good to about 5 degrees in yaw within
 * 45; pitch depends on the person's face, is good to about 10, and NAN for dlib's 5 points. false when the points are degenerate. */
bool face_pose(const struct face_landmarks *lm, struct face_pose *pose);

/* Standard deviation of the Laplacian of the grey picture inside the box (the part of it that lies in the picture), 0 when that is
 * under 3x3 pixels. In levels: portraits aligned at 128x128 from as many pixels have 18-33 (5 % to 95 %), the same enlarged
 * twice about a third of that; noise counts as sharpness. Compare only pictures of one size. */
double face_sharpness(const struct image *im, const struct face_box *box);

#endif
