/* fused_pattern.h - what of a fused program decides its code: operations, registers, element types, and how each input is walked.
 * Sizes, strides and numbers are arguments at run time. Included by the generator of CUDA kernels (kernels/gen, C) and by fused.cu
 * (C++), which look patterns up by their text.
 */
#ifndef FACEMILL_FUSED_PATTERN_H
#define FACEMILL_FUSED_PATTERN_H

#include <stdio.h>

#include "kernels/backend.h"

/* How an input is walked when a thread takes `width` neighbouring elements.
 *   DENSE    as the outputs
 *   UNIFORM  one number for all
 *   ROW      neighbours in memory, other dimensions by stride
 *   COLUMN   one number for the thread's elements, other dimensions by stride
 *   EACH     every element by its own position */
enum walk { WALK_DENSE = 'd', WALK_UNIFORM = 'u', WALK_ROW = 'r', WALK_COLUMN = 'c', WALK_EACH = 'e' };

struct fused_pattern {
    int width; /* elements a thread handles at a time: 8, 4 or 1 */
    int ndim;  /* of the iteration space; 0 when every input is DENSE or UNIFORM, and it does not matter */
    char walk[MAX_IN];
    bool sums;     /* some outputs are sums: blocks walk rows of the last dimension, see fused.cuh */
    int n_numbers; /* run-time numbers: attributes of operations in order, see fused_numbers */
    char text[1000];
};

/* How many of f[] an operation takes as numbers. */
static inline int fused_numbers(int op) {
    switch (op) {
    case OP_fill:
    case OP_lrelu:
    case OP_sanitize:
        return 1;
    case OP_scale:
    case OP_step:
    case OP_clamp:
    case OP_clamp_mask:
        return 2;
    default:
        return 0;
    }
}

static inline int fused_operands(int op) {
    switch (op) {
    case OP_fill:
        return 0;
    case OP_add:
    case OP_sub:
    case OP_mul:
        return 2;
    case OP_fma:
        return 3;
    default:
        return 1;
    }
}

static inline char fused_type_letter(enum dtype t) {
    return t == DT_F32 ? 'f' : t == DT_F16 ? 'h' : t == DT_BF16 ? 'b' : t == DT_U8 ? 'u' : 0;
}

static inline enum walk fused_walk(const struct fused_program *f, int input, int width) {
    const int64_t *stride = f->stride[input];
    bool dense = true, zero = true, aligned = true;
    int64_t n = 1;
    for (int d = f->ndim - 1; d >= 0; n *= f->dim[d--]) {
        dense &= stride[d] == n || f->dim[d] == 1;
        zero &= stride[d] == 0 || f->dim[d] == 1;
        aligned &= d == f->ndim - 1 || stride[d] % width == 0;
    }
    int64_t last = stride[f->ndim - 1];
    if (zero)
        return WALK_UNIFORM;
    if (dense)
        return WALK_DENSE;
    if (f->dim[f->ndim - 1] % width)
        return WALK_EACH;
    return last == 0 ? WALK_COLUMN : width == 1 || (last == 1 && aligned) ? WALK_ROW : WALK_EACH;
}

/* False when there can be no kernel: an element type or a size (2^32 elements) that only the interpreter takes. */
static inline bool fused_pattern_of(const struct kernel_call *c, struct fused_pattern *p) {
    const struct fused_program *f = c->fused;
    int64_t total = 1, last = f->ndim > 0 ? f->dim[f->ndim - 1] : 1;
    bool narrow = true, strided = false;
    for (int d = 0; d < f->ndim; d++)
        total *= f->dim[d];
    for (int i = 0; i < f->n_in; i++) {
        enum walk w = fused_walk(f, i, 1);
        narrow &= w == WALK_UNIFORM || w == WALK_COLUMN || dtype_size(c->in[i].dtype) == 2;
        strided |= w != WALK_UNIFORM && w != WALK_DENSE;
        if (!fused_type_letter(c->in[i].dtype))
            return false;
    }
    p->sums = false;
    for (int k = 0; k < f->n_out; k++) {
        p->sums |= f->sum[k] != 0;
        narrow &= f->sum[k] || dtype_size(c->out[k].dtype) == 2;
        if (!fused_type_letter(c->out[k].dtype) || c->out[k].dtype == DT_U8)
            return false;
    }
    if (f->ndim < 1 || total > UINT32_MAX - 64)
        return false;
    p->width = narrow && (strided || p->sums ? last : total) % 8 == 0 ? 8 : total % 4 == 0 ? 4 : 1;
    p->ndim = strided ? f->ndim : 0;
    if (p->sums && (last % p->width || 256 % (last / p->width)))
        return false;
    p->n_numbers = 0;
    size_t room = sizeof p->text, n = (size_t)snprintf(p->text, room, "%d.%d", p->width, p->ndim);
    for (int i = 0; i < f->n_in; i++) {
        p->walk[i] = (char)fused_walk(f, i, p->width);
        n += (size_t)snprintf(p->text + n, room - n, " %c%c", fused_type_letter(c->in[i].dtype), p->walk[i]);
    }
    for (int i = 0; i < f->n_ops && n < room; i++) {
        const struct micro_op *m = &f->ops[i];
        n += (size_t)snprintf(p->text + n, room - n, ";%d=%d", m->out, m->op);
        for (int k = 0; k < fused_operands(m->op) && n < room; k++)
            n += (size_t)snprintf(p->text + n, room - n, ",%d", m->in[k]);
        if (m->op == OP_cast && n < room)
            n += (size_t)snprintf(p->text + n, room - n, ":%d", (int)m->f[0]);
        p->n_numbers += fused_numbers(m->op);
    }
    for (int k = 0; k < f->n_out && n < room; k++)
        n += (size_t)snprintf(p->text + n, room - n, " %c%d%s", fused_type_letter(c->out[k].dtype), f->out_reg[k], f->sum[k] ? "+" : "");
    return n < room;
}

#endif
