/* conv_choice.h - which cuDNN algorithm serves a convolution: measured once, remembered in memory and on disk.
 *
 * The file is $XDG_CACHE_HOME/facemill/cudnn-VERSION-DEVICE.txt (~/.cache by default), one line a convolution; it is rewritten under
 * a temporary name and renamed. Where it cannot be read or written the choice is measured at every start, which is all that is lost.
 */
#ifndef FACEMILL_CONV_CHOICE_H
#define FACEMILL_CONV_CHOICE_H

#include "kernels/cuda.h"

/* What an algorithm may use. In 16 bit implicit products need a few megabytes; in float32 cuDNN changes layouts, and needs room for
 * copies of the pictures. */
static inline size_t conv_workspace(enum dtype d) { return (size_t)(d == DT_F32 ? 4096 : 256) << 20; }

struct conv_choice {
    int algo, math; /* of the plain API */
    long long workspace;
    char plan[128]; /* of the graph API (conv_graph.h); "-" = none */
};

/* key: one line that says everything the choice depends on but device and version. */
bool conv_recall(struct cuda_context *c, const char *key, struct conv_choice *found);
void conv_remember(struct cuda_context *c, const char *key, const struct conv_choice *choice);
/* Scratch memory for measuring, grown when needed and kept until conv_scratch_release; NULL when there is not enough. */
void *conv_scratch(struct cuda_context *c, size_t bytes);
void conv_scratch_release(struct cuda_context *c);
void conv_memory_free(struct cuda_context *c);

#endif
