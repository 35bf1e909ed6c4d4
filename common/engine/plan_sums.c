/* plan_sums.c - sums made while their terms are at hand: the gradient of a style, a demodulation factor or a bias is the sum of a
 * product over a picture's pixels, and the launch that computes the product can add it up instead of writing it for another launch
 * to read. Only for backends that say so (backend.h), after the fused programs are made.
 *
 * Taken are sums over neighbouring dimensions that end before the last (channels stay), of at least a million values. In a training
 * step at 128x128 (16-bit activations, batch 32) this saves Gmain 3.4 of 23 GB moved.
 */
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/engine/plan.h"

#define MAX_ROW 1024  /* values in the last dimension, a power of two: a block's threads take whole rows */
#define MAX_SUMS 65535 /* of one column: a CUDA grid's second dimension */

/* Makes dimensions d and d + 1 of dimension d, the inner one of this size. */
static void split(struct fused_program *f, int d, int64_t inner) {
    for (int k = 0; k < f->n_out; k++) {
        unsigned low = f->sum[k] & ((1u << d) - 1), here = f->sum[k] >> d & 1, high = (unsigned)f->sum[k] >> (d + 1);
        f->sum[k] = (uint16_t)(low | here << d | here << (d + 1) | high << (d + 2));
    }
    for (int i = f->ndim; i > d; i--) {
        f->dim[i] = f->dim[i - 1];
        for (int k = 0; k < f->n_in; k++)
            f->stride[k][i] = f->stride[k][i - 1];
    }
    f->dim[d] /= inner;
    f->dim[d + 1] = inner;
    for (int k = 0; k < f->n_in; k++)
        f->stride[k][d] = f->stride[k][d + 1] * inner;
    f->ndim++;
}

/* Sees to it that some dimension begins where `inner` elements follow; returns the dimension that begins there, -1 when none can. */
static int boundary(struct fused_program *f, int64_t inner) {
    int64_t n = 1;
    for (int d = f->ndim - 1; d >= 0; d--) {
        if (n == inner)
            return d + 1;
        if (n * f->dim[d] > inner) {
            if (inner % n || f->dim[d] % (inner / n) || f->ndim == MAX_DIM)
                return -1;
            split(f, d, inner / n);
            return d + 1;
        }
        n *= f->dim[d];
    }
    return n == inner ? 0 : -1;
}

/* The dimensions of the program that the sum goes over; 0 when it cannot. */
static unsigned summed_dims(struct fused_program *f, const struct pnode *in, uint64_t mask) {
    int64_t inner = 1, outer;
    int d = in->ndim - 1;
    for (; d >= 0 && !(mask >> d & 1); d--)
        inner *= in->dim[d];
    for (outer = inner; d >= 0 && (mask >> d & 1 || in->dim[d] == 1); d--)
        outer *= in->dim[d];
    for (; d >= 0; d--)
        if (mask >> d & 1 && in->dim[d] > 1)
            return 0;
    if (inner % 8 || inner & (inner - 1) || inner > MAX_ROW || inner == outer || pnode_count(in) / outer > MAX_SUMS)
        return 0;
    int to = boundary(f, inner);
    if (to != f->ndim - 1) /* only the last dimension is kept inside */
        return 0;
    int from = boundary(f, outer);
    to = f->ndim - 1;
    return from < 0 || from >= to ? 0 : (1u << to) - (1u << from);
}

static bool read_elsewhere(const struct plan *p, int id, int sum) {
    for (int u = 0; u < p->n_unit; u++)
        for (int k = 0; k < p->unit[u].n_in; k++)
            if (u != sum && !p->unit[u].dropped && plan_base(p, p->unit[u].in[k]) == id)
                return true;
    return false;
}

/* Vector accesses need aligned windows. */
static bool aligned_windows(const struct plan *p, const struct unit *u) {
    for (int k = 0; k < u->n_in; k++) {
        const struct pnode *b = &p->node[plan_base(p, u->in[k])];
        if (b->op == OP_input && b->offset % 16)
            return false;
    }
    return true;
}

static void join(struct plan *p, int sum) {
    struct unit *s = &p->unit[sum];
    int id = s->member[0], base = plan_base(p, s->in[0]), out = 0;
    if (p->node[base].unit < 0 || pnode_count(&p->node[base]) < PLAN_MIN_SUM)
        return;
    struct unit *u = &p->unit[p->node[base].unit];
    if (u->op != OP_fused || u->constant || s->constant || !aligned_windows(p, u))
        return;
    while (out < u->n_out && u->out[out] != base)
        out++;
    bool stays = read_elsewhere(p, base, sum);
    if (out == u->n_out || (stays && u->n_out == MAX_OUT))
        return;
    struct fused_program f = *u->fused;
    unsigned dims = summed_dims(&f, &p->node[s->in[0]], (uint64_t)p->node[id].a.i[0]);
    if (!dims)
        return;
    int to = stays ? u->n_out++ : out;
    f.n_out = u->n_out;
    f.out_reg[to] = f.out_reg[out];
    f.sum[to] = (uint16_t)dims;
    *u->fused = f;
    u->out[to] = id;
    u->flops += s->flops;
    u->bytes += (double)pnode_bytes(&p->node[id]) - (stays ? 0 : (double)pnode_bytes(&p->node[base]));
    p->node[base].stored = stays;
    u->member = xrealloc(u->member, sizeof *u->member * (size_t)(u->n_member + 1));
    u->member[u->n_member++] = id;
    u->room_member = u->n_member;
    p->node[id].unit = (int)(u - p->unit);
    p->node[id].stored = true;
    s->dropped = true;
}

void plan_sums(struct plan *p) {
    for (int u = 0; u < p->n_unit; u++)
        if (p->unit[u].op == OP_sum && !p->unit[u].dropped)
            join(p, u);
    plan_order(p);
}
