/* plan_clone.c - recomputing instead of storing: what a backward pass needs of a forward pass.
 *
 * A fused unit P often stores values that only later fused units read: the sign of a leaky ReLU's input, the value before a clamp.
 * When such a value can be had by a few cheap operations from what is stored anyway (for a layer: from the convolution's result,
 * which its gradient reads in any case), every reader recomputes it in its registers and P stores one tensor less: a write and a
 * read of main memory against a handful of operations in the L1 cache. Values are taken latest first, so that a chain is pulled
 * over whole.
 *
 * Refused when a reader is a kernel, reads through a view, would exceed the limits of a fused unit or read more than one large
 * tensor it does not read yet, when an operation is expensive (exp and its kin), or an effect between overwrites what P read.
 */
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/engine/plan.h"

#define MIN_BYTES (64 << 10) /* smaller tensors stay in the L2 cache, where storing is as cheap */
#define MAX_CLONES 12        /* operations for one value */
#define MAX_READERS 8

static bool cheap(enum op op) {
    switch (op) {
    case OP_exp:
    case OP_log:
    case OP_softplus:
    case OP_sigmoid:
    case OP_tanh:
    case OP_broadcast:
        return false;
    default:
        return op_kind(op) == POINT;
    }
}

/* The members of P that value t is made of, inputs before users. False when one is expensive or there are too many. */
static bool expand(const struct plan *p, int unit, int id, int *list, int *n) {
    if (p->node[id].unit != unit)
        return true;
    for (int i = 0; i < *n; i++)
        if (list[i] == id)
            return true;
    if (!cheap(p->node[id].op))
        return false;
    for (int k = 0; k < p->node[id].nin; k++)
        if (!expand(p, unit, p->node[id].in[k], list, n))
            return false;
    if (*n == MAX_CLONES)
        return false;
    list[(*n)++] = id;
    return true;
}

static bool contains(const int *list, int n, int id) {
    for (int i = 0; i < n; i++)
        if (list[i] == id)
            return true;
    return false;
}

/* The distinct stored nodes that members (or the listed nodes) read from outside `list` and unit. */
static int add_reads(const struct plan *p, int unit, const int *list, int n, int skip, int *base, int n_base) {
    for (int i = 0; i < n; i++)
        for (int k = 0; k < p->node[list[i]].nin; k++) {
            bool direct;
            int in = p->node[list[i]].in[k], b = plan_read(p, in, &direct);
            if (in == skip || p->node[b].op == OP_fill || (direct && p->node[b].unit == unit && p->node[b].op != OP_input))
                continue;
            if (!contains(base, n_base, b))
                base[n_base++] = b;
        }
    return n_base;
}

/* Nothing writes the windows that the listed nodes read between two keys. */
static bool undisturbed(const struct plan *p, const int *list, int n, int64_t from, int64_t to) {
    int base[3 * MAX_CLONES], n_base = add_reads(p, -2, list, n, -1, base, 0);
    for (int u = 0; u < p->n_unit; u++) {
        if (op_kind(p->unit[u].op) != EFFECT || p->unit[u].key < from || p->unit[u].key > to)
            continue;
        int w[3], k = effect_windows(p, &p->node[p->unit[u].member[0]], w);
        while (k-- > 0)
            for (int i = 0; i < n_base; i++)
                if (p->node[base[i]].op == OP_input && windows_overlap(&p->node[w[k]], &p->node[base[i]]))
                    return false;
    }
    return true;
}

/* May unit r recompute t, made of the listed members of unit `from`? */
static bool affordable(const struct plan *p, int from, int t, const int *list, int n, int r) {
    const struct unit *u = &p->unit[r];
    int base[3 * (FUSED_MAX_OPS + MAX_CLONES)];
    if (u->n_member + n > FUSED_MAX_OPS - 4)
        return false;
    int had = add_reads(p, r, u->member, u->n_member, t, base, 0);
    int all = add_reads(p, from, list, n, -1, base, had), large = 0;
    for (int i = had; i < all; i++)
        large += pnode_count(&p->node[base[i]]) * 2 > pnode_count(&p->node[t]);
    return all <= MAX_IN && large <= 1 && undisturbed(p, list, n, p->unit[from].key, u->key);
}

