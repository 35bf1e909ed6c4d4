/* conv_f32.h - the three ways to make a float32 convolution with cuDNN, and what is prepared for them. Float32 here means: errors (Euclidean
 * norms) below 2e-5, measured 1e-6 to 1.2e-5. Which way is measured for each shape from 2 GFLOP on; below, where small networks are and
 * nothing is gained, it is always the first.
 *
 *   nhwc   float32 multiply-adds in the engine's layout; cuDNN reaches 10 to 39 TFLOP/s there. Error 1e-6.
 *   nchw   the same in the layout for which cuDNN has Winograd's algorithm, 37 to 150 TFLOP/s; operands are transposed before and after.
 *          Error 1e-6 to 5e-6. Not for 1x1, for which Winograd has nothing.
 *   split  three TF32 products a product, side by side (conv_split.h), 57 to 138 TFLOP/s. Tensor cores cut off when they add up, and the
 *          longer the sum the more: 4e-6 to 1.2e-5. So only where it is at least 15 % faster than the better of the others.
 *
 * Operands that are laid out anew lie in the workspace behind the algorithm's own part. Left out: convolutions that would need more than 8 GB
 * for that; they go as nhwc.
 */
#ifndef FACEMILL_CONV_F32_H
#define FACEMILL_CONV_F32_H

#include "kernels/cuda.h"

enum conv_kind { CONV_FORWARD, CONV_INPUT_GRAD, CONV_WEIGHT_GRAD };
enum conv_method { CONV_AS_IS, CONV_NCHW, CONV_SPLIT, CONV_METHODS };
#define CONV_SPLIT_GAIN 1.15f /* how many times faster the split has to be */

/* 16-bit operands go as they are. */
bool conv_method_fits(const struct kernel_call *c, enum conv_kind kind, enum conv_method m);
/* Bytes that in[0], in[1] and out[0] take as cuDNN sees them, a multiple of 256 each; *staged = of those that are not the operands. */
void conv_stage_bytes(const struct kernel_call *c, enum conv_method m, size_t bytes[3], size_t *staged);

struct conv_places {
    const void *in[2];
    void *out;
};
/* Prepares the inputs in `stage`; after the convolution conv_leave brings the output to where it belongs. */
struct conv_places conv_enter(struct cuda_context *c, const struct kernel_call *k, enum conv_kind kind, enum conv_method m, void *stage);
void conv_leave(struct cuda_context *c, const struct kernel_call *k, enum conv_method m, const struct conv_places *p);

#endif
