/* plan_fuse.c - which launches there are and in which order.
 *
 * Nodes are taken as built and placed into a list of units ordered by `key`. A pointwise node joins a unit that computes one of
 * its operands (or, failing that, one that reads one of its operands) when everything else it needs lies before that unit; a
 * unit may move to the end of the list to make that true, its readers after it when they are few, and two units whose values meet in
 * one node are merged when nothing between them stands in the way. Since every step keeps the list topological, no cycle can arise and no
 * search for one is needed. A unit that turns out to exceed the limits of backend.h is cut in two.
 *
 * Broadcasts, fills and reshapes are not computed: users read through them, unless a kernel needs the expanded tensor.
 */
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/engine/plan.h"

#define MAX_MEMBERS (FUSED_MAX_OPS - 4) /* leaves room for fills */
#define KEY_STEP (1 << 20)              /* leaves room for cutting units in two */

struct fuser {
    struct plan *p;
    int *effect, n_effect; /* effect nodes placed so far */
};

static struct unit *unit_of(struct plan *p, int id) { return p->node[id].unit >= 0 ? &p->unit[p->node[id].unit] : NULL; }

/* Is this node only read through, never stored for a pointwise user? */
static bool transparent(const struct pnode *n) {
    return n->op == OP_reshape || n->op == OP_fill || (n->op == OP_broadcast && !n->force);
}

/* A constant worth computing once: more than fills, views and broadcasts of inputs. */
static bool hoisted(const struct pnode *n) { return n->constant; }

static int add_unit(struct plan *p, int node) {
    if (p->n_unit == p->room_unit)
        p->unit = xrealloc(p->unit, sizeof *p->unit * (size_t)(p->room_unit = p->room_unit ? 2 * p->room_unit : 128));
    struct unit *u = &p->unit[p->n_unit];
    *u = (struct unit){.op = op_kind(p->node[node].op) == POINT ? OP_fused : p->node[node].op, .key = (p->next_key += KEY_STEP),
                       .constant = hoisted(&p->node[node]) && op_kind(p->node[node].op) != EFFECT};
    u->member = xmalloc(sizeof *u->member);
    u->member[0] = node;
    u->n_member = u->room_member = 1;
    p->node[node].unit = p->n_unit;
    return p->n_unit++;
}

static void add_member(struct plan *p, int unit, int node) {
    struct unit *u = &p->unit[unit];
    if (u->n_member == u->room_member)
        u->member = xrealloc(u->member, sizeof *u->member * (size_t)(u->room_member *= 2));
    u->member[u->n_member++] = node;
    p->node[node].unit = unit;
}

/* ---- what a node depends on ---- */
int plan_read(const struct plan *p, int id, bool *direct) {
    int start = id;
    while (p->node[id].op == OP_broadcast && !p->node[id].force)
        id = p->node[id].in[0];
    id = plan_base(p, id);
    *direct = id == start;
    return id;
}

/* Calls visit for each stored node (or input window) that pointwise node id reads. */
typedef bool visit_fn(struct fuser *f, void *arg, int base, bool direct);
static bool visit_reads(struct fuser *f, int id, visit_fn *visit, void *arg) {
    const struct plan *p = f->p;
    for (int k = 0; k < p->node[id].nin; k++) {
        bool direct;
        int base = plan_read(p, p->node[id].in[k], &direct);
        if (p->node[base].op != OP_fill && !visit(f, arg, base, direct))
            return false;
    }
    return true;
}

/* ---- may a read happen at a key? ---- */
struct at {
    int unit;
    int64_t key;
};

/* Everything node reads lies before the unit, or is a register of it; effects on windows it reads lie before too. */
static bool readable(struct fuser *f, void *arg, int base, bool direct) {
    struct at *a = arg;
    struct plan *p = f->p;
    if (p->node[base].op == OP_input) {
        for (int i = 0; i < f->n_effect && !p->node[base].constant; i++) {
            int w[3], n = effect_windows(p, &p->node[f->effect[i]], w);
            while (n-- > 0)
                if (windows_overlap(&p->node[w[n]], &p->node[base]) && unit_of(p, f->effect[i])->key >= a->key)
                    return false;
        }
        return true;
    }
    if (p->node[base].unit == a->unit)
        return direct;
    const struct unit *u = unit_of(p, base);
    return u->constant && !p->unit[a->unit].constant ? true : u->key < a->key;
}

/* No effect between two keys writes what this node reads. */
struct span {
    int64_t from, to;
};
static bool undisturbed(struct fuser *f, void *arg, int base, bool direct) {
    struct span *s = arg;
    struct plan *p = f->p;
    (void)direct;
    if (p->node[base].op != OP_input || p->node[base].constant)
        return true;
    for (int i = 0; i < f->n_effect; i++) {
        int64_t key = unit_of(p, f->effect[i])->key;
        int w[3], n = effect_windows(p, &p->node[f->effect[i]], w);
        while (n-- > 0)
            if (key > s->from && key < s->to && windows_overlap(&p->node[w[n]], &p->node[base]))
                return false;
    }
    return true;
}

