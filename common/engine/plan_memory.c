/* plan_memory.c - where every stored value lies: in a caller's buffer when it is only computed to be assigned there, in the memory
 * of constants, or in the arena; and which values share bytes there.
 *
 * The arena is an offline problem: every value has a size and an interval of units during which it lives. Values are placed
 * largest first, each at the lowest offset free during its whole interval; for training steps that comes within a few per cent of
 * the largest sum of sizes alive at one time.
 */
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/engine/plan.h"

#define ALIGN 256
static int64_t aligned(int64_t bytes) { return (bytes + ALIGN - 1) / ALIGN * ALIGN; }

/* ---- liveness ---- */
static void live_intervals(struct plan *p) {
    for (int i = 0; i < p->n; i++)
        p->node[i].birth = p->node[i].death = -1;
    for (int u = 0; u < p->n_unit; u++) {
        for (int k = 0; k < p->unit[u].n_out; k++)
            p->node[p->unit[u].out[k]].birth = p->node[p->unit[u].out[k]].death = u;
        for (int k = 0; k < p->unit[u].n_in; k++)
            p->node[plan_base(p, p->unit[u].in[k])].death = u;
    }
}

/* ---- assigns written in place ---- */
static bool unit_reads_window(const struct plan *p, const struct unit *u, const struct pnode *w) {
    for (int k = u->op == OP_assign; k < u->n_in; k++) { /* an assign only writes its first */
        const struct pnode *b = &p->node[plan_base(p, u->in[k])];
        if ((b->op == OP_input && windows_overlap(b, w)) ||
            (b->place == PLACE_BUFFER && b->place_buffer == w->buffer && b->place_offset < w->offset + pnode_bytes(w) &&
             w->offset < b->place_offset + pnode_bytes(b)))
            return true;
    }
    return false;
}

static bool unit_writes_window(const struct plan *p, const struct unit *u, const struct pnode *w) {
    int e[3], n = op_kind(u->op) == EFFECT ? effect_windows(p, &p->node[u->member[0]], e) : 0;
    while (n-- > 0)
        if (windows_overlap(&p->node[e[n]], w))
            return true;
    for (int k = 0; k < u->n_out; k++) {
        const struct pnode *b = &p->node[u->out[k]];
        if (b->place == PLACE_BUFFER && b->place_buffer == w->buffer && b->place_offset < w->offset + pnode_bytes(w) &&
            w->offset < b->place_offset + pnode_bytes(b))
            return true;
    }
    return false;
}

/* The value of assign unit a can be computed straight into the window when nobody looks at the window from the moment it is
 * computed to the assign, and nobody overwrites it while the value is still read. Says why not. */
static const char *assign_in_place(const struct plan *p, int a, int value, const struct pnode *w) {
    const struct pnode *v = &p->node[value];
    if (v->op == OP_input)
        return "the value is a buffer itself";
    if (v->place != PLACE_NONE)
        return "the value is stored elsewhere already";
    if (v->unit < 0 || p->unit[v->unit].constant)
        return "the value is a constant";
    if (pnode_bytes(v) != pnode_bytes(w))
        return "sizes differ";
    for (int u = v->unit; u < a; u++)
        if (unit_reads_window(p, &p->unit[u], w) || unit_writes_window(p, &p->unit[u], w))
            return "the buffer is used between";
    for (int u = a + 1; u <= v->death; u++)
        if (unit_writes_window(p, &p->unit[u], w))
            return "the buffer is overwritten while the value lives";
    return NULL;
}

static void place_assigns(struct plan *p) {
    for (int a = 0; a < p->n_unit; a++) {
        struct unit *u = &p->unit[a];
        if (u->op != OP_assign)
            continue;
        int value = plan_base(p, u->in[1]);
        const struct pnode *w = &p->node[plan_base(p, u->in[0])];
        const char *why = assign_in_place(p, a, value, w);
        p->node[u->member[0]].reason = why;
        if (why)
            continue;
        struct pnode *v = &p->node[value];
        v->place = PLACE_BUFFER;
        v->place_buffer = w->buffer;
        v->place_offset = w->offset;
        v->reason = "written straight to its buffer";
        u->dropped = true;
        p->dropped_assigns++;
    }
}

/* ---- the arena ---- */
/* Where launches run side by side, a byte that is used again makes the second use wait for all readers of the first. So small values
 * share no memory, and what weight gradients read, which nobody else waits for, stays a while. */
#define SMALL_BYTES (1 << 20)
#define STAY 8 /* units */

static void let_stay(struct plan *p) {
    int *until = xcalloc((size_t)p->n + 1, sizeof *until);
    for (int u = 0; u < p->n_unit; u++)
        for (int k = 0; p->unit[u].op == OP_conv2d_weight_grad && k < p->unit[u].n_in; k++)
            until[plan_base(p, p->unit[u].in[k])] = u + STAY < p->n_unit ? u + STAY : p->n_unit - 1;
    for (int i = 0; i < p->n; i++)
        if (p->node[i].birth >= 0 && until[i] > p->node[i].death)
            p->node[i].death = until[i];
    free(until);
}

struct slot {
    int64_t bytes, offset;
    int birth, death;
};

