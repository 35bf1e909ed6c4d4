/* reflect_pad2d_adj.h - the adjoint of reflect_pad2d: each pixel gets the sum of the places it was copied to.
 *
 * in[0] dy [N,H+y0+y1,W+x0+x1,C], out[0] dx [N,H,W,C]; a.i[0..3] = y0, y1, x0, x1.
 *     dx[n,h,w,c] = sum of dy[n,p,q,c] over all p, q with m(p - y0, H) = h and m(q - x0, W) = w   (m: see reflect_pad2d.h)
 */
#ifndef FACEMILL_KERNELS_REFLECT_PAD2D_ADJ_H
#define FACEMILL_KERNELS_REFLECT_PAD2D_ADJ_H

#include "kernels/backend.h"

extern const struct kernel kernel_reflect_pad2d_adj_cpu, kernel_reflect_pad2d_adj_cuda;

#endif
