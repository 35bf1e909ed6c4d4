/* face.h - finding faces and their landmarks: dlib behind C.
 *
 * Models are files: the frontal HOG detector is compiled into dlib; the 68-point predictor is Debian's libdlib-data; the 5-point
 * predictor, the mmod CNN detector and the face embedding come with `make models`. A model that is not there is ST_FAIL with the
 * one line that says which command brings it. Everything takes 8-bit RGB. A face_models is used by one thread at a time; clones
 * share the loaded weights where dlib allows it.
 */
#ifndef FACEMILL_FACE_H
#define FACEMILL_FACE_H

#include "common/base/status.h"
#include "common/image/image.h"

#ifdef __cplusplus
extern "C" {
#endif

#define FACE_MAX 256
#define FACE_EMBEDDING 128

struct face_box {
    double x, y, width, height; /* pixels of the picture given, fractions allowed */
    double score;
};
struct face_landmarks {
    int n;            /* 5 or 68 */
    double xy[68][2]; /* pixels */
};

struct face_models;
enum face_detector { FACE_HOG, FACE_CNN };

/* folder: where the .dat files are, NULL = search $FACEMILL_MODELS, build-time default, ./models, /usr/share/dlib. Models are
 * loaded on first use. */
enum status face_models_open(struct face_models **m, const char *folder, struct error *e);
void face_models_close(struct face_models *m);

/* Faces, best score first; at most FACE_MAX. threshold: HOG score to accept (0 is dlib's default). */
enum status face_detect(struct face_models *m, enum face_detector d, const struct image *im, double threshold,
                        struct face_box *boxes, int *n, struct error *e);
/* n_points: 68 or 5. */
enum status face_find_landmarks(struct face_models *m, const struct image *im, const struct face_box *box, int n_points,
                                struct face_landmarks *lm, struct error *e);
/* dlib's 128-number embedding of an aligned 150x150 RGB picture (the network's own crop). n pictures at once; out [n][128]. */
enum status face_embed(struct face_models *m, const struct image *faces150, int n, float *out, struct error *e);
/* SHA-256 of the embedding's model file, for cache keys. */
enum status face_embed_hash(struct face_models *m, char hex[65], struct error *e);

#ifdef __cplusplus
}
#endif
#endif
