/* conv2d_input_grad.h - the adjoint of conv2d in its input; with stride 2 the transposed (upsampling) convolution.
 *
 * in[0] dy [N,P,Q,K], in[1] w [K,R,S,C], out[0] dx [N,H,W,C]; a.i[0] = stride, [1] = pad_h, [2] = pad_w, [3] = H, [4] = W.
 *     dx[n,h,w,c] = sum over k and all p,q,r,s with p*stride + r - pad_h = h, q*stride + s - pad_w = w of dy[n,p,q,k] * w[k,r,s,c]
 */
#ifndef FACEMILL_KERNELS_CONV2D_INPUT_GRAD_H
#define FACEMILL_KERNELS_CONV2D_INPUT_GRAD_H

#include "kernels/backend.h"

extern const struct kernel kernel_conv2d_input_grad_cpu, kernel_conv2d_input_grad_cuda;

#endif
