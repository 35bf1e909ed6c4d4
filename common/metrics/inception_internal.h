/* inception_internal.h - what inception.c and inception_judge.c share: weights from a file, and the layers made of them. */
#ifndef FACEMILL_INCEPTION_INTERNAL_H
#define FACEMILL_INCEPTION_INTERNAL_H

#include "common/engine/graph.h"
#include "common/metrics/inception.h"

#define INCEPTION_MAX_BUFFERS 256
struct inception__builder {
    struct inception *net; /* inception.c alone */
    struct device *device;
    struct graph *g;
    struct inception_weights *weights;
    struct buffer **buffers; /* [INCEPTION_MAX_BUFFERS]: made at the first building, used again at the next */
    int *n_buffers, next;
    bool half, emulated;     /* convolutions in float16; emulated: rounded so, but computed in float32, where there are none */
    bool differentiable;     /* pools made of operations that have derivatives; they are slower */
    struct error *e;
    bool failed;             /* a weight was missing; shapes go on being right, nothing is run */
};
tensor *inception__weight(struct inception__builder *b, const float *data, const char *name, int ndim, const int64_t *dim);
tensor *inception__conv(struct inception__builder *b, tensor *x, const char *name, int K, int stride, bool same);
tensor *inception__mixed5(struct inception__builder *b, tensor *x, const char *name, int pool); /* 35 x 35 */
/* 3x3: maximum with stride 2; mean with stride 1 and padding, over the pixels inside. With derivatives. */
tensor *inception__soft_maxpool(struct inception__builder *b, tensor *x);
tensor *inception__soft_avgpool(struct inception__builder *b, tensor *x);

#endif
