/* extractor.h - what turns pictures into feature vectors, behind one face.
 *
 * inception   2,048 numbers a picture and 1,008 logits; see inception.h.
 *             inception-64, -192 and -768: what it sees earlier, averaged over the picture, and no logits.
 * dlib-face   the 128 numbers of dlib's face recognition network, for pictures aligned as FFHQ is. That network takes a 150 x 150
 *             cut of its own geometry; in an FFHQ-aligned picture it is always the same rectangle, so no face is searched. It sees
 *             faces and little else: hair, background and texture hardly count.
 * FILE        a checkpoint of ours: the last hidden layer of its discriminator, on pictures resized to its resolution.
 *
 *     extractor_run(x, pictures, n, features, logits, &e);
 *
 * or in parts, so that a GPU works while the caller does: stage (sends up to a batch), start (queues), finish (waits, fetches). The next
 * batch may be staged between start and finish; pictures must stay until their finish.
 */
#ifndef FACEMILL_EXTRACTOR_H
#define FACEMILL_EXTRACTOR_H

#include <stdbool.h>

#include "common/base/status.h"
#include "common/engine/device.h"
#include "common/image/image.h"
#include "common/metrics/prepare.h"

struct extractor;

int extractor_inception_dim(const char *features); /* of "inception", "inception-64" ...: 2048, 64 ...; 0: of others */

struct extractor_options {
    const char *features; /* "inception", "inception-64" ..., "dlib-face", or a file */
    const char *weights;  /* Inception's weight file, NULL = look for it (inception_find) */
    const char *device;   /* "cpu", "cuda", "auto"; dlib-face always runs on the CPU */
    enum resize_rule resize; /* not of dlib-face */
    bool no_graph;        /* launch a GPU's kernels one by one */
    bool fp32;            /* no 16-bit convolutions on a GPU; the CPU has none */
    int threads;          /* at least 1 */
    int batch;            /* 0 = what suits the device */
};

enum status extractor_open(struct extractor **x, const struct extractor_options *o, struct error *e);
void extractor_close(struct extractor *x); /* NULL is fine */

const char *extractor_name(const struct extractor *x);          /* "inception", "inception-64" ..., "dlib-face", "discriminator" */
int extractor_dim(const struct extractor *x);
int extractor_classes(const struct extractor *x);               /* 0: no logits */
int extractor_batch(const struct extractor *x);                 /* pictures to give at once */
const char *extractor_hash(const struct extractor *x);          /* SHA-256 of the weight file; owned by x, as are these: */
const char *extractor_preprocessing(const struct extractor *x);
const char *extractor_precision(const struct extractor *x);     /* "float32", "float16", "bfloat16": of the convolutions */
const char *extractor_device(const struct extractor *x);

/* pictures: RGB, any size, n at most the batch. features [n, dim]; logits (without bias) [n, classes] or NULL. */
enum status extractor_run(struct extractor *x, const struct image *pictures, int n, float *features, float *logits, struct error *e);
void extractor_stage(struct extractor *x, const struct image *pictures, int n);
void extractor_start(struct extractor *x);
enum status extractor_finish(struct extractor *x, float *features, float *logits, struct error *e);
/* Of floats [n, height, width, 3] in 0..255. */
enum status extractor_run_float(struct extractor *x, const float *pictures, int n, int width, int height, float *features, struct error *e);

/* Where dlib's face chip lies in a picture with FFHQ's geometry: shares of its width and height, {left, top, right, bottom}. */
void extractor_face_rectangle(double box[4]);

#endif
