/* upfirdn2d.h - insert zeros, pad, filter, keep every n-th.
 *
 * in[0] x [N,H,W,C], in[1] f F32 [fh,fw] or [N,fh,fw] (a filter a sample; N may be 1), out[0] y [N,P,Q,C].
 * a.i[0..7] = up_y, up_x, down_y, down_x, pad_y0, pad_y1, pad_x0, pad_x1 (negative pads crop), [8] = flip; a.f[0] = gain.
 *     u[n,h*up_y,w*up_x,c] = x[n,h,w,c], other elements of u are 0; u has H*up_y x W*up_x pixels and is 0 outside
 *     y[n,p,q,c] = gain * sum over i < fh, j < fw of g[i,j] * u[n, p*down_y + i - pad_y0, q*down_x + j - pad_x0, c]
 *     g[i,j] = flip ? f[i,j] : f[fh-1-i,fw-1-j]
 *     P = (H*up_y + pad_y0 + pad_y1 - fh)/down_y + 1, rounded down; Q likewise.
 */
#ifndef FACEMILL_KERNELS_UPFIRDN2D_H
#define FACEMILL_KERNELS_UPFIRDN2D_H

#include "kernels/backend.h"

extern const struct kernel kernel_upfirdn2d_cpu, kernel_upfirdn2d_cuda;

#endif
