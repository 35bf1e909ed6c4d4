/* lerp.h - moves a buffer towards a value: averages of parameters.
 *
 * in = {view (written), to, t [1]}, F32: view = to + t (view - to).
 */
#ifndef FACEMILL_KERNELS_LERP_H
#define FACEMILL_KERNELS_LERP_H

#include "kernels/backend.h"

extern const struct kernel kernel_lerp_cpu, kernel_lerp_cuda;

#endif
