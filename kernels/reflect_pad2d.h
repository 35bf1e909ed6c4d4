/* reflect_pad2d.h - mirror padding that does not repeat the edge.
 *
 * in[0] x [N,H,W,C], out[0] y [N,H+y0+y1,W+x0+x1,C]; a.i[0..3] = y0, y1, x0, x1, each >= 0 and less than H or W.
 *     y[n,p,q,c] = x[n, m(p - y0, H), m(q - x0, W), c],  m(i, L) = i < 0 ? -i : i < L ? i : 2(L-1) - i
 */
#ifndef FACEMILL_KERNELS_REFLECT_PAD2D_H
#define FACEMILL_KERNELS_REFLECT_PAD2D_H

#include "kernels/backend.h"

extern const struct kernel kernel_reflect_pad2d_cpu, kernel_reflect_pad2d_cuda;

#endif
