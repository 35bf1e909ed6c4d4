/* assign.h - copies a value into a window of a buffer.
 *
 * in[0] the window (written), in[1] the value, same count and type; no output. The two do not overlap unless they are the same.
 */
#ifndef FACEMILL_KERNELS_ASSIGN_H
#define FACEMILL_KERNELS_ASSIGN_H

#include "kernels/backend.h"

extern const struct kernel kernel_assign_cpu, kernel_assign_cuda;

#endif
