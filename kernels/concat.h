/* concat.h - tensors behind one another along one dimension.
 *
 * in[0..n_in-1], out[0] y; a.i[0] = axis. Shapes agree but for the axis. Any element type.
 */
#ifndef FACEMILL_KERNELS_CONCAT_H
#define FACEMILL_KERNELS_CONCAT_H

#include "kernels/backend.h"

extern const struct kernel kernel_concat_cpu, kernel_concat_cuda;

#endif
