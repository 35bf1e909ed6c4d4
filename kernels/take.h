/* take.h - pictures out of a table by number: what a batch is when the data set lies on the device.
 *
 * in[0] table U8 [N,H,W,C], in[1] index I64 [B], out[0] y U8 [B,H,W,C].
 *     y[b,h,w,c] = table[i, h, w, c]        i = index[b]         where index[b] >= 0
 *                  table[i, h, W-1-w, c]    i = -1 - index[b]    where index[b] < 0
 * A number outside the table gives zeros.
 */
#ifndef FACEMILL_KERNELS_TAKE_H
#define FACEMILL_KERNELS_TAKE_H

#include "kernels/backend.h"

extern const struct kernel kernel_take_cpu, kernel_take_cuda;

#endif
