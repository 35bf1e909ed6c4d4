/* align.h - one encoded picture in, its aligned faces out: decode, detect, landmarks, FFHQ crop.
 *
 * Two coordinate systems. "Source": pixels of the upright picture (EXIF orientation applied) at full resolution. "Crop": pixels
 * of the aligned picture. In both the centre of the first pixel is (0, 0).
 */
#ifndef FACEMILL_ALIGN_H
#define FACEMILL_ALIGN_H

#include "common/face/face.h"
#include "common/face/ffhq.h"
#include "common/image/image.h"

#define ALIGN_DETECT_SIZE 800 /* longer side of the picture that is searched first, unless it is smaller */

/* A box with a lower score is not taken for the largest face while there is a better one: of 1,434 portraits none scores below
 * 0.17, and what is found besides (a knot of a tie, a patch on a suit) mostly below 0.1. */
#define ALIGN_DOUBTFUL 0.15

enum align_faces { ALIGN_LARGEST, ALIGN_ALL, ALIGN_FIRST };

struct align_options {
    int size; /* side of the crop in pixels */
    enum align_faces faces;
    enum face_detector detector;
    int points;      /* 68 or 5 from dlib, 0: given */
    int detect_size; /* longer side of the picture that is searched; 0: min(ALIGN_DETECT_SIZE, the picture's), and twice that
                        when nothing is found */
    double threshold;
    double scale; /* of the crop; 1 = FFHQ */
    bool rotate, padding;
};

struct aligned_face {
    struct face_box box;             /* source */
    struct face_landmarks landmarks; /* source */
    struct ffhq_quad quad;           /* source */
    struct image crop;               /* RGB, size x size */
};

struct aligned {
    struct image_info info;
    int width, height; /* of the source, upright */
    int detect_size;   /* longer side of the picture in which the faces were found, 0 = none was searched */
    int cut_eighths;   /* DCT scale of the picture that was cut, in eighths */
    int n;             /* faces, best or largest first */
    struct aligned_face *face; /* owned */
};

/* ST_BAD: not decodable, no face, or no usable crop (faces of `all` that give none are left out when another does). given: the
 * landmarks in source coordinates when options->points is 0. *a is {0} unless ST_OK. models may be NULL when given is used. */
enum status align_picture(struct face_models *models, const struct align_options *options, const void *bytes, size_t size,
                          const struct face_landmarks *given, struct aligned *a, struct error *e);
void aligned_free(struct aligned *a); /* leaves {0} */

#endif
