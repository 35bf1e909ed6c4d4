/* plan.c - the planner's frame: the order of passes, helpers they share, and the print-out. See plan.h. */
#include "common/engine/plan.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

int64_t pnode_count(const struct pnode *n) {
    int64_t c = 1;
    for (int i = 0; i < n->ndim; i++)
        c *= n->dim[i];
    return c;
}

int64_t pnode_bytes(const struct pnode *n) { return pnode_count(n) * dtype_size(n->dtype); }

bool pnode_same_shape(const struct pnode *x, const struct pnode *y) {
    return x->ndim == y->ndim && !memcmp(x->dim, y->dim, sizeof x->dim[0] * (size_t)x->ndim);
}

int plan_base(const struct plan *p, int id) {
    while (p->node[id].op == OP_reshape)
        id = p->node[id].in[0];
    return id;
}

bool windows_overlap(const struct pnode *x, const struct pnode *y) {
    return x->buffer == y->buffer && x->offset < y->offset + pnode_bytes(y) && y->offset < x->offset + pnode_bytes(x);
}

int effect_windows(const struct plan *p, const struct pnode *e, int window[3]) {
    window[0] = plan_base(p, e->in[0]);
    if (e->op != OP_adam)
        return 1;
    window[1] = plan_base(p, e->in[2]);
    window[2] = plan_base(p, e->in[3]);
    return 3;
}

int plan_add_node(struct plan *p, const struct pnode *n) {
    if (p->n == p->room)
        p->node = xrealloc(p->node, sizeof *p->node * (size_t)(p->room = p->room ? 2 * p->room : 256));
    p->node[p->n] = *n;
    return p->n++;
}

void plan_users(struct plan *p) {
    for (int i = 0; i < p->n; i++) {
        p->node[i].live = op_kind(p->node[i].op) == EFFECT;
        p->node[i].n_user = 0;
    }
    int *stack = xmalloc(sizeof *stack * (size_t)(p->n + 1)), top = 0;
    for (int i = 0; i < p->n; i++)
        if (p->node[i].live)
            stack[top++] = i;
    while (top) {
        const struct pnode *n = &p->node[stack[--top]];
        for (int k = 0; k < n->nin; k++)
            if (!p->node[n->in[k]].live) {
                p->node[n->in[k]].live = true;
                stack[top++] = n->in[k];
            }
    }
    free(stack);
    for (int i = 0; i < p->n; i++)
        for (int k = 0; p->node[i].live && k < p->node[i].nin; k++) {
            struct pnode *in = &p->node[p->node[i].in[k]];
            if (in->n_user == in->room_user)
                in->user = xrealloc(in->user, sizeof *in->user * (size_t)(in->room_user = in->room_user ? 2 * in->room_user : 4));
            in->user[in->n_user++] = i;
        }
}

static int by_key(const void *a, const void *b) {
    const struct unit *x = a, *y = b;
    if (x->dropped != y->dropped)
        return x->dropped - y->dropped;
    if (x->constant != y->constant)
        return y->constant - x->constant;
    return (x->key > y->key) - (x->key < y->key);
}

static void unit_clear(struct unit *u) {
    free(u->member);
    free(u->fused);
}

void plan_order(struct plan *p) {
    qsort(p->unit, (size_t)p->n_unit, sizeof *p->unit, by_key);
    while (p->n_unit && p->unit[p->n_unit - 1].dropped)
        unit_clear(&p->unit[--p->n_unit]);
    for (int i = 0; i < p->n; i++)
        p->node[i].unit = -1;
    for (int u = 0; u < p->n_unit; u++)
        for (int m = 0; m < p->unit[u].n_member; m++)
            p->node[p->unit[u].member[m]].unit = u;
}

/* Multiply-adds count 2, a pointwise operation 1 an element. */
double plan_flops(const struct plan *p, const struct pnode *n) {
    const struct pnode *in0 = n->nin ? &p->node[n->in[0]] : NULL, *in1 = n->nin > 1 ? &p->node[n->in[1]] : NULL;
    double count = (double)pnode_count(n);
    switch (n->op) {
    case OP_matmul:
        return 2 * count * (double)in0->dim[n->ndim - 2 + !n->a.i[0]];
    case OP_conv2d:
        return 2 * count * (double)(in1->dim[1] * in1->dim[2] * in1->dim[3]);
    case OP_conv2d_input_grad:
        return 2 * (double)pnode_count(in0) * (double)(in1->dim[1] * in1->dim[2] * in1->dim[3]);
    case OP_conv2d_weight_grad:
        return 2 * (double)pnode_count(in1) * (double)(n->dim[1] * n->dim[2] * n->dim[3]);
    case OP_upfirdn2d: {
        double taps = (double)(in1->dim[in1->ndim - 1] * in1->dim[in1->ndim - 2]);
        return 2 * count * taps / (double)(n->a.i[0] * n->a.i[1]);
    }
    case OP_affine_sample:
    case OP_affine_sample_adj:
        return 8 * count;
    case OP_mirror_sample: /* 7 x 7 pixels an output */
        return 112 * count;
    case OP_mirror_sample_adj:
        return 112 * (double)pnode_count(in0);
    case OP_maxpool2d:
    case OP_avgpool2d:
        return count * (double)(n->a.i[0] * n->a.i[0]);
    case OP_sum:
        return (double)pnode_count(in0);
    case OP_adam:
        return 12 * count;
    case OP_lerp:
        return 3 * count;
    default:
        return op_kind(n->op) == POINT && n->op != OP_fill && n->op != OP_broadcast && n->op != OP_cast ? count : 0;
    }
}

