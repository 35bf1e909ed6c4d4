/* affine_sample.h - bilinear sampling at affine positions, zeros outside.
 *
 * in[0] x [N,H,W,C], in[1] theta F32 [N,2,3], out[0] y [N,P,Q,C]; a.i[0] = P, [1] = Q.
 *     u = (2q+1)/Q - 1, v = (2p+1)/P - 1
 *     column = ((theta[n,0,0]*u + theta[n,0,1]*v + theta[n,0,2] + 1)*W - 1)/2
 *     row    = ((theta[n,1,0]*u + theta[n,1,1]*v + theta[n,1,2] + 1)*H - 1)/2
 *     y[n,p,q,c] = sum over the four pixels (h,w) around (row,column) of (1 - |row - h|)(1 - |column - w|) x[n,h,w,c]
 * Positions are computed in float32; a position that is not a number or lies beyond 1e6 reads zero.
 */
#ifndef FACEMILL_KERNELS_AFFINE_SAMPLE_H
#define FACEMILL_KERNELS_AFFINE_SAMPLE_H

#include "kernels/backend.h"

extern const struct kernel kernel_affine_sample_cpu, kernel_affine_sample_cuda;

#endif
