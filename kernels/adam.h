/* adam.h - one step of Adam (Kingma and Ba, ICLR 2015) on flat float32 arrays.
 *
 * in = {p, g, m, v, hyper}, hyper [6] = {lr, b1, b2, eps, 1 - b1^t, 1 - b2^t}, read on the device. Where a.f[1] is not 0 the gradient is
 * first multiplied by it; where a.f[0] is not 0 it is then brought into range: NaN is 0, infinities are +-a.f[0]. Writes p, m and v:
 *     m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  p -= lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
 */
#ifndef FACEMILL_KERNELS_ADAM_H
#define FACEMILL_KERNELS_ADAM_H

#include "kernels/backend.h"

extern const struct kernel kernel_adam_cpu, kernel_adam_cuda;

#endif