/* Units that read what a unit makes, and who reads them: they follow when it moves. */
#define MAX_FOLLOWERS 8
struct followers {
    int unit[MAX_FOLLOWERS], n;
};

/* Adds the readers of node id that are placed before `to`, all but `self` and `other`. False when there are too many, or `other` reads
 * what it must not (a value of a unit that is to come after it; a register through a view). */
static bool add_followers(struct plan *p, struct followers *s, int id, int self, int other, bool moved, int64_t to) {
    for (int i = 0; i < p->node[id].n_user; i++) {
        int user = p->node[id].user[i], unit = p->node[user].unit, known = 0;
        if (transparent(&p->node[user]) && !add_followers(p, s, user, self, other, moved, to))
            return false;
        if (unit < 0 || unit == self || (unit != other && p->unit[unit].key >= to))
            continue;
        if (unit == other) {
            if (moved || transparent(&p->node[id]))
                return false;
            continue;
        }
        while (known < s->n && s->unit[known] != unit)
            known++;
        if (known == MAX_FOLLOWERS)
            return false;
        s->unit[known] = unit;
        s->n += known == s->n;
    }
    return true;
}

static bool in_followers(struct fuser *f, void *arg, int base, bool direct) {
    const struct followers *s = arg;
    (void)direct;
    for (int i = 0; i < s->n; i++)
        if (f->p->node[base].unit == s->unit[i])
            return false;
    return true;
}

/* May unit u move to a later key (into `other`, or -1: to the end)? Readers that stand in the way then move to the end of the list, when
 * they are few: a sum of what u computes, and what is made of the sum. */
static bool movable_with(struct fuser *f, int u, int other, int64_t to, struct followers *s) {
    struct plan *p = f->p;
    const int64_t end = p->next_key + KEY_STEP * (MAX_FOLLOWERS + 2);
    s->n = 0;
    for (int m = 0; m < p->unit[u].n_member; m++)
        if (!add_followers(p, s, p->unit[u].member[m], u, other, false, to) ||
            !visit_reads(f, p->unit[u].member[m], undisturbed, &(struct span){p->unit[u].key, to}))
            return false;
    for (int i = 0; i < s->n; i++) {
        struct unit *q = &p->unit[s->unit[i]];
        if (op_kind(q->op) == EFFECT || q->constant != p->unit[u].constant)
            return false;
        for (int m = 0; m < q->n_member; m++)
            if (!add_followers(p, s, q->member[m], s->unit[i], other, true, end) ||
                !visit_reads(f, q->member[m], undisturbed, &(struct span){q->key, end}))
                return false;
    }
    return true;
}

/* To the end of the list, in their order. */
static void move_followers(struct plan *p, struct followers *s) {
    for (int i = 1; i < s->n; i++)
        for (int k = i; k > 0 && p->unit[s->unit[k]].key < p->unit[s->unit[k - 1]].key; k--) {
            int t = s->unit[k];
            s->unit[k] = s->unit[k - 1], s->unit[k - 1] = t;
        }
    for (int i = 0; i < s->n; i++)
        p->unit[s->unit[i]].key = (p->next_key += KEY_STEP);
}

/* ---- limits ---- */
struct distinct {
    int id[FUSED_MAX_OPS * 3], n, unit, other;
};
static bool collect(struct fuser *f, void *arg, int base, bool direct) {
    struct distinct *d = arg;
    int unit = f->p->node[base].unit;
    if (direct && unit >= 0 && (unit == d->unit || unit == d->other))
        return true;
    for (int i = 0; i < d->n; i++)
        if (d->id[i] == base)
            return true;
    d->id[d->n++] = base;
    return true;
}

/* Inputs of unit u, with those of unit `other` or node `extra` (each -1: none). Bases stand for operands: one base read with two
 * different strides counts once here, and emit cuts the unit if that makes one too many. */
static int count_inputs(struct fuser *f, int u, int other, int extra) {
    struct distinct d = {.unit = u, .other = other};
    for (int m = 0; m < f->p->unit[u].n_member; m++)
        visit_reads(f, f->p->unit[u].member[m], collect, &d);
    for (int m = 0; other >= 0 && m < f->p->unit[other].n_member; m++)
        visit_reads(f, f->p->unit[other].member[m], collect, &d);
    if (extra >= 0)
        visit_reads(f, extra, collect, &d);
    return d.n;
}

static bool fits(struct fuser *f, int u, int other, int extra) {
    int ops = f->p->unit[u].n_member + (other >= 0 ? f->p->unit[other].n_member : 1);
    return ops <= MAX_MEMBERS && count_inputs(f, u, other, extra) <= MAX_IN;
}

/* ---- joining ---- */
static bool same_class(struct plan *p, int u, int node) {
    return p->unit[u].op == OP_fused && !p->unit[u].dropped && p->unit[u].constant == hoisted(&p->node[node]) &&
           pnode_same_shape(&p->node[p->unit[u].member[0]], &p->node[node]);
}