/* The input of unit u whose memory output `out` can take over, or -1; *why says what prevents it. */
static int reusable_input(const struct plan *p, int u, int out, const char **why) {
    const struct unit *q = &p->unit[u];
    *why = "first use";
    if (q->op != OP_fused)
        return -1;
    for (int k = 0; k < q->n_out; k++)
        if (q->out[k] == out && q->fused->sum[k])
            return -1;
    for (int k = 0; k < q->n_in; k++) {
        int b = plan_base(p, q->in[k]);
        const struct pnode *x = &p->node[b], *y = &p->node[out];
        if (x->place != PLACE_ARENA || pnode_bytes(x) != pnode_bytes(y) || x->dtype != y->dtype)
            continue;
        bool dense = true;
        int64_t n = 1;
        for (int d = q->fused->ndim - 1; d >= 0; n *= q->fused->dim[d--])
            dense &= q->fused->stride[k][d] == n || q->fused->dim[d] == 1;
        for (int j = 0; j < q->n_in; j++)
            dense &= j == k || plan_base(p, q->in[j]) != b;
        if (!dense)
            *why = "its input is read with a broadcast";
        else if (x->death != u)
            *why = "its input is still read later";
        else
            return b;
    }
    return -1;
}

static int larger_first(const void *a, const void *b) {
    const struct slot *x = *(struct slot *const *)a, *y = *(struct slot *const *)b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return x->birth - y->birth;
}

static int lower_first(const void *a, const void *b) {
    const struct slot *x = *(struct slot *const *)a, *y = *(struct slot *const *)b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

/* Gives every slot its offset; returns the arena's size. */
static int64_t pack(struct slot *slot, int n) {
    struct slot **order = xmalloc(sizeof *order * (size_t)(n + 1)), **beside = xmalloc(sizeof *beside * (size_t)(n + 1));
    int64_t size = 0;
    for (int i = 0; i < n; i++)
        order[i] = &slot[i];
    qsort(order, (size_t)n, sizeof *order, larger_first);
    for (int i = 0; i < n; i++) {
        int m = 0;
        for (int j = 0; j < i; j++)
            if (order[j]->birth <= order[i]->death && order[i]->birth <= order[j]->death)
                beside[m++] = order[j];
        qsort(beside, (size_t)m, sizeof *beside, lower_first);
        int64_t at = 0;
        for (int j = 0; j < m && beside[j]->offset < at + order[i]->bytes; j++)
            if (beside[j]->offset + beside[j]->bytes > at)
                at = beside[j]->offset + beside[j]->bytes;
        order[i]->offset = at;
        if (at + order[i]->bytes > size)
            size = at + order[i]->bytes;
    }
    free(order);
    free(beside);
    return size;
}

void plan_place(struct plan *p, const struct plan_options *o) {
    live_intervals(p);
    if (!o->no_inplace) {
        place_assigns(p);
        plan_order(p);
        live_intervals(p);
    }
    /* constants that runs read have their own memory; the rest goes to the arena, constants among it too: it is theirs until
     * the first launch of the run itself */
    bool side_by_side = o->lanes > 1;
    if (side_by_side)
        let_stay(p);
    struct slot *slot = xmalloc(sizeof *slot * (size_t)(p->n + 1));
    int *of = xmalloc(sizeof *of * (size_t)(p->n + 1)), n = 0;
    for (int u = 0; u < p->n_unit; u++)
        for (int k = 0; k < p->unit[u].n_out; k++) {
            int id = p->unit[u].out[k];
            struct pnode *v = &p->node[id];
            of[id] = -1;
            if (v->place == PLACE_BUFFER)
                continue;
            if (p->unit[u].constant && !p->unit[v->death].constant) {
                v->place = PLACE_CONSTANT;
                v->place_offset = p->constant_bytes;
                v->reason = "computed once";
                p->constant_bytes += aligned(pnode_bytes(v));
                continue;
            }
            v->place = PLACE_ARENA;
            bool alone = side_by_side && pnode_bytes(v) < SMALL_BYTES;
            int from = o->no_inplace || alone ? -1 : reusable_input(p, u, id, &v->reason);
            bool taken = false; /* by another output of this unit */
            for (int j = 0; j < k && from >= 0; j++)
                taken |= of[p->unit[u].out[j]] == of[from];
            if (from >= 0 && !taken) {
                of[id] = of[from];
                slot[of[id]].death = v->death;
                v->reason = "in place of its input";
                continue;
            }
            of[id] = n;
            slot[n] = (struct slot){.bytes = aligned(pnode_bytes(v)), .birth = v->birth, .death = v->death};
            if (alone)
                slot[n].birth = 0, slot[n].death = p->n_unit;
            n++;
        }
    if (o->no_inplace) /* every value by itself, for tests */
        for (int i = 0; i < n; i++)
            slot[i].birth = 0, slot[i].death = p->n_unit;
    p->arena_bytes = pack(slot, n);
    for (int u = 0; u < p->n_unit; u++)
        for (int k = 0; k < p->unit[u].n_out; k++) {
            int id = p->unit[u].out[k];
            if (p->node[id].place == PLACE_ARENA)
                p->node[id].place_offset = slot[of[id]].offset;
        }
    free(of);
    free(slot);
}
