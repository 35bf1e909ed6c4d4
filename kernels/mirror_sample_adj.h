/* mirror_sample_adj.h - the adjoint of mirror_sample in the picture.
 *
 * in[0] dy [N,P,Q,C], in[1] theta F32 [N,2,3], in[2] f F32 [12], out[0] dx [N,H,W,C]; a.i[0] = H, [1] = W.
 *     dx[n,h,w,c] = sum over p, q of the weight with which mirror_sample reads x[n,h,w,c] into y[n,p,q,c], times dy[n,p,q,c]
 * Sums have one order: the result does not depend on the number of threads.
 */
#ifndef FACEMILL_KERNELS_MIRROR_SAMPLE_ADJ_H
#define FACEMILL_KERNELS_MIRROR_SAMPLE_ADJ_H

#include "kernels/backend.h"

extern const struct kernel kernel_mirror_sample_adj_cpu, kernel_mirror_sample_adj_cuda;

#endif