/* Puts copies of the listed nodes before the members of unit r (after `done` earlier copies) and lets it read the copy of t. */
static void recompute(struct plan *p, int t, const int *list, int n, int r, int *copies) {
    struct unit *u = &p->unit[r];
    int clone[MAX_CLONES];
    for (int i = 0; i < n; i++) {
        struct pnode c = p->node[list[i]];
        c.label = NULL;
        c.user = NULL;
        c.n_user = c.room_user = 0;
        c.unit = r;
        for (int k = 0; k < c.nin; k++)
            for (int j = 0; j < i; j++)
                if (c.in[k] == list[j])
                    c.in[k] = clone[j];
        clone[i] = -1;
        for (int m = 0; m < *copies && clone[i] < 0; m++) { /* made for an earlier value already? */
            const struct pnode *x = &p->node[u->member[m]];
            if (x->op == c.op && x->dtype == c.dtype && !memcmp(x->in, c.in, sizeof c.in[0] * (size_t)c.nin) &&
                !memcmp(&x->a, &c.a, sizeof c.a))
                clone[i] = u->member[m];
        }
        if (clone[i] >= 0)
            continue;
        clone[i] = plan_add_node(p, &c);
        u->member = xrealloc(u->member, sizeof *u->member * (size_t)(u->n_member + 1));
        memmove(u->member + *copies + 1, u->member + *copies, sizeof *u->member * (size_t)(u->n_member - *copies));
        u->member[(*copies)++] = clone[i];
        u->room_member = ++u->n_member;
        p->cloned++;
    }
    for (int m = *copies; m < u->n_member; m++)
        for (int k = 0; k < p->node[u->member[m]].nin; k++)
            if (p->node[u->member[m]].in[k] == t)
                p->node[u->member[m]].in[k] = clone[n - 1];
}

/* Tries to stop unit `from` from storing t. */
static bool unstore(struct plan *p, int from, int t, int *copies) {
    const struct pnode *v = &p->node[t];
    int list[MAX_CLONES], n = 0, reader[MAX_READERS], readers = 0;
    for (int i = 0; i < v->n_user; i++) {
        const struct pnode *user = &p->node[v->user[i]];
        int r = user->unit;
        if (r == from)
            continue;
        if (r < 0 || p->unit[r].op != OP_fused || p->unit[r].constant != p->unit[from].constant || !pnode_same_shape(user, v))
            return false;
        if (contains(reader, readers, r))
            continue;
        if (readers == MAX_READERS)
            return false;
        reader[readers++] = r;
    }
    if (!readers || !expand(p, from, t, list, &n))
        return false;
    for (int i = 0; i < readers; i++)
        if (!affordable(p, from, t, list, n, reader[i]))
            return false;
    for (int i = 0; i < readers; i++)
        recompute(p, t, list, n, reader[i], &copies[reader[i]]);
    return true;
}

static int later_first(const void *a, const void *b) {
    const int64_t *x = a, *y = b;
    return (x[0] < y[0]) - (x[0] > y[0]);
}

/* Takes members out that nobody needs any more. */
static void drop_dead_members(struct plan *p) {
    for (int u = 0; u < p->n_unit; u++) {
        struct unit *q = &p->unit[u];
        int n = 0;
        for (int m = 0; m < q->n_member; m++)
            if (p->node[q->member[m]].live)
                q->member[n++] = q->member[m];
        q->n_member = n;
        q->dropped |= !n;
    }
}

void plan_clone(struct plan *p, int64_t min_bytes) {
    min_bytes = min_bytes ? min_bytes : MIN_BYTES;
    int64_t (*order)[2] = xmalloc(sizeof *order * (size_t)(p->n_unit + 1));
    int *copies = xcalloc((size_t)p->n_unit + 1, sizeof *copies), n = 0; /* copies at the front of each unit */
    for (int u = 0; u < p->n_unit; u++)
        if (p->unit[u].op == OP_fused) {
            order[n][0] = p->unit[u].key;
            order[n++][1] = u;
        }
    qsort(order, (size_t)n, sizeof *order, later_first);
    for (int i = 0; i < n; i++) {
        int u = (int)order[i][1];
        for (int m = p->unit[u].n_member - 1; m >= 0; m--)
            if (pnode_bytes(&p->node[p->unit[u].member[m]]) >= min_bytes && unstore(p, u, p->unit[u].member[m], copies))
                plan_users(p);
    }
    free(order);
    free(copies);
    drop_dead_members(p);
}
