/* plan_simplify.c - the first pass: copies the live part of a graph into the plan, joins common subexpressions and folds what costs
 * a launch or a pass over memory for nothing (x + 0, 1 * x, casts to the same type, sums and reshapes of fills, permutations that
 * only move dimensions of size 1). For backends that sum in fused launches it also orders sums so that they can be had there, and
 * makes the convolution of a picture pointwise; Adam takes over the range check of its gradient.
 *
 * Leaves out algebra that changes rounding: a chain of scales stays a chain, it is one register operation each once fused.
 */
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/engine/plan.h"

struct state {
    struct plan *p;
    int *map;          /* graph id -> plan id */
    int *table, slots; /* open addressing: plan id + 1 */
    uint32_t *epoch;   /* per plan node: state of the windows it reads, see window_epoch */
    int epoch_room;
    bool off, sums;
};

/* ---- what a node reads directly from buffers ---- */
/* The input node behind reshapes and broadcasts, or -1. */
static int window_of(const struct plan *p, int id) {
    while (p->node[id].op == OP_reshape || p->node[id].op == OP_broadcast)
        id = p->node[id].in[0];
    return p->node[id].op == OP_input ? id : -1;
}

/* How many effects built so far write a window that overlaps this input. */
static uint32_t window_epoch(const struct plan *p, int input) {
    uint32_t n = 0;
    if (p->node[input].constant)
        return 0;
    for (int i = 0; i < p->n; i++) {
        int w[3], k = op_kind(p->node[i].op) == EFFECT ? effect_windows(p, &p->node[i], w) : 0;
        while (k-- > 0)
            n += windows_overlap(&p->node[w[k]], &p->node[input]);
    }
    return n;
}

/* ---- joining equal nodes ---- */
static bool equal(const struct state *s, const struct pnode *x, uint32_t ex, int id) {
    const struct pnode *y = &s->p->node[id];
    return x->op == y->op && x->dtype == y->dtype && pnode_same_shape(x, y) && x->nin == y->nin && ex == s->epoch[id] &&
           !memcmp(x->in, y->in, sizeof x->in[0] * (size_t)x->nin) && !memcmp(&x->a, &y->a, sizeof x->a) &&
           x->buffer == y->buffer && x->offset == y->offset && x->constant == y->constant;
}

static uint64_t hash_bytes(uint64_t h, const void *data, size_t size) {
    const uint8_t *b = data;
    while (size--)
        h = (h ^ *b++) * 0x100000001b3u;
    return h;
}

static uint64_t hash(const struct pnode *x) {
    uint64_t h = 0xcbf29ce484222325u;
    h = hash_bytes(h, &x->op, sizeof x->op);
    h = hash_bytes(h, x->dim, sizeof x->dim[0] * (size_t)x->ndim);
    h = hash_bytes(h, x->in, sizeof x->in[0] * (size_t)x->nin);
    h = hash_bytes(h, x->a.i, sizeof x->a.i);
    h = hash_bytes(h, x->a.f, sizeof x->a.f);
    return hash_bytes(h, &x->offset, sizeof x->offset);
}

static int append(struct state *s, const struct pnode *x, uint32_t epoch) {
    int id = plan_add_node(s->p, x);
    if (id >= s->epoch_room)
        s->epoch = xrealloc(s->epoch, sizeof *s->epoch * (size_t)(s->epoch_room = 2 * id + 64));
    s->epoch[id] = epoch;
    return id;
}

/* The id of an equal node that is there already, or of the new one. */
static int intern(struct state *s, const struct pnode *x) {
    uint32_t epoch = 0;
    for (int k = 0; k < x->nin; k++) {
        int w = window_of(s->p, x->in[k]);
        epoch += w >= 0 ? window_epoch(s->p, w) : 0;
    }
    if (op_kind(x->op) == EFFECT || s->off)
        return append(s, x, epoch);
    uint64_t h = hash(x) % (uint64_t)s->slots;
    for (; s->table[h]; h = (h + 1) % (uint64_t)s->slots)
        if (equal(s, x, epoch, s->table[h] - 1)) {
            s->p->joined++;
            return s->table[h] - 1;
        }
    int id = append(s, x, epoch);
    s->table[h] = id + 1;
    return id;
}

/* ---- folding ---- */
/* The value every element has, when that is known. */
static bool uniform(const struct plan *p, int id, float *value) {
    if (p->node[id].op != OP_fill)
        return false;
    *value = p->node[id].a.f[0];
    return true;
}

static int make_fill(struct state *s, const struct pnode *shape, float value) {
    struct pnode f = *shape;
    f.label = NULL;
    f.op = OP_fill;
    f.nin = 0;
    f.constant = true;
    memset(&f.a, 0, sizeof f.a);
    f.a.f[0] = value;
    return intern(s, &f);
}

