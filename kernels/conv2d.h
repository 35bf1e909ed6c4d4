/* conv2d.h - cross-correlation.
 *
 * in[0] x [N,H,W,C], in[1] w [K,R,S,C], out[0] y [N,P,Q,K]; a.i[0] = stride, [1] = pad_h, [2] = pad_w.
 *     y[n,p,q,k] = sum over r,s,c of x[n, p*stride + r - pad_h, q*stride + s - pad_w, c] * w[k,r,s,c]     (x is 0 outside)
 *     P = (H + 2 pad_h - R)/stride + 1, Q = (W + 2 pad_w - S)/stride + 1, rounded down.
 */
#ifndef FACEMILL_KERNELS_CONV2D_H
#define FACEMILL_KERNELS_CONV2D_H

#include "kernels/backend.h"

extern const struct kernel kernel_conv2d_cpu, kernel_conv2d_cuda;

#endif
