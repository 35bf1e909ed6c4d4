/* plan.h - from a graph to a list of launches with addresses: a pure pass, nothing is allocated on the device or run.
 *
 * The passes, in order: simplify (plan_simplify.c: dead nodes out, common subexpressions joined, trivial arithmetic folded), fuse
 * and schedule (plan_fuse.c: pointwise runs become one launch each; everything gets its place in the order; plan_clone.c: cheap values
 * are recomputed by their readers instead of stored), emit (plan_emit.c: the programs of fused launches; plan_sums.c: sums join the
 * launch that computes what they sum), place (plan_memory.c: assigns written in place, liveness, one arena with offsets, reuse). And
 * for devices that run launches side by side, lanes (plan_lanes.c).
 *
 * Three conditions hold after every pass and are what the tests check: the order of units is topological; no unit that reads a
 * window of a buffer crosses an effect that writes it; two values that live at one time share no byte.
 */
#ifndef FACEMILL_PLAN_H
#define FACEMILL_PLAN_H

#include "common/engine/engine.h"

enum place { PLACE_NONE, PLACE_BUFFER, PLACE_ARENA, PLACE_CONSTANT };

/* A node of the plan. Ids are positions in plan.node; inputs may have any id (clones are appended). */
struct pnode {
    char *label; /* the name it was given, or NULL; owned */
    enum op op;
    enum dtype dtype;
    int ndim;
    int64_t dim[MAX_DIM];
    int nin, in[MAX_IN];
    struct attr a;
    struct buffer *buffer; /* OP_input */
    int64_t offset;
    bool constant;
    bool live;
    bool force;            /* a broadcast that must be computed at its own place (its window is overwritten later) */
    int unit;              /* computed by this unit; -1: leaf, view, or read through (broadcast, fill) */
    /* memory, for values that a unit stores */
    bool stored;
    enum place place;
    struct buffer *place_buffer;
    int64_t place_offset;
    int birth, death;      /* positions of units in the order */
    const char *reason;    /* why it lies where it lies */
    int *user, n_user, room_user; /* nodes that read it */
};

struct unit {
    enum op op;
    int *member, n_member, room_member; /* one node; for OP_fused the pointwise nodes, inputs before users */
    int64_t key;                        /* the order */
    bool constant;                      /* runs only when constants changed */
    bool dropped;                       /* merged into another unit, or an assign that became unnecessary */
    /* by emit: stored nodes read (through views) and written */
    int n_in, in[MAX_IN], n_out, out[MAX_OUT];
    struct fused_program *fused;
    double flops, bytes;
    int64_t workspace_bytes; /* as its kernel said; 0 before it is prepared */
};

struct plan {
    char *name;
    struct pnode *node;
    int n, room;
    struct unit *unit; /* after plan_order: in order, constant ones first, no dropped ones */
    int n_unit, room_unit;
    int64_t next_key;
    int built, dead, joined, folded, cloned, dropped_assigns; /* counts, for the print-out */
    int64_t arena_bytes, constant_bytes;
};

#define PLAN_MIN_SUM (1 << 20) /* values from which a sum joins the launch that computes them */

struct plan_options {
    bool no_simplify, no_fuse, no_clone, no_inplace; /* for tests: each node by itself, nothing reused */
    int64_t clone_bytes;                             /* recompute values from this size; 0 = the default, 64 KB */
    bool sums;                                       /* fused launches may sum what they compute (backend.h) */
    int lanes;                                       /* queues side by side while capturing (backend.h); 0 or 1: one */
    double min_slack;                                /* seconds a launch must be able to wait for another lane; 0 = the default, plan_lanes.c */
};

struct plan *plan_create(const struct graph *g, const struct plan_options *o); /* o NULL: all passes */
void plan_free(struct plan *p);
/* program_create with some passes left out. */
enum status program_create_with(struct program **p, struct graph *g, struct device *d, const struct plan_options *o, struct error *e);
void plan_print(const struct plan *p, FILE *out);

/* ---- what may run side by side (plan_lanes.c) ---- */
/* Units are queued in this order, each in its lane after the waits; then, unless it is 0, its mark is made. Mark 0 is the beginning of a
 * run. */
struct lane_step {
    int lane, mark, n_wait, wait[MAX_LANES];
};
struct lanes {
    int n, n_marks, n_waits, n_order, *order; /* constant units have no place in the order */
    struct lane_step *step;                   /* [n_unit] */
    int n_end, end[MAX_LANES];                /* marks that lane 0 waits for at the end */
};
struct lanes plan_lanes(const struct plan *p, const struct plan_options *o); /* o NULL: one */
void lanes_free(struct lanes *l);
/* For tests and benchmarks: of a program, which keeps them. */
const struct plan *program_plan(const struct program *p);
const struct lanes *program_lanes(const struct program *p);
/* What a launch takes, about: a fixed part, and work that fills the device. */
#define LAUNCH_SECONDS 2e-6
double unit_seconds(const struct unit *u);
double unit_work(const struct unit *u);

/* ---- between the passes ---- */
void plan_simplify(struct plan *p, const struct graph *g, const struct plan_options *o);
void plan_fuse(struct plan *p, const struct plan_options *o);
void plan_clone(struct plan *p, int64_t min_bytes); /* the last step of plan_fuse */
void plan_emit(struct plan *p);
void plan_sums(struct plan *p);
void plan_place(struct plan *p, const struct plan_options *o);

int plan_add_node(struct plan *p, const struct pnode *n);
void plan_users(struct plan *p);        /* recomputes liveness from the effects, and the user lists */
void plan_order(struct plan *p);        /* sorts units, removes dropped ones, renumbers */
int plan_base(const struct plan *p, int id);                       /* through reshapes */
/* What a pointwise node reads when its operand is id: through broadcasts, then reshapes. Gives an input, a fill or a node that a
 * unit stores; *direct = id itself, which inside one unit is a register. */
int plan_read(const struct plan *p, int id, bool *direct);
int64_t pnode_count(const struct pnode *n);
int64_t pnode_bytes(const struct pnode *n);
bool pnode_same_shape(const struct pnode *x, const struct pnode *y);
bool windows_overlap(const struct pnode *x, const struct pnode *y); /* two inputs: same buffer, common bytes */
/* The windows an effect writes, at most 3; returns their number. */
int effect_windows(const struct plan *p, const struct pnode *effect, int window[3]);
double plan_flops(const struct plan *p, const struct pnode *n);

#endif
