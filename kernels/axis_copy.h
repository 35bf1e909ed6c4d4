/* axis_copy.h - what slice, concat and pad share on the CPU: a tensor seen as [outer, axis, inner], copied in runs of bytes. */
#ifndef FACEMILL_KERNELS_AXIS_COPY_H
#define FACEMILL_KERNELS_AXIS_COPY_H

#include <string.h>

#include "kernels/backend.h"

/* The product of the dimensions before the axis, and the bytes of one step along it. */
static inline void axis_split(const struct operand *x, int axis, int64_t *outer, int64_t *step) {
    *outer = 1;
    *step = dtype_size(x->dtype);
    for (int d = 0; d < axis; d++)
        *outer *= x->dim[d];
    for (int d = axis + 1; d < x->ndim; d++)
        *step *= x->dim[d];
}

#endif
