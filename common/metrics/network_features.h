/* network_features.h - the last hidden layer of a checkpoint's discriminator as features of pictures. What a discriminator has
 * learnt to look at is particular to its training: such a distance compares only with itself. */
#ifndef FACEMILL_NETWORK_FEATURES_H
#define FACEMILL_NETWORK_FEATURES_H

#include <stdbool.h>

#include "common/base/hash.h"
#include "common/base/status.h"
#include "common/engine/device.h"
#include "common/image/image.h"
#include "common/metrics/prepare.h"

struct network_features;

/* The device must outlive it. half: 16-bit convolutions, not on the CPU. */
enum status network_features_open(struct network_features **f, const char *path, struct device *d, int batch, enum resize_rule rule,
                                  bool half, struct error *e);
void network_features_close(struct network_features *f); /* NULL is fine */
int network_features_dim(const struct network_features *f);
const char *network_features_hash(const struct network_features *f);
const struct prepare *network_features_prepare(const struct network_features *f);

/* pictures RGB, n at most the batch; parts as in extractor.h. out [n, dim]. */
void network_features_stage(struct network_features *f, const struct image *pictures, int n);
void network_features_stage_float(struct network_features *f, const float *pictures, int n, int width, int height);
void network_features_start(struct network_features *f);
void network_features_finish(struct network_features *f, float *out);

#endif
