/* program.c - a plan bound to a device: kernels prepared, addresses filled in, run, profiled.
 *
 * A run is a walk over an array of kernel calls. Where the backend can capture (CUDA), the second run is captured and every later
 * one replayed; when the device's arena has moved since (another program needed a larger one), addresses are filled in and the
 * capture is made again. While capturing, launches go to several lanes (plan_lanes.c); single launches follow each other.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/mem.h"
#include "common/engine/plan.h"

struct program {
    struct device *device;
    struct plan *plan;
    struct kernel_call *call; /* one a unit of the plan */
    int n, n_prepared;
    int n_constant;           /* the first calls, run when `dirty` */
    bool dirty;
    uint8_t *constants;
    struct lanes lanes;
    int64_t workspace_bytes[MAX_LANES]; /* behind the arena's values, one after the other */
    int generation;           /* of the device's arena, when addresses were filled in */
    void *captured;
    int runs;
    bool capture_failed;
};

static const struct kernel *kernel_of(const struct program *p, int i) { return p->device->backend->kernels[p->call[i].op]; }

static void *address(const struct program *p, int id) {
    const struct pnode *n = &p->plan->node[plan_base(p->plan, id)];
    if (n->op == OP_input)
        return n->buffer->data + n->offset;
    switch (n->place) {
    case PLACE_BUFFER:
        return n->place_buffer->data + n->place_offset;
    case PLACE_CONSTANT:
        return p->constants + n->place_offset;
    case PLACE_ARENA:
        return p->device->arena + n->place_offset;
    case PLACE_NONE:
        break;
    }
    graph_mistake("planner: node %d (%s) has no memory", id, op_name(n->op));
}

static void describe(const struct program *p, int id, struct operand *o) {
    const struct pnode *n = &p->plan->node[id];
    o->dtype = n->dtype;
    o->ndim = n->ndim;
    memcpy(o->dim, n->dim, sizeof o->dim);
}

static void fill_addresses(struct program *p) {
    for (int i = 0; i < p->n; i++) {
        struct kernel_call *c = &p->call[i];
        for (int k = 0; k < c->n_in; k++)
            c->in[k].data = address(p, p->plan->unit[i].in[k]);
        for (int k = 0; k < c->n_out; k++)
            c->out[k].data = address(p, p->plan->unit[i].out[k]);
        c->workspace = p->device->arena + p->plan->arena_bytes;
        for (int lane = 0; lane < p->lanes.step[i].lane; lane++)
            c->workspace = (char *)c->workspace + p->workspace_bytes[lane];
    }
    p->generation = p->device->generation;
}

static int64_t all_workspaces(const struct program *p) {
    int64_t sum = 0;
    for (int i = 0; i < MAX_LANES; i++)
        sum += p->workspace_bytes[i];
    return sum;
}

enum status program_create(struct program **out, struct graph *g, struct device *d, struct error *e) {
    struct plan_options o = {.sums = d->backend->sums, .lanes = d->backend->lanes};
    enum status st = program_create_with(out, g, d, &o, e);
    if (st != ST_OK && o.lanes > 1) { /* one lane needs less memory */
        o.lanes = 1;
        st = program_create_with(out, g, d, &o, e);
    }
    return st;
}

enum status program_create_with(struct program **out, struct graph *g, struct device *d, const struct plan_options *o,
                                struct error *e) {
    struct program *p = xcalloc(1, sizeof *p);
    enum status st = ST_OK;
    *out = NULL;
    p->device = d;
    p->dirty = true;
    p->plan = plan_create(g, o);
    p->n = p->plan->n_unit;
    p->call = xcalloc((size_t)p->n + 1, sizeof *p->call);
    for (int i = 0; i < p->n; i++) {
        const struct unit *u = &p->plan->unit[i];
        struct kernel_call *c = &p->call[i];
        const struct pnode *n = &p->plan->node[u->member[0]];
        p->n_constant += u->constant;
        c->op = u->op;
        c->a = n->a;
        c->n_in = u->n_in;
        c->n_out = u->n_out;
        c->fused = u->fused;
        c->flops = u->flops;
        for (int k = 0; k < c->n_in; k++)
            describe(p, u->in[k], &c->in[k]);
        for (int k = 0; k < c->n_out; k++)
            describe(p, u->out[k], &c->out[k]);
        const struct kernel *kernel = kernel_of(p, i);
        if (!kernel)
            st = st_fail(e, "%s: the %s backend has no kernel for %s", p->plan->name, d->backend->name, op_name(u->op));
        else if (kernel->prepare)
            st = kernel->prepare(d->context, c, e);
        if (st != ST_OK) {
            st = st_prefix(st, e, "%s: %s (node %d)", p->plan->name, op_name(u->op), u->member[0]);
            goto fail;
        }
        p->n_prepared++;
        p->plan->unit[i].workspace_bytes = c->workspace_bytes;
    }
    p->lanes = plan_lanes(p->plan, o);
    for (int i = 0; i < p->n; i++) {
        int64_t *most = &p->workspace_bytes[p->lanes.step[i].lane], aligned = (p->call[i].workspace_bytes + 255) / 256 * 256;
        *most = aligned > *most ? aligned : *most;
    }
    if (p->plan->constant_bytes && !(p->constants = device_alloc(d, p->plan->constant_bytes))) {
        st = st_fail(e, "%s: no %lld bytes of device memory for constants", p->plan->name, (long long)p->plan->constant_bytes);
        goto fail;
    }
    if (!device_reserve_arena(d, p->plan->arena_bytes + all_workspaces(p))) {
        st = st_fail(e, "%s: no %lld bytes of device memory (a smaller batch needs less)", p->plan->name,
                     (long long)(p->plan->arena_bytes + all_workspaces(p)));
        goto fail;
    }
    fill_addresses(p);
    *out = p;
    return ST_OK;
fail:
    program_free(p);
    return st;
}