static bool try_join(struct fuser *f, int u, int node) {
    struct plan *p = f->p;
    if (!same_class(p, u, node) || !fits(f, u, -1, node))
        return false;
    if (!visit_reads(f, node, readable, &(struct at){u, p->unit[u].key})) {
        int64_t end = p->next_key + KEY_STEP;
        struct followers s;
        if (!visit_reads(f, node, readable, &(struct at){u, end}) || !movable_with(f, u, -1, end, &s) || !visit_reads(f, node, in_followers, &s))
            return false;
        p->unit[u].key = (p->next_key += KEY_STEP);
        move_followers(p, &s);
    }
    add_member(p, u, node);
    return true;
}

/* Merges unit a into the later unit b. */
static bool try_merge(struct fuser *f, int a, int b) {
    struct plan *p = f->p;
    struct followers s;
    if (a == b || p->unit[a].key > p->unit[b].key || !same_class(p, a, p->unit[b].member[0]) || !fits(f, a, b, -1) ||
        !movable_with(f, a, b, p->unit[b].key, &s))
        return false;
    move_followers(p, &s);
    struct unit *x = &p->unit[a], *y = &p->unit[b];
    int n = x->n_member + y->n_member, *all = xmalloc(sizeof *all * (size_t)n);
    memcpy(all, x->member, sizeof *all * (size_t)x->n_member);
    memcpy(all + x->n_member, y->member, sizeof *all * (size_t)y->n_member);
    free(y->member);
    y->member = all;
    y->n_member = y->room_member = n;
    for (int m = 0; m < x->n_member; m++)
        p->node[x->member[m]].unit = b;
    x->n_member = 0;
    x->dropped = true;
    return true;
}

/* Units that already read an operand of this shape: joining one of them saves reading it again. The last that works. */
static bool join_sibling(struct fuser *f, int node) {
    struct plan *p = f->p;
    for (int k = 0; k < p->node[node].nin; k++) {
        const struct pnode *in = &p->node[p->node[node].in[k]];
        if (transparent(in) || !pnode_same_shape(in, &p->node[node]))
            continue;
        for (int i = in->n_user - 1; i >= 0; i--)
            if (p->node[in->user[i]].unit >= 0 && try_join(f, p->node[in->user[i]].unit, node))
                return true;
    }
    return false;
}

static void place_point(struct fuser *f, int node) {
    struct plan *p = f->p;
    int producer[3], n = 0;
    for (int k = 0; k < p->node[node].nin; k++) {
        int u = p->node[p->node[node].in[k]].unit;
        if (u >= 0 && p->unit[u].op == OP_fused)
            producer[n++] = u;
    }
    for (int i = 0; i < n; i++) /* latest first */
        for (int j = i + 1; j < n; j++)
            if (p->unit[producer[j]].key > p->unit[producer[i]].key) {
                int t = producer[i];
                producer[i] = producer[j], producer[j] = t;
            }
    bool joined = false;
    for (int i = 0; i < n && !joined; i++)
        joined = try_join(f, producer[i], node);
    if (!joined && !join_sibling(f, node))
        add_unit(p, node);
    for (int i = 0; i < n; i++)
        if (!p->unit[producer[i]].dropped && p->unit[producer[i]].n_member)
            try_merge(f, producer[i], p->node[node].unit);
}

/* A kernel or an effect needs operand id stored: gives transparent ones a unit. */
static void materialise(struct plan *p, int id) {
    id = plan_base(p, id);
    if (transparent(&p->node[id]) && p->node[id].unit < 0)
        add_unit(p, id);
}

void plan_fuse(struct plan *p, const struct plan_options *o) {
    struct fuser f = {.p = p};
    f.effect = xmalloc(sizeof *f.effect * (size_t)(p->n + 1));
    int n = p->n;
    for (int id = 0; id < n; id++) {
        struct pnode *x = &p->node[id];
        enum op_kind kind = op_kind(x->op);
        if (!x->live || kind == LEAF || kind == VIEW || (kind == POINT && transparent(x)))
            continue;
        if (kind == POINT) { /* operands behind a reshape of a broadcast have no strides: store them */
            for (int k = 0; k < x->nin; k++) {
                bool direct;
                int base = plan_read(p, x->in[k], &direct);
                if (p->node[base].op == OP_broadcast)
                    materialise(p, base);
                x = &p->node[id];
            }
            if (o->no_fuse || x->op == OP_broadcast)
                add_unit(p, id);
            else
                place_point(&f, id);
            continue;
        }
        for (int k = 0; k < x->nin; k++)
            materialise(p, x->in[k]);
        add_unit(p, id);
        if (kind == EFFECT)
            f.effect[f.n_effect++] = id;
    }
    free(f.effect);
    if (!o->no_clone && !o->no_fuse)
        plan_clone(p, o->clone_bytes);
    plan_order(p);
}
