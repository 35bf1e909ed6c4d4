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

/* What the points mean. Left and right are the picture's. */
enum face_scheme {
    FACE_68, /* iBUG's 68 points, as dlib numbers them: 36-41 left eye, 42-47 right eye, 48 and 54 mouth corners */
    FACE_5,  /* dlib's five: right eye outer and inner corner, left eye outer and inner corner, base of the nose */
    FACE_5M  /* eye centres left and right, nose tip, mouth corners left and right, as MTCNN, RetinaFace and YuNet-like
                detectors give them; never comes from dlib, only from a sample's JSON */
};
struct face_landmarks {
    enum face_scheme scheme;
    int n;            /* 68 or 5 */
    double xy[68][2]; /* pixels; the centre of the first pixel is (0, 0) */
};

struct face_models;
enum face_detector { FACE_HOG, FACE_CNN };

/* folder: where the .dat files are, NULL = search $FACEMILL_MODELS, build-time default, ./models, /usr/share/dlib. Models are
 * loaded on first use. */
enum status face_models_open(struct face_models **m, const char *folder, struct error *e);
/* For another thread: shares what is loaded (the 68-point predictor is 100 MB), copies what a call changes (the detectors and
 * the embedding network). Each is closed on its own, in any order. */
enum status face_models_clone(struct face_models **copy, struct face_models *m, struct error *e);
/* Reads now what the first calls would read: the detector and the n_points (0 = none) predictor. To fail before any work. */
enum status face_models_load(struct face_models *m, enum face_detector d, int n_points, struct error *e);
void face_models_close(struct face_models *m); /* NULL is fine */

/* Faces, best score first; at most FACE_MAX (boxes has that room). threshold: score to accept (0 is dlib's default, lower
 * finds more). The HOG detector's smallest face is about 80 pixels across, the CNN's 40-80: enlarge the picture for less. */
enum status face_detect(struct face_models *m, enum face_detector d, const struct image *im, double threshold,
                        struct face_box *boxes, int *n, struct error *e);
/* n_points: 68 or 5. */
enum status face_find_landmarks(struct face_models *m, const struct image *im, const struct face_box *box, int n_points,
                                struct face_landmarks *lm, struct error *e);
/* dlib's 128-number embedding of an aligned 150x150 RGB picture (the network's own crop). n pictures at once; out [n][128]. */
enum status face_embed(struct face_models *m, const struct image *faces150, int n, float *out, struct error *e);
/* The same of floats [n][150][150][3] in 0..255: for differences too small for 8 bits. */
enum status face_embed_float(struct face_models *m, const float *faces150, int n, float *out, struct error *e);
/* SHA-256 of the embedding's model file, for cache keys. */
enum status face_embed_hash(struct face_models *m, char hex[65], struct error *e);

#ifdef __cplusplus
}
#endif
#endif