struct plan *plan_create(const struct graph *g, const struct plan_options *o) {
    static const struct plan_options everything;
    if (!o)
        o = &everything;
    struct plan *p = xcalloc(1, sizeof *p);
    p->name = xstrdup(g->name);
    p->built = g->n;
    plan_simplify(p, g, o);
    plan_users(p);
    plan_fuse(p, o);
    plan_emit(p);
    if (o->sums && !o->no_fuse)
        plan_sums(p);
    plan_place(p, o);
    return p;
}

void plan_free(struct plan *p) {
    if (!p)
        return;
    for (int i = 0; i < p->n; i++)
        free(p->node[i].user), free(p->node[i].label);
    for (int i = 0; i < p->n_unit; i++)
        unit_clear(&p->unit[i]);
    free(p->node);
    free(p->unit);
    free(p->name);
    free(p);
}

/* ---- print ---- */
static void print_value(const struct plan *p, int id, bool out_value, FILE *out) {
    const struct pnode *n = &p->node[id];
    fprintf(out, " %d[", id);
    for (int i = 0; i < n->ndim; i++)
        fprintf(out, "%s%lld", i ? "," : "", (long long)n->dim[i]);
    fprintf(out, "]%s%s", n->dtype == DT_F32 ? "" : " ", n->dtype == DT_F32 ? "" : dtype_name(n->dtype));
    const struct pnode *b = &p->node[plan_base(p, id)];
    if (b->op == OP_input)
        fprintf(out, "=%s", b->label ? b->label : b->buffer->name);
    else if (out_value)
        fprintf(out, "@%s+%lld %lldB (%s)", b->place == PLACE_ARENA ? "arena" : b->place == PLACE_CONSTANT ? "constants" : b->place_buffer->name,
                (long long)b->place_offset, (long long)pnode_bytes(b), b->reason ? b->reason : "");
}

void plan_print(const struct plan *p, FILE *out) {
    double flops = 0, bytes = 0;
    int launches = 0;
    for (int u = 0; u < p->n_unit; u++) {
        const struct unit *q = &p->unit[u];
        if (!q->constant) {
            launches++;
            flops += q->flops;
            bytes += q->bytes;
        }
        fprintf(out, "%4d%s %s", u, q->constant ? "c" : " ", op_name(q->op));
        if (q->op == OP_fused) {
            fputc('(', out);
            for (int m = 0; m < q->n_member; m++)
                fprintf(out, "%s%s", m ? " " : "", op_name(p->node[q->member[m]].op));
            fputc(')', out);
        }
        for (int k = 0; k < q->n_in; k++)
            print_value(p, q->in[k], false, out);
        fputs(" ->", out);
        for (int k = 0; k < q->n_out; k++)
            print_value(p, q->out[k], true, out);
        if (q->op == OP_assign)
            fprintf(out, " (a copy: %s)", p->node[q->member[0]].reason);
        fprintf(out, "  %.3g MFLOP %.3g MB", q->flops * 1e-6, q->bytes * 1e-6);
        const char *name = p->node[q->member[q->n_member - 1]].label;
        fprintf(out, "%s%s\n", name ? "  " : "", name ? name : "");
    }
    fprintf(out, "plan %s: %d nodes built, %d dead, %d joined, %d folded, %d recomputed, %d assigns in place; %d launches of %d\n",
            p->name, p->built, p->dead, p->joined, p->folded, p->cloned, p->dropped_assigns, launches, p->n_unit);
    fprintf(out, "plan %s: arena %.3f MB, constants %.3f MB, %.4g GFLOP and %.4g MB moved a run\n", p->name,
            (double)p->arena_bytes * 1e-6, (double)p->constant_bytes * 1e-6, flops * 1e-9, bytes * 1e-6);
}
