/* plan_lanes.c - which launches may run side by side. A GPU that captures a program takes it as a graph; queued on one stream the graph
 * is a chain, where each of 650 small launches of a training iteration costs 2 to 3 us whatever it does, and where the tail of every
 * large one leaves multiprocessors idle.
 *
 * Two passes over the units in order. First the exact hazards: what must run before what, from the bytes that units read and write in
 * the arena and in buffers, shared ones among them. Then each unit gets a lane, a queue of its own: lane 0 has the longest path, the
 * others what it need not wait for at once; and waits between lanes, of which those are left out that others imply. Lane 0 keeps the order
 * of units; in the others each comes as early as what it needs allows.
 */
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/engine/plan.h"

#define MIN_SLACK 100e-6              /* seconds: what can wait less stays in lane 0; of short programs: */
#define MIN_SLACK_PART (1 / 40.0)     /* of the whole */
#define LARGE_SECONDS 8e-6            /* of work: 28 MB or 5.6 GFLOP */
#define MOST_WORKSPACE (256LL << 20)  /* each lane has its own: what needs more stays in lane 0 */

/* ---- hazards ---- */

/* Unit u runs after the units on[first[u]] .. on[first[u + 1] - 1], all before it: those that wrote what it reads or writes, and those
 * that read what it writes, as long as no unit between them wrote it. Constant units have none. */
struct hazards {
    int *first, *on, n, room;
};
struct access {
    const void *base; /* NULL: the arena */
    int64_t from, to;
    int unit;
    bool write;
};
struct accesses {
    struct access *at;
    int n, room;
};

static void add_access(struct accesses *a, const struct plan *p, int unit, int id, bool write) {
    const struct pnode *n = &p->node[plan_base(p, id)];
    struct access x = {.unit = unit, .write = write};
    if (n->op == OP_input)
        x.base = n->buffer, x.from = n->offset;
    else if (n->place == PLACE_BUFFER)
        x.base = n->place_buffer, x.from = n->place_offset;
    else if (n->place == PLACE_ARENA)
        x.from = n->place_offset;
    else
        return; /* constants: computed before, never written in a run */
    x.to = x.from + pnode_bytes(n);
    if (x.to == x.from)
        return;
    if (a->n == a->room)
        a->at = xrealloc(a->at, sizeof *a->at * (size_t)(a->room = 2 * a->room + 256));
    a->at[a->n++] = x;
}

/* In the order of units, each unit's reads before its writes. */
static struct accesses accesses_of(const struct plan *p) {
    struct accesses a = {0};
    for (int u = 0; u < p->n_unit; u++) {
        const struct unit *q = &p->unit[u];
        int window[3], n = op_kind(q->op) == EFFECT ? effect_windows(p, &p->node[q->member[0]], window) : 0;
        if (q->constant)
            continue;
        for (int k = q->op == OP_assign; k < q->n_in; k++) /* an assign only writes its first */
            add_access(&a, p, u, q->in[k], false);
        for (int k = 0; k < q->n_out; k++)
            add_access(&a, p, u, q->out[k], true);
        while (n-- > 0)
            add_access(&a, p, u, window[n], true);
    }
    return a;
}

/* Memory cut at every place where an access begins or ends. A piece goes to the next piece. */
struct piece {
    const void *base;
    int64_t at;
    int writer, reader; /* the last unit that wrote it, or -1; the first of the list of those that read it since, or -1 */
};