static int make_scale(struct state *s, const struct pnode *like, int x, float factor, float offset) {
    struct pnode y = *like;
    y.label = NULL;
    y.op = OP_scale;
    y.nin = 1;
    y.in[0] = x;
    memset(&y.a, 0, sizeof y.a);
    y.a.f[0] = factor, y.a.f[1] = offset;
    y.constant = s->p->node[x].constant;
    return intern(s, &y);
}

static int make_reshape(struct state *s, const struct pnode *like, int x) {
    while (s->p->node[x].op == OP_reshape)
        x = s->p->node[x].in[0];
    if (pnode_same_shape(like, &s->p->node[x]))
        return x;
    struct pnode y = *like;
    y.label = NULL;
    y.op = OP_reshape;
    y.nin = 1;
    y.in[0] = x;
    memset(&y.a, 0, sizeof y.a);
    y.constant = s->p->node[x].constant;
    return intern(s, &y);
}

/* Does the permutation keep the order of the dimensions larger than 1? */
static bool moves_nothing(const struct plan *p, const struct pnode *x) {
    const struct pnode *in = &p->node[x->in[0]];
    int64_t last = -1;
    for (int i = 0; i < x->ndim; i++)
        if (in->dim[x->a.i[i]] > 1) {
            if (x->a.i[i] < last)
                return false;
            last = x->a.i[i];
        }
    return true;
}

/* ---- a sum of products of sums ---- */
static int make(struct state *s, const struct pnode *like, enum op op, enum dtype dtype, int in0, int in1) {
    struct pnode y = *like;
    y.label = NULL;
    y.op = op;
    y.dtype = dtype;
    y.nin = 1 + (in1 >= 0);
    y.in[0] = in0, y.in[1] = in1 >= 0 ? in1 : 0;
    y.constant = false;
    if (op != OP_sum)
        memset(&y.a, 0, sizeof y.a);
    return intern(s, &y);
}

/* Has a window that node `reader` reads through its operand id been written since? What is built now would see the new content. */
static bool overwritten_since(const struct state *s, int id, int reader) {
    int w = window_of(s->p, id);
    return w >= 0 && window_epoch(s->p, w) != s->epoch[reader];
}

static bool sums_last(const struct pnode *n) {
    return n->op == OP_sum && n->ndim > 1 && n->a.i[0] == (int64_t)1 << (n->ndim - 1) && n->dim[n->ndim - 1] == 1;
}

/* x = sum over all other dimensions of y * (sum of z over the last): sums y z over them first, then over the last. So the strength of
 * noise gets its gradient from the pass that computes z, where its own order would read z once more for sums of rows. */
static int sum_columns_first(struct state *s, const struct pnode *x) {
    struct plan *p = s->p;
    const struct pnode *product = &p->node[x->in[0]];
    int last = x->ndim - 1;
    if (product->op != OP_mul || x->dtype != DT_F32 || last < 1 || x->a.i[0] != ((int64_t)1 << last) - 1)
        return -1;
    int k = sums_last(&p->node[product->in[0]]) ? 0 : 1, z = p->node[product->in[k]].in[0], y = product->in[1 - k];
    if (!sums_last(&p->node[product->in[k]]) || pnode_count(&p->node[z]) < PLAN_MIN_SUM || p->node[z].dim[last] % 8 ||
        overwritten_since(s, y, x->in[0]) || overwritten_since(s, z, product->in[k]))
        return -1;
    struct pnode wide = p->node[z], columns = *x, total = *x;
    int row = make(s, &wide, OP_broadcast, p->node[y].dtype, y, -1);
    int terms = make(s, &wide, OP_mul, DT_F32, row, z);
    columns.dim[last] = wide.dim[last];
    total.a.i[0] = (int64_t)1 << last;
    return make(s, &total, OP_sum, DT_F32, make(s, &columns, OP_sum, DT_F32, terms, -1), -1);
}

/* x = sum of a whole row of values: in columns first, which the launch that computes the values can do (plan_sums.c). */
static int sum_row_by_columns(struct state *s, const struct pnode *x) {
    struct pnode table = s->p->node[x->in[0]], columns, total = *x;
    int64_t n = table.dim[0], C = n & -n; /* the largest power of two that divides it */
    C = C > 256 ? 256 : C;
    if (table.ndim != 1 || x->dtype != DT_F32 || n < PLAN_MIN_SUM || C < 8 || op_kind(table.op) != POINT)
        return -1;
    table.ndim = 2, table.dim[0] = n / C, table.dim[1] = C;
    columns = table, columns.dim[0] = 1, columns.a = x->a, columns.a.i[0] = 1;
    total.ndim = 2, total.dim[0] = total.dim[1] = 1, total.a.i[0] = 2;
    int whole = make(s, &total, OP_sum, DT_F32, make(s, &columns, OP_sum, DT_F32, make(s, &table, OP_reshape, table.dtype, x->in[0], -1), -1), -1);
    return make_reshape(s, x, whole);
}

