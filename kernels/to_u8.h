/* to_u8.h - floats of a picture to 8 bits.
 *
 * in[0] x (F32, F16 or BF16; the CPU: F32), out[0] y U8, same shape.
 *     y = x*127.5 + 128, clamped to 0..255, truncated; NaN becomes 0
 */
#ifndef FACEMILL_KERNELS_TO_U8_H
#define FACEMILL_KERNELS_TO_U8_H

#include "kernels/backend.h"

extern const struct kernel kernel_to_u8_cpu, kernel_to_u8_cuda;

#endif
