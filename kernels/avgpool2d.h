/* avgpool2d.h - mean of each window over the pixels inside the picture. Inference only.
 *
 * in[0] x [N,H,W,C], out[0] y [N,P,Q,C]; a.i[0] = size, [1] = stride, [2] = pad (less than size, so no window is empty).
 *     y[n,p,q,c] = mean over r,s < size, inside the picture, of x[n, p*stride + r - pad, q*stride + s - pad, c]
 *     P = (H + 2 pad - size)/stride + 1, rounded down; Q likewise.
 */
#ifndef FACEMILL_KERNELS_AVGPOOL2D_H
#define FACEMILL_KERNELS_AVGPOOL2D_H

#include "kernels/backend.h"

extern const struct kernel kernel_avgpool2d_cpu, kernel_avgpool2d_cuda;

#endif