/* A slice of one element along the last dimension. */
static int make_column(struct state *s, int id, int64_t at) {
    struct pnode y = s->p->node[id];
    y.label = NULL;
    y.op = OP_slice;
    y.nin = 1;
    y.in[0] = id;
    memset(&y.a, 0, sizeof y.a);
    y.a.i[0] = y.ndim - 1, y.a.i[1] = at, y.a.i[2] = 1;
    y.dim[y.ndim - 1] = 1;
    return intern(s, &y);
}

/* x = 1x1 convolution of a picture, 16-bit: as pointwise operations, which the passes that read it can do while they do theirs. The
 * largest tensor of a discriminator is then neither stored nor read. */
static int picture_by_channels(struct state *s, const struct pnode *x) {
    struct plan *p = s->p;
    const struct pnode *w = &p->node[x->in[1]];
    int64_t C = w->dim[3], K = w->dim[0];
    if (dtype_size(x->dtype) != 2 || w->dim[1] != 1 || w->dim[2] != 1 || C > 3 || K % 8 || x->a.i[0] != 1 || x->a.i[1] || x->a.i[2] ||
        pnode_count(x) < PLAN_MIN_SUM || x->constant)
        return -1;
    int y = -1, picture = x->in[0], weight = x->in[1];
    for (int64_t c = 0; c < C; c++) {
        struct pnode row = *x;
        int at = make_column(s, picture, c), k = make_column(s, weight, c);
        row.dim[0] = row.dim[1] = row.dim[2] = 1;
        row.dtype = x->dtype;
        k = make(s, x, OP_broadcast, x->dtype, make_reshape(s, &row, k), -1);
        at = make(s, x, OP_broadcast, x->dtype, at, -1);
        int product = make(s, x, OP_mul, DT_F32, at, k);
        y = y < 0 ? product : make(s, x, OP_add, DT_F32, product, y);
    }
    struct pnode narrow = *x;
    narrow.label = NULL;
    narrow.op = OP_cast;
    narrow.nin = 1;
    narrow.in[0] = y;
    memset(&narrow.a, 0, sizeof narrow.a);
    narrow.a.dtype = x->dtype;
    return intern(s, &narrow);
}

/* Adam brings a gradient into range while it reads it (adam.h): the pass that would store it is not needed. */
static void absorb_sanitize(struct state *s, struct pnode *x) {
    const struct pnode *node = s->p->node, *n = &node[x->in[1]];
    if (x->op != OP_adam || n->op != OP_sanitize || s->off)
        return;
    int reader = x->in[1], from = n->in[0];
    float limit = n->a.f[0], factor = 0;
    if (node[from].op == OP_scale && node[from].a.f[0] != 0 && node[from].a.f[1] == 0) /* a factor of 0 means none */
        factor = node[from].a.f[0], reader = from, from = node[from].in[0];
    if (node[from].op == OP_broadcast || !(limit > 0) || overwritten_since(s, from, reader))
        return;
    x->in[1] = from;
    x->a.f[0] = limit, x->a.f[1] = factor;
}

