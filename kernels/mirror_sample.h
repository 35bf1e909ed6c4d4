/* mirror_sample.h - bilinear sampling at affine positions of a picture that is mirrored on all sides and enlarged twofold, without
 * making that enlarged picture: augmentation's geometry in one step.
 *
 * in[0] x [N,H,W,C], in[1] theta F32 [N,2,3], in[2] f F32 [12], out[0] y [N,P,Q,C]; a.i[0] = P, [1] = Q. y is
 *     affine_sample(z, theta), z [N,6H-4,6W-4,C] = f down columns (f along rows (reflect_pad2d(x by H-1 and W-1)))
 * where f inserts zeros (upfirdn2d with up 2, pads 6 and 5, gain 2, not flipped), so that along each axis
 *     z[i] = sum over k of 2 f[i - 2k + 5] m[k],  m [3H-2] the mirrored picture, 0 outside; f[i] = 0 outside 0..11
 * and an output, which lies between z[i] and z[i+1], reads seven of the m along each axis: k = floor((i-5)/2) and the next six.
 * Positions are computed as by affine_sample, in float32; one that is not a number reads zero.
 */
#ifndef FACEMILL_KERNELS_MIRROR_SAMPLE_H
#define FACEMILL_KERNELS_MIRROR_SAMPLE_H

#include "kernels/backend.h"

extern const struct kernel kernel_mirror_sample_cpu, kernel_mirror_sample_cuda;

#endif