void program_free(struct program *p) {
    if (!p)
        return;
    device_sync(p->device);
    if (p->captured)
        p->device->backend->captured_free(p->device->context, p->captured);
    for (int i = 0; i < p->n_prepared; i++)
        if (kernel_of(p, i)->release)
            kernel_of(p, i)->release(p->device->context, &p->call[i]);
    if (p->constants)
        device_free(p->device, p->constants, p->plan->constant_bytes);
    plan_free(p->plan);
    lanes_free(&p->lanes);
    free(p->call);
    free(p);
}

static void launch(struct program *p, int from, int to) {
    for (int i = from; i < to; i++)
        kernel_of(p, i)->run(p->device->context, &p->call[i]);
}

/* All of a run, while capturing. */
static void launch_in_lanes(struct program *p) {
    const struct backend *b = p->device->backend;
    void *context = p->device->context;
    if (p->lanes.n == 1) {
        launch(p, p->n_constant, p->n);
        return;
    }
    b->mark(context, 0);
    for (int at = 0; at < p->lanes.n_order; at++) {
        int i = p->lanes.order[at];
        const struct lane_step *s = &p->lanes.step[i];
        b->lane(context, s->lane);
        for (int k = 0; k < s->n_wait; k++)
            b->wait(context, s->wait[k]);
        launch(p, i, i + 1);
        if (s->mark)
            b->mark(context, s->mark);
    }
    b->lane(context, 0);
    for (int k = 0; k < p->lanes.n_end; k++)
        b->wait(context, p->lanes.end[k]);
}

static void drop_capture(struct program *p) {
    if (p->captured)
        p->device->backend->captured_free(p->device->context, p->captured);
    p->captured = NULL;
}

/* Addresses right, constants computed. */
static void make_ready(struct program *p) {
    if (p->generation != p->device->generation) {
        drop_capture(p);
        fill_addresses(p);
    }
    if (p->dirty)
        launch(p, 0, p->n_constant);
    p->dirty = false;
}

void program_run(struct program *p) {
    const struct backend *b = p->device->backend;
    make_ready(p);
    if (!p->captured && b->capture_begin && p->runs > 0 && !p->device->eager && !p->capture_failed) {
        if (b->capture_begin(p->device->context, NULL) == ST_OK) {
            launch_in_lanes(p);
            p->capture_failed = b->capture_end(p->device->context, &p->captured, NULL) != ST_OK;
        } else
            p->capture_failed = true;
    }
    if (p->captured && !p->device->eager)
        b->replay(p->device->context, p->captured);
    else
        launch(p, p->n_constant, p->n);
    p->runs++;
}

void program_constants_changed(struct program *p) { p->dirty = true; }

struct program_info program_get_info(const struct program *p) {
    struct program_info i = {.nodes = p->plan->built, .launches = p->n - p->n_constant,
                             .arena_bytes = p->plan->arena_bytes + all_workspaces(p), .constant_bytes = p->plan->constant_bytes};
    for (int u = p->n_constant; u < p->n; u++) {
        i.fused += p->call[u].op == OP_fused;
        i.flops += p->plan->unit[u].flops;
        i.bytes += p->plan->unit[u].bytes;
    }
    return i;
}

const struct plan *program_plan(const struct program *p) { return p->plan; }
const struct lanes *program_lanes(const struct program *p) { return &p->lanes; }

void program_print(const struct program *p, FILE *out) {
    plan_print(p->plan, out);
    fprintf(out, "plan %s: workspace %.3f MB\n", p->plan->name, (double)all_workspaces(p) * 1e-6);
}

/* ---- profile ---- */
static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct op_time {
    enum op op;
    int launches;
    double seconds, flops, bytes;
};

static int slower_first(const void *a, const void *b) {
    const struct op_time *x = a, *y = b;
    return (x->seconds < y->seconds) - (x->seconds > y->seconds);
}