static int by_place(const void *a, const void *b) {
    const struct piece *x = a, *y = b;
    if (x->base != y->base)
        return (uintptr_t)x->base < (uintptr_t)y->base ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

static struct piece *pieces_of(const struct accesses *a, int *n) {
    struct piece *p = xmalloc(sizeof *p * (size_t)(2 * a->n + 1));
    for (int i = 0; i < a->n; i++)
        for (int k = 0; k < 2; k++)
            p[2 * i + k] = (struct piece){a->at[i].base, k ? a->at[i].to : a->at[i].from, -1, -1};
    qsort(p, (size_t)(2 * a->n), sizeof *p, by_place);
    *n = 0;
    for (int i = 0; i < 2 * a->n; i++)
        if (!*n || by_place(&p[i], &p[*n - 1]))
            p[(*n)++] = p[i];
    return p;
}

struct reader {
    int unit, next;
};
struct reader_list {
    struct reader *at;
    int n, room;
};

static void add_hazard(struct hazards *h, int *seen, int u, int on) {
    if (on < 0 || on == u || seen[on] == u)
        return;
    seen[on] = u;
    if (h->n == h->room)
        h->on = xrealloc(h->on, sizeof *h->on * (size_t)(h->room = 2 * h->room + 256));
    h->on[h->n++] = on;
}

static struct hazards find_hazards(const struct plan *p) {
    struct hazards h = {.first = xcalloc((size_t)p->n_unit + 1, sizeof *h.first)};
    struct accesses a = accesses_of(p);
    struct reader_list readers = {0};
    int n_piece, *seen = xmalloc(sizeof *seen * (size_t)(p->n_unit + 1)), next = 0;
    struct piece *piece = pieces_of(&a, &n_piece);
    for (int u = 0; u < p->n_unit; u++)
        seen[u] = -1;
    for (int u = 0; u < p->n_unit; u++) {
        h.first[u] = h.n;
        for (; next < a.n && a.at[next].unit == u; next++) {
            const struct access *x = &a.at[next];
            struct piece *q = bsearch(&(struct piece){.base = x->base, .at = x->from}, piece, (size_t)n_piece, sizeof *piece, by_place);
            for (; q->base == x->base && q->at < x->to; q++) {
                add_hazard(&h, seen, u, q->writer);
                if (x->write) {
                    for (int r = q->reader; r >= 0; r = readers.at[r].next)
                        add_hazard(&h, seen, u, readers.at[r].unit);
                    q->writer = u;
                    q->reader = -1;
                } else if (q->reader < 0 || readers.at[q->reader].unit != u) {
                    if (readers.n == readers.room)
                        readers.at = xrealloc(readers.at, sizeof *readers.at * (size_t)(readers.room = 2 * readers.room + 1024));
                    readers.at[readers.n] = (struct reader){u, q->reader};
                    q->reader = readers.n++;
                }
            }
        }
    }
    h.first[p->n_unit] = h.n;
    free(a.at);
    free(piece);
    free(readers.at);
    free(seen);
    return h;
}

static void hazards_free(struct hazards *h) {
    free(h->first);
    free(h->on);
}

/* ---- lanes ---- */
double unit_seconds(const struct unit *u) { return LAUNCH_SECONDS + unit_work(u); }
double unit_work(const struct unit *u) { return u->bytes / 3.5e12 + u->flops / 700e12; }

/* How long each unit could wait, were there room for everything at once, without the end being later. */
static double *slack_of(const struct plan *p, const struct hazards *h, double *longest) {
    double *head = xcalloc((size_t)p->n_unit + 1, sizeof *head), *tail = xcalloc((size_t)p->n_unit + 1, sizeof *tail), whole = 0;
    for (int u = 0; u < p->n_unit; u++) {
        for (int k = h->first[u]; k < h->first[u + 1]; k++) {
            double done = head[h->on[k]] + unit_seconds(&p->unit[h->on[k]]);
            head[u] = done > head[u] ? done : head[u];
        }
        double end = head[u] + unit_seconds(&p->unit[u]);
        whole = end > whole ? end : whole;
    }
    for (int u = p->n_unit - 1; u >= 0; u--) {
        tail[u] += unit_seconds(&p->unit[u]);
        for (int k = h->first[u]; k < h->first[u + 1]; k++)
            tail[h->on[k]] = tail[u] > tail[h->on[k]] ? tail[u] : tail[h->on[k]];
    }
    for (int u = 0; u < p->n_unit; u++)
        head[u] = whole - head[u] - tail[u];
    *longest = whole;
    free(tail);
    return head;
}

/* Small work must come before a lane 0 that is busy gets to it, so it has a lane where nothing large is in the way; what follows from
 * large work queues behind that. */
static void choose_lanes(const struct plan *p, const struct hazards *h, double min_slack, struct lanes *l) {
    double whole, *slack = slack_of(p, h, &whole), load[MAX_LANES] = {0};
    if (min_slack <= 0)
        min_slack = whole * MIN_SLACK_PART < MIN_SLACK ? whole * MIN_SLACK_PART : MIN_SLACK;
    for (int u = 0; u < p->n_unit; u++) {
        struct lane_step *s = &l->step[u];
        if (p->unit[u].constant || slack[u] < min_slack || l->n == 1 || p->unit[u].workspace_bytes > MOST_WORKSPACE)
            continue;
        bool large = unit_work(&p->unit[u]) > LARGE_SECONDS || l->n == 2;
        int after = -1; /* the small unit that it follows last */
        for (int k = h->first[u]; k < h->first[u + 1]; k++) {
            large |= l->step[h->on[k]].lane == 1;
            after = l->step[h->on[k]].lane >= 2 && h->on[k] > after ? h->on[k] : after;
        }
        s->lane = 1;
        if (!large) {
            s->lane = 2;
            if (after >= 0)
                s->lane = l->step[after].lane;
            else
                for (int i = 3; i < l->n; i++)
                    s->lane = load[i] < load[s->lane] ? i : s->lane;
        }
        load[s->lane] += unit_seconds(&p->unit[u]);
    }
    free(slack);
}

/* The order of queueing: lane 0's units as they are, the others right after the last unit of lane 0 that they follow from. */
struct turn {
    int after, unit;
};

static int by_after(const void *a, const void *b) {
    const struct turn *x = a, *y = b;
    return x->after != y->after ? (x->after > y->after) - (x->after < y->after) : (x->unit > y->unit) - (x->unit < y->unit);
}

static void choose_order(const struct plan *p, const struct hazards *h, struct lanes *l) {
    struct turn *place = xmalloc(sizeof *place * (size_t)(p->n_unit + 1));
    for (int u = 0; u < p->n_unit; u++) {
        place[u] = (struct turn){l->step[u].lane || p->unit[u].constant ? -1 : u, u};
        for (int k = h->first[u]; k < h->first[u + 1] && l->step[u].lane; k++)
            place[u].after = place[h->on[k]].after > place[u].after ? place[h->on[k]].after : place[u].after;
    }
    qsort(place, (size_t)p->n_unit, sizeof *place, by_after);
    for (int i = 0; i < p->n_unit; i++)
        if (!p->unit[place[i].unit].constant)
            l->order[l->n_order++] = place[i].unit;
    free(place);
}

/* known[i][lane]: the last place in the order, of that lane, that is surely done when place i is; i itself in its own lane. */
typedef int known[MAX_LANES];

static void take_in(known into, const known from) {
    for (int i = 0; i < MAX_LANES; i++)
        into[i] = from[i] > into[i] ? from[i] : into[i];
}

/* Of the last places to wait for in each lane (-1: none), those that `have` and the others do not imply. */
static int needed_waits(const known want, const known have, known *of, int *wait) {
    int n = 0;
    for (int i = 0; i < MAX_LANES; i++) {
        bool implied = want[i] <= have[i];
        for (int j = 0; j < MAX_LANES && !implied; j++)
            implied = j != i && want[j] > have[j] && of[want[j]][i] >= want[i];
        if (!implied)
            wait[n++] = want[i];
    }
    return n;
}

static int mark_of(struct lanes *l, int place) {
    struct lane_step *s = &l->step[l->order[place]];
    if (!s->mark)
        s->mark = l->n_marks++;
    return s->mark;
}

static void choose_waits(const struct plan *p, const struct hazards *h, struct lanes *l) {
    known *of = xmalloc(sizeof *of * (size_t)(p->n_unit + 1)), have[MAX_LANES];
    int last[MAX_LANES], *place = xmalloc(sizeof *place * (size_t)(p->n_unit + 1)); /* last place of each lane; place of each unit */
    memset(have, -1, sizeof have);
    memset(last, -1, sizeof last);
    l->n_marks = 1;
    for (int i = 0; i < l->n_order; i++) {
        int u = l->order[i], want[MAX_LANES], wait[MAX_LANES];
        struct lane_step *s = &l->step[u];
        memset(want, -1, sizeof want);
        place[u] = i;
        for (int k = h->first[u]; k < h->first[u + 1]; k++) {
            int on = h->on[k], lane = l->step[on].lane;
            want[lane] = place[on] > want[lane] ? place[on] : want[lane];
        }
        s->n_wait = needed_waits(want, have[s->lane], of, wait);
        for (int k = 0; k < s->n_wait; k++) {
            take_in(have[s->lane], of[wait[k]]);
            s->wait[k] = mark_of(l, wait[k]);
        }
        if (last[s->lane] < 0 && s->lane && !s->n_wait)
            s->wait[s->n_wait++] = 0; /* a lane begins with the run */
        l->n_waits += s->n_wait;
        have[s->lane][s->lane] = last[s->lane] = i;
        memcpy(of[i], have[s->lane], sizeof of[i]);
    }
    for (int i = 1; i < MAX_LANES; i++) /* implied or not: a capture ends when every lane has been waited for */
        if (last[i] >= 0)
            l->end[l->n_end++] = mark_of(l, last[i]);
    l->n_waits += l->n_end;
    free(of);
    free(place);
}

struct lanes plan_lanes(const struct plan *p, const struct plan_options *o) {
    struct lanes l = {.n = o && o->lanes > 1 ? o->lanes : 1, .step = xcalloc((size_t)p->n_unit + 1, sizeof *l.step),
                      .order = xcalloc((size_t)p->n_unit + 1, sizeof *l.order)};
    struct hazards h = find_hazards(p);
    choose_lanes(p, &h, o ? o->min_slack : 0, &l);
    choose_order(p, &h, &l);
    choose_waits(p, &h, &l);
    hazards_free(&h);
    return l;
}

void lanes_free(struct lanes *l) {
    free(l->step);
    free(l->order);
}
