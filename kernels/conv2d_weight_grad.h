/* conv2d_weight_grad.h - the adjoint of conv2d in its weights.
 *
 * in[0] x [N,H,W,C], in[1] dy [N,P,Q,K], out[0] dw [K,R,S,C] F32; a.i[0] = stride, [1] = pad_h, [2] = pad_w, [3] = R, [4] = S.
 *     dw[k,r,s,c] = sum over n,p,q of dy[n,p,q,k] * x[n, p*stride + r - pad_h, q*stride + s - pad_w, c]     (x is 0 outside)
 * The sum has one fixed order, whatever the number of threads.
 */
#ifndef FACEMILL_KERNELS_CONV2D_WEIGHT_GRAD_H
#define FACEMILL_KERNELS_CONV2D_WEIGHT_GRAD_H

#include "kernels/backend.h"

extern const struct kernel kernel_conv2d_weight_grad_cpu, kernel_conv2d_weight_grad_cuda;

#endif
