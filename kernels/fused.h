/* fused.h - a run of pointwise operations in one pass over memory.
 *
 * c->fused is a program over float32 registers (backend.h): registers 0..n_in-1 are the inputs, read with the strides given
 * there (0 = broadcast) and widened from F16, BF16 or U8; then each micro-operation in order; then out_reg[] is stored to the
 * outputs, dense over dim[], narrowed to their type. Formulas of the operations: common/engine/ops.def. `cast` rounds to the type
 * f[0] (an enum dtype) and stays float32; `fill` writes f[0].
 *
 * An output may be the very memory of an input that is read densely with the same element size: every element is read before
 * it is written. A register is written at most once by inputs, any number of times by operations; those of inputs by none.
 */
#ifndef FACEMILL_KERNELS_FUSED_H
#define FACEMILL_KERNELS_FUSED_H

#include "kernels/backend.h"

extern const struct kernel kernel_fused_cpu, kernel_fused_cuda;

#endif
