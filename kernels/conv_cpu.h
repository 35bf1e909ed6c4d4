/* conv_cpu.h - the three convolutions on the CPU: several methods, chosen by shape when a call is prepared.
 *
 * conv2d.c, conv2d_input_grad.c and conv2d_weight_grad.c name the shape; conv_prepare takes the first method that suits:
 *     conv_thin      1x1 between few (RGB) and many channels: bound by memory, own loops
 *     conv_winograd  3x3 of stride 1 with enough tiles: two to three times the direct rate; its rounding error
 *                    is 1.1 to 4 times that of a direct sum
 *     conv_gemm      other weight gradients; very few pixels with many weights: matrix products on the weights as they lie
 *     conv_onednn    everything else; in a build without oneDNN conv_gemm, which can do everything in more memory
 */
#ifndef FACEMILL_KERNELS_CONV_CPU_H
#define FACEMILL_KERNELS_CONV_CPU_H

#include "kernels/backend.h"

enum conv_kind { CONV_FORWARD, CONV_INPUT_GRAD, CONV_WEIGHT_GRAD };

struct conv_shape {
    int64_t N, H, W, C, K, R, S, P, Q;
    int64_t stride, pad_h, pad_w;
};

/* prepare puts its state, which begins with a pointer to the method, into c->state; release gets that state, perhaps half made. */
struct conv_method {
    const char *name;
    bool (*suits)(enum conv_kind kind, const struct conv_shape *s);
    enum status (*prepare)(void *context, struct kernel_call *c, enum conv_kind kind, const struct conv_shape *s, struct error *e);
    void (*run)(void *context, const struct kernel_call *c);
    void (*release)(void *state);
};
extern const struct conv_method conv_thin, conv_winograd, conv_gemm, conv_onednn;

enum status conv_prepare(void *context, struct kernel_call *c, enum conv_kind kind, const struct conv_shape *s, struct error *e);
void conv_run(void *context, const struct kernel_call *c);
void conv_release(void *context, struct kernel_call *c);

#endif
