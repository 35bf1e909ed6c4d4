/* inception.h - the Inception network of FID: the TensorFlow graph of 2015-12-05, on the engine.
 *
 * Weights are those of inception_weights.h. Batch normalisation (epsilon 0.001) is folded into the convolutions in float64 when they
 * are loaded. Pictures of any size are resized to 299 x 299 and scaled by one of the rules of prepare.h.
 *
 * What differs from the Inception v3 of torchvision: average pools divide by the pixels inside the picture, the last block takes a
 * maximum where the others average, and there are 1,008 classes.
 *
 *     inception_open(&net, path, device, &(struct inception_options){.batch = 8}, &e);
 *     inception_run(net, pictures, n, (struct inception_out){.pool = features});
 *
 * The same in parts, for callers with other work meanwhile: inception_stage sends up to a batch of pictures to the device,
 * inception_start queues the network on what was staged last, inception_finish waits for that and fetches results. The next batch
 * may be staged before finish. On a GPU pictures travel as bytes (49 kB for 128 x 128, not 1.07 MB) and are resized there by two
 * matrix products, as long as a batch's pictures have one size; else, and on the CPU, the host resizes.
 */
#ifndef FACEMILL_INCEPTION_H
#define FACEMILL_INCEPTION_H

#include <stdbool.h>

#include "common/base/hash.h"
#include "common/base/status.h"
#include "common/engine/device.h"
#include "common/engine/graph.h"
#include "common/image/image.h"
#include "common/metrics/inception_weights.h"
#include "common/metrics/prepare.h"

#define INCEPTION_SIDE 299
#define INCEPTION_FEATURES 2048
#define INCEPTION_CLASSES 1008

struct inception;

struct inception_options {
    int batch; /* pictures a run of the graph; smaller calls are padded */
    enum resize_rule resize;
    bool half;           /* activations and convolution weights in float16. On the CPU: rounded to float16 where a GPU would
                            round, computed in float32: slow, for measuring what the rounding does */
    int features;        /* 64, 192 or 768: the network ends where those are, the results behind them cannot be had; 0 = all of it */
    bool device_resize;  /* resize on the device even when that is the CPU: for tests */
};

/* The device must outlive the network. */
enum status inception_open(struct inception **net, const char *path, struct device *d, const struct inception_options *o, struct error *e);
void inception_close(struct inception *net); /* NULL is fine */
const char *inception_hash(const struct inception *net); /* SHA-256 of the weight file, hex; owned by net */
struct program_info inception_info(const struct inception *net);
void inception_profile(struct inception *net, FILE *out);

/* Where results go, NULL = not wanted: [n, 64] after the first and [n, 192] after the second max pool, [n, 768] before the auxiliary
 * classifier (all averaged over the picture), [n, 2048] the final pool that FID uses, [n, 1008] logits without and with bias. */
struct inception_out {
    float *block0, *block1, *block2, *pool, *logits_unbiased, *logits;
};
/* Pictures are RGB. Resizing on the host uses OpenMP threads. */
void inception_run(struct inception *net, const struct image *pictures, int n, struct inception_out out);
void inception_stage(struct inception *net, const struct image *pictures, int n); /* n at most the batch */
void inception_start(struct inception *net);
void inception_finish(struct inception *net, struct inception_out out);
/* Of floats [n, height, width, 3] in 0..255, resized by the same rule: for differences too small for 8 bits. */
void inception_run_float(struct inception *net, const float *pictures, int n, int width, int height, struct inception_out out);

/* The first layers as a judge of likeness, in another's graph and with derivatives: what is seen at 147, 71 and 35 pixels a side (64, 192
 * and 288 channels). */
struct inception_judge;
enum status inception_judge_open(struct inception_judge **j, const char *path, struct device *d, struct error *e);
void inception_judge_close(struct inception_judge *j); /* NULL is fine; programs that were built with it are gone by then */
const char *inception_judge_hash(const struct inception_judge *j);
/* judge: a struct inception_judge. img [N,H,W,1, 3 or 4] in [-1,1], any size, resized as FID does (alpha is not seen), but
 * one size and N for one judge; out: room for three. Returns 3. */
int inception_judge_build(void *judge, struct graph *g, tensor *img, tensor **out);

#endif
