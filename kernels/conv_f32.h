/* conv_f32.h - how cuDNN's float32 convolutions are made, and what is prepared for them.
 *
 *   split  three TF32 products a product, side by side (conv_split.h): float32's accuracy from tensor cores. Not measured yet.
 *   nhwc   float32 multiply-adds in the engine's layout; cuDNN reaches 22 of 67 TFLOP/s there. The default; serves what split does not take.
 *   nchw   the same in the layout for which cuDNN has Winograd's algorithm; operands are transposed before and after.
 * $FACEMILL_CUDA_F32 names one of them, for comparing.
 *
 * Operands that are laid out anew lie in the workspace behind the algorithm's own part.
 */
#ifndef FACEMILL_CONV_F32_H
#define FACEMILL_CONV_F32_H

#include "kernels/cuda.h"

enum conv_kind { CONV_FORWARD, CONV_INPUT_GRAD, CONV_WEIGHT_GRAD };
enum conv_method { CONV_AS_IS, CONV_SPLIT, CONV_NCHW };

/* For 16-bit operands CONV_AS_IS. */
enum conv_method conv_method_of(const struct kernel_call *c, enum conv_kind kind);
const char *conv_method_name(enum conv_method m);
/* Bytes that in[0], in[1] and out[0] take as cuDNN sees them, a multiple of 256 each; *staged = of those that are not the operands. */
void conv_stage_bytes(const struct kernel_call *c, enum conv_kind kind, enum conv_method m, size_t bytes[3], size_t *staged);

struct conv_places {
    const void *in[2];
    void *out;
};
/* Prepares the inputs in `stage`; after the convolution conv_leave brings the output to where it belongs. */
struct conv_places conv_enter(struct cuda_context *c, const struct kernel_call *k, enum conv_kind kind, enum conv_method m, void *stage);
void conv_leave(struct cuda_context *c, const struct kernel_call *k, enum conv_method m, const struct conv_places *p);

#endif
