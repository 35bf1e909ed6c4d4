/* inception.h - the Inception network of FID: the TensorFlow graph of 2015-12-05, on the engine.
 *
 * Weights are a file of the published PyTorch state dictionary (names "Conv2d_1a_3x3.conv.weight", "Mixed_5b.branch1x1.bn.bias" ...):
 * pt_inception-2015-12-05-6726825d.pth as it is, or safetensors with the same names. Batch normalisation (epsilon 0.001) is folded into
 * the convolutions in float64 when they are loaded.
 *
 * Pictures of any size are resized to 299 x 299 as TensorFlow 1 did: bilinear, without antialiasing, source position = target position *
 * in/out; then (x - 128)/128.
 *
 * What differs from the Inception v3 of torchvision: average pools divide by the pixels inside the picture, the last block takes a
 * maximum where the others average, and there are 1,008 classes.
 *
 *     inception_open(&net, path, device, 8, &e);
 *     inception_run(net, pictures, n, (struct inception_out){.pool = features});
 */
#ifndef FACEMILL_INCEPTION_H
#define FACEMILL_INCEPTION_H

#include <stdbool.h>

#include "common/base/hash.h"
#include "common/base/status.h"
#include "common/engine/device.h"
#include "common/engine/graph.h"
#include "common/image/image.h"

#define INCEPTION_SIDE 299
#define INCEPTION_FEATURES 2048
#define INCEPTION_CLASSES 1008
#define INCEPTION_PREPROCESSING "bilinear to 299x299 as TensorFlow 1, (x-128)/128"

struct inception;

/* Where the weights are: `given` (--inception) or $FACEMILL_INCEPTION when set, else the published name (or the same name ending in
 * .safetensors) in $FACEMILL_MODELS, ./models or the installed models. ST_FAIL with one line that says what is missing and where it
 * is published. */
enum status inception_find(const char *given, char *path, size_t room, struct error *e);

/* The device must outlive the network. batch: pictures a run of the graph; smaller calls are padded. */
enum status inception_open(struct inception **net, const char *path, struct device *d, int batch, struct error *e);
void inception_close(struct inception *net); /* NULL is fine */
const char *inception_hash(const struct inception *net); /* SHA-256 of the weight file, hex; owned by net */
int inception_batch(const struct inception *net);
struct program_info inception_info(const struct inception *net);
void inception_profile(struct inception *net, FILE *out);

/* Where results go, NULL = not wanted: [n, 64] after the first and [n, 192] after the second max pool, [n, 768] before the auxiliary
 * classifier (all averaged over the picture), [n, 2048] the final pool that FID uses, [n, 1008] logits without and with bias. */
struct inception_out {
    float *block0, *block1, *block2, *pool, *logits_unbiased, *logits;
};
/* Pictures are RGB. Resizing uses OpenMP threads. */
void inception_run(struct inception *net, const struct image *pictures, int n, struct inception_out out);

/* The first layers as a judge of likeness, in another's graph and with derivatives: what is seen at 147, 71 and 35 pixels a side (64, 192
 * and 288 channels). */
struct inception_judge;
enum status inception_judge_open(struct inception_judge **j, const char *path, struct device *d, struct error *e);
void inception_judge_close(struct inception_judge *j); /* NULL is fine; programs that were built with it are gone by then */
const char *inception_judge_hash(const struct inception_judge *j);
/* judge: a struct inception_judge. img [N,H,W,1, 3 or 4] in [-1,1], any size, resized as FID does (alpha is not seen), but
 * one size and N for one judge; out: room for three. Returns 3. */
int inception_judge_build(void *judge, struct graph *g, tensor *img, tensor **out);

/* The resize and scaling alone: out [299, 299, 3]. */
void inception_preprocess(const struct image *picture, float *out);

#endif
