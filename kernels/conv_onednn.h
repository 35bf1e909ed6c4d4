/* conv_onednn.h - the three convolutions on the CPU; conv2d.c, conv2d_input_grad.c and conv2d_weight_grad.c are its users. */
#ifndef FACEMILL_KERNELS_CONV_ONEDNN_H
#define FACEMILL_KERNELS_CONV_ONEDNN_H

#include "kernels/backend.h"

enum conv_kind { CONV_FORWARD, CONV_INPUT_GRAD, CONV_WEIGHT_GRAD };

struct conv_shape {
    int64_t N, H, W, C, K, R, S, P, Q;
    int64_t stride, pad_h, pad_w;
};

enum status conv_onednn_prepare(void *context, struct kernel_call *c, enum conv_kind kind, const struct conv_shape *s,
                                struct error *e);
void conv_onednn_run(void *context, const struct kernel_call *c);
void conv_onednn_release(struct kernel_call *c);

#endif
