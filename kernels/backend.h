/* backend.h - what a device backend provides: one table of functions. The CPU backend is linked in; CUDA is a plugin opened with
 * dlopen whose symbol `facemill_backend` is such a table.
 *
 * A kernel is three functions: prepare (choose algorithm, make library descriptors, say how much workspace), run (queue the work:
 * no allocation, no synchronisation, no value read by the host, so that CUDA can capture it), release. Which kernels exist
 * comes from common/engine/ops.def; each is contracted in kernels/NAME.h and defined as `kernel_NAME_cpu` in kernels/NAME.c and
 * `kernel_NAME_cuda` in kernels/NAME.cu.
 */
#ifndef FACEMILL_BACKEND_H
#define FACEMILL_BACKEND_H

#include <stdint.h>

#include "common/base/dtype.h"
#include "common/base/status.h"
#include "common/engine/graph.h"

#define BACKEND_VERSION 6
#define MAX_LANES 4

/* A tensor as a kernel sees it: dense, row-major. data is valid only during run, and may be another address at the next. What the
 * engine places is aligned to 256 bytes; a caller's window (an input, or an output that is written straight to one) only to its
 * element size, so a kernel that wants vector loads looks at the address; operands of convolutions are aligned to 16 bytes anywhere.
 * Outputs never overlap inputs, except in `fused` (kernels/fused.h) and where an effect writes in[0]. */
struct operand {
    void *data;
    enum dtype dtype;
    int ndim;
    int64_t dim[MAX_DIM];
};

/* One pointwise operation of a fused program. Registers hold float32 and are numbered 0.. ; the first n_in are the inputs, which no
 * operation writes. The others are used again after their last use. */
struct micro_op {
    uint16_t op;     /* enum op of kind POINT, not broadcast: that is a stride */
    uint16_t out;    /* register written */
    uint16_t in[3];  /* registers read; those beyond the operation's arity are 0 */
    float f[2];      /* attributes; of cast: f[0] = the enum dtype to round to */
};
#define FUSED_MAX_OPS 32
#define FUSED_MAX_REG (FUSED_MAX_OPS + MAX_IN)
struct fused_program {
    int n_ops, n_in, n_out; /* n_ops may be 0: an input is only expanded or converted */
    struct micro_op ops[FUSED_MAX_OPS];
    uint16_t out_reg[MAX_OUT]; /* registers stored to the outputs */
    uint16_t sum[MAX_OUT];     /* outputs that are sums: bit d = over dimension d, which the output lacks; F32. Only for backends that say
                          * `sums`. The dimensions are neighbours that end before the last one */
    /* Iteration space (outputs have this shape, dense) and, for each input, its element stride in each dimension; 0 where it is
     * broadcast. Dimensions are already merged where all operands allow it. */
    int ndim;
    int64_t dim[MAX_DIM];
    int64_t stride[MAX_IN][MAX_DIM];
};

struct kernel_call {
    enum op op;
    struct attr a;
    int n_in, n_out;                  /* effects have no out: they write in[0] (adam also in[2], in[3]) */
    struct operand in[MAX_IN], out[MAX_OUT];
    const struct fused_program *fused; /* OP_fused */
    void *state;                       /* made by prepare, freed by release */
    void *workspace;                   /* workspace_bytes, 256-aligned, shared by all kernels of a program's lane */
    int64_t workspace_bytes;           /* set by prepare */
    double flops;                      /* set by the planner */
};

struct kernel {
    enum status (*prepare)(void *context, struct kernel_call *c, struct error *e); /* NULL = nothing to prepare */
    void (*run)(void *context, const struct kernel_call *c);
    void (*release)(void *context, struct kernel_call *c); /* NULL = nothing to release */
};

struct backend {
    int version; /* BACKEND_VERSION */
    const char *name;
    const char *code; /* what the kernels are compiled for: "x86-64", "sm_80 sm_90 PTX:compute_90" */
    bool sums;        /* fused programs may have outputs that are sums */
    enum status (*open)(void **context, int threads, struct error *e);
    void (*close)(void *context);
    const char *(*description)(void *context);
    void *(*alloc)(void *context, int64_t bytes); /* 256-aligned, zeroed; NULL when there is not enough */
    void (*free)(void *context, void *p);
    int64_t (*available)(void *context); /* bytes that could be allocated now, about */
    void (*write)(void *context, void *to, const void *from, int64_t bytes); /* host to device, ordered; source reusable at return */
    void (*read)(void *context, void *to, const void *from, int64_t bytes);  /* device to host, waits */
    void (*copy)(void *context, void *to, const void *from, int64_t bytes);  /* device to device, ordered */
    void (*sync)(void *context);
    /* Capture a run of kernel calls once, replay it often. NULL on the CPU. */
    enum status (*capture_begin)(void *context, struct error *e);
    enum status (*capture_end)(void *context, void **captured, struct error *e);
    void (*replay)(void *context, void *captured);
    void (*captured_free)(void *context, void *captured);
    /* Only while capturing, for calls that may run side by side. `lane` says where the calls that follow are queued (0 at first, and
     * at the end); `mark` gives a place in the current lane a number; `wait` keeps what is queued in the current lane from here on
     * until all before that mark is done. A lane's first call is a wait, and at the end lane 0 has waited for all. Lane 1 is for large
     * work that nobody waits for, those above for small work. */
    int lanes; /* at most MAX_LANES; 0 where the three are NULL */
    void (*lane)(void *context, int lane);
    void (*mark)(void *context, int mark);
    void (*wait)(void *context, int mark);
    const struct kernel *kernels[OP_COUNT]; /* NULL where the op has no kernel */
};

extern const struct backend backend_cpu;

#endif