/* Seconds of `n` units in order. Where the backend captures they are captured several times over and replayed, so that queueing them
 * costs what it costs in a run; results that are written in place drift, which costs nothing but their meaning. */
static double time_units(struct program *p, const int *unit, int n) {
    const struct backend *b = p->device->backend;
    void *context = p->device->context, *captured = NULL;
    int repeats = b->capture_begin ? 8 : 1;
    bool capture = b->capture_begin && b->capture_begin(context, NULL) == ST_OK;
    if (capture) {
        for (int k = 0; k < repeats; k++)
            for (int i = 0; i < n; i++)
                launch(p, unit[i], unit[i] + 1);
        if (b->capture_end(context, &captured, NULL) != ST_OK)
            captured = NULL;
    }
    if (captured)
        b->replay(context, captured);
    device_sync(p->device);
    double start = seconds();
    if (captured)
        b->replay(context, captured);
    else
        for (int k = 0; k < repeats; k++)
            for (int i = 0; i < n; i++)
                launch(p, unit[i], unit[i] + 1);
    device_sync(p->device);
    double spent = (seconds() - start) / repeats;
    if (captured)
        b->captured_free(context, captured);
    return spent;
}

double program_conv_seconds(struct program *p) {
    int *unit = xcalloc((size_t)p->n + 1, sizeof *unit), n = 0;
    make_ready(p);
    for (int i = p->n_constant; i < p->n; i++)
        if (p->call[i].op == OP_conv2d || p->call[i].op == OP_conv2d_input_grad || p->call[i].op == OP_conv2d_weight_grad)
            unit[n++] = i;
    double spent = n ? time_units(p, unit, n) : 0;
    free(unit);
    return spent;
}

struct unit_time {
    int unit;
    double seconds;
};

static int slower_unit_first(const void *a, const void *b) {
    const struct unit_time *x = a, *y = b;
    return (x->seconds < y->seconds) - (x->seconds > y->seconds);
}

static void print_operand(const struct operand *o, FILE *out) {
    fprintf(out, " ");
    for (int d = 0; d < o->ndim; d++)
        fprintf(out, "%s%lld", d ? "x" : "", (long long)o->dim[d]);
    fprintf(out, " %s", dtype_name(o->dtype));
}

#define SLOWEST 24
static void print_slowest(const struct program *p, struct unit_time *t, int n, FILE *out) {
    qsort(t, (size_t)n, sizeof *t, slower_unit_first);
    fprintf(out, "the slowest launches\n");
    for (int i = 0; i < n && i < SLOWEST; i++) {
        const struct kernel_call *c = &p->call[t[i].unit];
        const struct unit *u = &p->plan->unit[t[i].unit];
        fprintf(out, "%10.3f ms %10.2f GFLOP/s %8.2f GB/s %s:", t[i].seconds * 1e3, u->flops * 1e-9 / t[i].seconds,
                u->bytes * 1e-9 / t[i].seconds, op_name(c->op));
        for (int k = 0; k < c->n_in; k++)
            print_operand(&c->in[k], out);
        fprintf(out, " ->");
        for (int k = 0; k < c->n_out; k++)
            print_operand(&c->out[k], out);
        fputc('\n', out);
    }
}

void program_profile(struct program *p, FILE *out) {
    struct op_time t[OP_COUNT] = {0};
    struct unit_time *each = xcalloc((size_t)p->n + 1, sizeof *each);
    double total = 0;
    make_ready(p);
    launch(p, p->n_constant, p->n); /* kernels are loaded when first used */
    for (int i = p->n_constant; i < p->n; i++) {
        double spent = time_units(p, &i, 1);
        each[i - p->n_constant] = (struct unit_time){i, spent};
        struct op_time *o = &t[p->call[i].op];
        o->launches++;
        o->seconds += spent;
        o->flops += p->plan->unit[i].flops;
        o->bytes += p->plan->unit[i].bytes;
        total += spent;
    }
    p->runs++;
    for (int i = 0; i < OP_COUNT; i++)
        t[i].op = (enum op)i;
    qsort(t, OP_COUNT, sizeof t[0], slower_first);
    fprintf(out, "%-20s %8s %10s %6s %10s %10s\n", "operation", "launches", "ms", "%", "GFLOP/s", "GB/s");
    for (int i = 0; i < OP_COUNT && t[i].launches; i++)
        fprintf(out, "%-20s %8d %10.3f %6.1f %10.2f %10.2f\n", op_name(t[i].op), t[i].launches, t[i].seconds * 1e3,
                100 * t[i].seconds / total, t[i].flops * 1e-9 / t[i].seconds, t[i].bytes * 1e-9 / t[i].seconds);
    fprintf(out, "%-20s %8d %10.3f\n", p->plan->name, p->n - p->n_constant, total * 1e3);
    print_slowest(p, each, p->n - p->n_constant, out);
    free(each);
}
