/* plan_emit.c - what each unit reads and writes, and the register programs of fused units.
 *
 * A unit over the limits of backend.h (10 inputs, 8 outputs, 32 operations) is cut in two: its members are in topological order,
 * so any prefix can run first.
 */
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/engine/plan.h"

/* Does anything outside the unit need node id in memory? Pointwise users read through broadcasts and reshapes. */
static bool needed_outside(const struct plan *p, int id, int unit) {
    for (int i = 0; i < p->node[id].n_user; i++) {
        const struct pnode *user = &p->node[p->node[id].user[i]];
        if (user->unit >= 0 ? user->unit != unit : needed_outside(p, p->node[id].user[i], unit))
            return true;
        if (user->op == OP_broadcast && user->unit >= 0 && needed_outside(p, p->node[id].user[i], user->unit))
            return true; /* a stored broadcast, which pointwise users still read through */
    }
    return false;
}

/* ---- fused programs ---- */
struct emitter {
    const struct plan *p;
    struct fused_program f;
    int in[MAX_IN];
    int unit;
    int *reg;    /* node -> register, -1 */
    bool failed; /* over a limit */
};

static int emit_op(struct emitter *e, enum op op, int n, const int *in, const float *f) {
    struct fused_program *q = &e->f;
    if (q->n_ops == FUSED_MAX_OPS) {
        e->failed = true;
        return 0;
    }
    struct micro_op *m = &q->ops[q->n_ops];
    *m = (struct micro_op){.op = (uint16_t)op, .f = {f[0], f[1]}};
    for (int k = 0; k < n; k++)
        m->in[k] = (uint16_t)in[k];
    m->out = (uint16_t)(MAX_IN + q->n_ops); /* renumbered by pack_registers */
    q->n_ops++;
    return m->out;
}

/* The register of an operand: of a member, of a number, or of an input with its strides. */
static int emit_operand(struct emitter *e, int id) {
    const struct plan *p = e->p;
    struct fused_program *q = &e->f;
    if (e->reg[id] >= 0)
        return e->reg[id];
    bool zero[MAX_DIM] = {0}, direct;
    if (p->node[id].op == OP_broadcast && p->node[id].unit == e->unit) { /* the member itself: its reads begin one step further */
        for (int d = 0; d < q->ndim; d++)
            zero[d] = p->node[id].dim[d] != p->node[p->node[id].in[0]].dim[d];
        id = p->node[id].in[0];
    }
    int base = plan_read(p, id, &direct);
    if (p->node[base].op == OP_fill) {
        for (int i = 0; i < q->n_ops; i++)
            if (q->ops[i].op == OP_fill && q->ops[i].f[0] == p->node[base].a.f[0])
                return q->ops[i].out;
        return emit_op(e, OP_fill, 0, NULL, p->node[base].a.f);
    }
    for (; p->node[id].op == OP_broadcast && !p->node[id].force; id = p->node[id].in[0])
        for (int d = 0; d < q->ndim; d++)
            zero[d] |= p->node[id].dim[d] != p->node[p->node[id].in[0]].dim[d];
    int64_t stride[MAX_DIM] = {0}, dense = 1;
    for (int d = q->ndim - 1; d >= 0; d--) {
        stride[d] = zero[d] || q->dim[d] == 1 ? 0 : dense;
        dense *= p->node[id].dim[d];
    }
    for (int i = 0; i < q->n_in; i++)
        if (e->in[i] == base && !memcmp(q->stride[i], stride, sizeof stride))
            return i;
    if (q->n_in == MAX_IN) {
        e->failed = true;
        return 0;
    }
    e->in[q->n_in] = base;
    memcpy(q->stride[q->n_in], stride, sizeof stride);
    return q->n_in++;
}

static void emit_member(struct emitter *e, int id) {
    const struct pnode *n = &e->p->node[id];
    int in[3];
    float f[2] = {n->a.f[0], n->a.f[1]};
    for (int k = 0; k < n->nin; k++)
        in[k] = emit_operand(e, n->op == OP_broadcast ? id : n->in[k]);
    if (n->op == OP_broadcast || (n->op == OP_cast && n->dtype == DT_F32)) { /* registers are float32 already */
        e->reg[id] = in[0];
        return;
    }
    if (n->op == OP_cast)
        f[0] = (float)n->a.dtype;
    e->reg[id] = emit_op(e, n->op, n->nin, in, f);
}

/* Registers of results are used again after their last use; those of inputs and outputs never. */
static void pack_registers(struct fused_program *q) {
    int last[MAX_IN + FUSED_MAX_OPS], to[MAX_IN + FUSED_MAX_OPS];
    bool busy[FUSED_MAX_REG] = {0};
    for (int i = 0; i < MAX_IN + FUSED_MAX_OPS; i++)
        last[i] = -1, to[i] = i;
    for (int i = 0; i < q->n_ops; i++)
        for (int k = 0; k < 3; k++)
            last[q->ops[i].in[k]] = i; /* unused ones name register 0, an input or never freed too early */
    for (int i = 0; i < q->n_out; i++)
        last[q->out_reg[i]] = q->n_ops;
    for (int i = 0; i < q->n_in; i++)
        busy[i] = true;
    for (int i = 0; i < q->n_ops; i++) {
        struct micro_op *m = &q->ops[i];
        int old = m->out, r = 0;
        uint16_t in[3];
        memcpy(in, m->in, sizeof in);
        for (int k = 0; k < 3; k++)
            m->in[k] = (uint16_t)to[in[k]];
        for (int k = 0; k < 3; k++)
            if (in[k] >= MAX_IN && last[in[k]] == i)
                busy[to[in[k]]] = false;
        while (busy[r])
            r++;
        busy[r] = true;
        to[old] = r;
        m->out = (uint16_t)r;
    }
    for (int i = 0; i < q->n_out; i++)
        q->out_reg[i] = (uint16_t)to[q->out_reg[i]];
}