/* The id x can be replaced by, or -1. A result of another type than x's is never given. */
static int fold(struct state *s, const struct pnode *x) {
    struct plan *p = s->p;
    const struct pnode *in0 = x->nin ? &p->node[x->in[0]] : NULL;
    float u, v;
    bool known = x->nin && uniform(p, x->in[0], &u);
    switch (x->op) {
    case OP_reshape:
        return known ? make_fill(s, x, u) : in0->op == OP_reshape ? make_reshape(s, x, x->in[0]) : -1;
    case OP_broadcast:
    case OP_slice:
    case OP_cast: /* fill values are float32; the type is applied when stored */
        return known ? make_fill(s, x, u) : -1;
    case OP_permute:
        return known ? make_fill(s, x, u) : moves_nothing(p, x) ? make_reshape(s, x, x->in[0]) : -1;
    case OP_scale:
        return known ? make_fill(s, x, x->a.f[0] * u + x->a.f[1])
                     : x->a.f[0] == 1 && x->a.f[1] == 0 ? x->in[0] : -1;
    case OP_conv2d:
        return s->sums ? picture_by_channels(s, x) : -1;
    case OP_sum:
        if (!known && s->sums)
            return in0->ndim == 1 ? sum_row_by_columns(s, x) : sum_columns_first(s, x);
        return known && x->dtype == in0->dtype ? make_fill(s, x, (float)((double)u * (double)(pnode_count(in0) / pnode_count(x)))) : -1;
    case OP_add:
        if (known && p->node[x->in[1]].dtype == x->dtype)
            return u == 0 ? x->in[1] : make_scale(s, x, x->in[1], 1, u);
        if (uniform(p, x->in[1], &v))
            return v == 0 ? x->in[0] : make_scale(s, x, x->in[0], 1, v);
        return -1;
    case OP_sub:
        if (uniform(p, x->in[1], &v))
            return v == 0 ? x->in[0] : make_scale(s, x, x->in[0], 1, -v);
        return -1;
    case OP_mul:
        if (known && p->node[x->in[1]].dtype == x->dtype)
            return u == 1 ? x->in[1] : make_scale(s, x, x->in[1], u, 0);
        if (uniform(p, x->in[1], &v))
            return v == 1 ? x->in[0] : make_scale(s, x, x->in[0], v, 0);
        return -1;
    default:
        return -1;
    }
}

/* A broadcast node is read where its user runs; when an effect built between the two overwrites what it shows, it must be computed
 * at its own place instead. */
static void guard_reads(struct state *s, const struct pnode *x) {
    struct plan *p = s->p;
    for (int k = 0; k < x->nin; k++) {
        int id = x->in[k];
        while (p->node[id].op == OP_reshape)
            id = p->node[id].in[0];
        if (p->node[id].op != OP_broadcast)
            continue;
        int w = window_of(p, id);
        if (w >= 0 && window_epoch(p, w) != s->epoch[id])
            p->node[id].force = true;
    }
}

/* A copy of a window may only be folded into the window itself when nothing ever overwrites that. */
static bool overwritten(const struct graph *g, const bool *need, const struct pnode *window) {
    for (int i = 0; i < g->n && !window->constant; i++) {
        const tensor *t = g->node[i];
        static const int written[] = {0, 2, 3}; /* of adam; others write only in[0] */
        for (int k = 0; need[i] && op_kind(t->op) == EFFECT && k < (t->op == OP_adam ? 3 : 1); k++) {
            const tensor *w = t->in[written[k]];
            while (w->op == OP_reshape)
                w = w->in[0];
            int64_t bytes = tensor_count(w) * dtype_size(w->dtype);
            if (w->buffer == window->buffer && w->offset < window->offset + pnode_bytes(window) && window->offset < w->offset + bytes)
                return true;
        }
    }
    return false;
}

void plan_simplify(struct plan *p, const struct graph *g, const struct plan_options *o) {
    bool *need = xcalloc((size_t)g->n + 1, sizeof *need);
    for (int i = g->n - 1; i >= 0; i--) {
        need[i] |= op_kind(g->node[i]->op) == EFFECT;
        for (int k = 0; need[i] && k < g->node[i]->nin; k++)
            need[g->node[i]->in[k]->id] = true;
        p->dead += !need[i];
    }
    struct state s = {.p = p, .off = o->no_simplify, .sums = o->sums && !o->no_fuse};
    s.slots = 4 * g->n + 64;
    s.table = xcalloc((size_t)s.slots, sizeof *s.table);
    s.map = xcalloc((size_t)g->n + 1, sizeof *s.map);
    for (int i = 0; i < g->n; i++) {
        const tensor *t = g->node[i];
        if (!need[i])
            continue;
        struct pnode x = {.op = t->op, .dtype = t->dtype, .ndim = t->ndim, .nin = t->nin, .a = t->a,
                          .buffer = t->buffer, .offset = t->offset, .constant = t->constant, .unit = -1};
        memcpy(x.dim, t->dim, sizeof x.dim);
        for (int k = 0; k < t->nin; k++)
            x.in[k] = s.map[t->in[k]->id];
        absorb_sanitize(&s, &x);
        int folded = s.off ? -1 : fold(&s, &x);
        if (folded >= 0 && x.op != OP_reshape && x.op != OP_broadcast && window_of(p, folded) >= 0 &&
            overwritten(g, need, &p->node[window_of(p, folded)]))
            folded = -1;
        p->folded += folded >= 0;
        s.map[i] = folded >= 0 ? folded : intern(&s, &x);
        guard_reads(&s, &p->node[s.map[i]]);
        if (t->name && !p->node[s.map[i]].label)
            p->node[s.map[i]].label = xstrdup(t->name);
    }
    free(need);
    free(s.map);
    free(s.table);
    free(s.epoch);
}
