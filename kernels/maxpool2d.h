/* maxpool2d.h - largest value of each window; pixels outside the picture do not count. Inference only.
 *
 * in[0] x [N,H,W,C], out[0] y [N,P,Q,C]; a.i[0] = size, [1] = stride, [2] = pad (less than size, so no window is empty).
 *     y[n,p,q,c] = max over r,s < size of x[n, p*stride + r - pad, q*stride + s - pad, c]
 *     P = (H + 2 pad - size)/stride + 1, rounded down; Q likewise.
 */
#ifndef FACEMILL_KERNELS_MAXPOOL2D_H
#define FACEMILL_KERNELS_MAXPOOL2D_H

#include "kernels/backend.h"

extern const struct kernel kernel_maxpool2d_cpu, kernel_maxpool2d_cuda;

#endif