/* Joins neighbouring dimensions that every operand walks as one, and drops those of size 1. */
static void merge_dims(struct fused_program *q) {
    int n = 0;
    for (int d = 0; d < q->ndim; d++) {
        if (q->dim[d] == 1)
            continue;
        bool joins = n > 0;
        for (int i = 0; i < q->n_in && joins; i++)
            joins = q->stride[i][n - 1] == q->stride[i][d] * q->dim[d];
        if (joins)
            q->dim[n - 1] *= q->dim[d];
        else
            q->dim[n++] = q->dim[d];
        for (int i = 0; i < q->n_in; i++)
            q->stride[i][n - 1] = q->stride[i][d];
    }
    if (!n) {
        q->dim[n++] = 1;
        for (int i = 0; i < q->n_in; i++)
            q->stride[i][0] = 0;
    }
    q->ndim = n;
    for (int d = n; d < MAX_DIM; d++) {
        q->dim[d] = 0;
        for (int i = 0; i < q->n_in; i++)
            q->stride[i][d] = 0;
    }
}

static bool emit_fused(struct plan *p, int unit, int *reg) {
    struct unit *u = &p->unit[unit];
    struct emitter e = {.p = p, .unit = unit, .reg = reg};
    const struct pnode *shape = &p->node[u->member[0]];
    e.f.ndim = shape->ndim;
    memcpy(e.f.dim, shape->dim, sizeof e.f.dim);
    for (int m = 0; m < u->n_member; m++)
        emit_member(&e, u->member[m]);
    u->n_out = 0;
    for (int m = 0; m < u->n_member; m++)
        if (p->node[u->member[m]].stored) {
            if (u->n_out == MAX_OUT) {
                e.failed = true;
                break;
            }
            e.f.out_reg[u->n_out] = (uint16_t)reg[u->member[m]];
            u->out[u->n_out++] = u->member[m];
        }
    for (int m = 0; m < u->n_member; m++)
        reg[u->member[m]] = -1;
    if (e.failed)
        return false;
    e.f.n_out = u->n_out;
    pack_registers(&e.f);
    merge_dims(&e.f);
    u->n_in = e.f.n_in;
    memcpy(u->in, e.in, sizeof u->in);
    free(u->fused);
    u->fused = xmalloc(sizeof *u->fused);
    *u->fused = e.f;
    return true;
}

static void cut(struct plan *p, int unit) {
    struct unit *u = &p->unit[unit];
    GRAPH_CHECK(u->n_member > 1, "planner: a single pointwise operation exceeds the limits of a fused program");
    int keep = u->n_member / 2;
    struct unit rest = {.op = OP_fused, .constant = u->constant};
    rest.n_member = rest.room_member = u->n_member - keep;
    rest.member = xmalloc(sizeof *rest.member * (size_t)rest.n_member);
    memcpy(rest.member, u->member + keep, sizeof *rest.member * (size_t)rest.n_member);
    u->n_member = keep;
    int64_t next = u->key + (1 << 20); /* the nearest unit after this one */
    for (int i = 0; i < p->n_unit; i++)
        if (p->unit[i].key > u->key && p->unit[i].key < next)
            next = p->unit[i].key;
    rest.key = (u->key + next) / 2;
    for (int m = 0; m < rest.n_member; m++)
        p->node[rest.member[m]].unit = p->n_unit;
    if (p->n_unit == p->room_unit)
        p->unit = xrealloc(p->unit, sizeof *p->unit * (size_t)(p->room_unit *= 2));
    p->unit[p->n_unit++] = rest;
}

static void count_work(struct plan *p, struct unit *u) {
    u->flops = u->bytes = 0;
    for (int m = 0; m < u->n_member; m++)
        u->flops += plan_flops(p, &p->node[u->member[m]]);
    for (int i = 0; i < u->n_in; i++)
        u->bytes += (double)pnode_bytes(&p->node[u->in[i]]);
    for (int i = 0; i < u->n_out; i++)
        u->bytes += (double)pnode_bytes(&p->node[u->out[i]]);
    if (u->op == OP_assign)
        u->bytes = 2 * (double)pnode_bytes(&p->node[u->in[0]]);
    else if (op_kind(u->op) == EFFECT) /* read and written */
        u->bytes += (u->op == OP_adam ? 3 : 1) * (double)pnode_bytes(&p->node[u->in[0]]);
}

void plan_emit(struct plan *p) {
    int *reg = xmalloc(sizeof *reg * (size_t)(p->n + 1));
    for (int i = 0; i < p->n; i++)
        reg[i] = -1;
    for (int k = 0; k < p->n_unit; k++) { /* n_unit grows by cutting */
        for (bool done = false; !done;) {
            struct unit *u = &p->unit[k];
            for (int m = 0; m < u->n_member; m++)
                p->node[u->member[m]].stored =
                    op_kind(p->node[u->member[m]].op) != EFFECT && needed_outside(p, u->member[m], k);
            if (u->op == OP_fused) {
                done = emit_fused(p, k, reg);
                if (!done)
                    cut(p, k);
                continue;
            }
            const struct pnode *n = &p->node[u->member[0]];
            u->n_in = n->nin;
            memcpy(u->in, n->in, sizeof u->in);
            u->n_out = op_kind(n->op) == EFFECT ? 0 : 1;
            u->out[0] = u->member[0];
            done = true;
        }
        count_work(p, &p->unit[k]);
    }
    free(reg);
    plan_order(p);
}
