/* engine.h - what the engine's own files share (graph.c, grad.c, plan*.c, program.c, device.c). Nobody else includes it. */
#ifndef FACEMILL_ENGINE_H
#define FACEMILL_ENGINE_H

#include "common/engine/device.h"
#include "common/engine/graph.h"
#include "kernels/backend.h"

struct graph {
    char *name;
    tensor **node; /* in build order: inputs come before their users */
    int n, room;
};

/* A mistake in building a graph: prints the line to stderr and aborts. The one place of the engine that prints. */
__attribute__((noreturn, format(printf, 1, 2))) void graph_mistake(const char *format, ...);
#define GRAPH_CHECK(condition, ...)         \
    do {                                    \
        if (!(condition))                   \
            graph_mistake(__VA_ARGS__);     \
    } while (0)

/* "[8,16,16,3] F32", in one of eight rotating static buffers: for messages. */
const char *shape_text(const tensor *t);
bool same_shape(const tensor *x, const tensor *y);
bool dtype_is_float(enum dtype d);
bool op_differentiable(enum op op);

struct buffer {
    struct device *device;
    char *name;
    uint8_t *data; /* on the device */
    int64_t bytes;
};

/* One backend opened. Programs of a device share one scratch arena (their runs are in order and nothing in it outlives a run);
 * it grows when a program is created, never during a run. `generation` counts its moves, so that programs notice. */
struct device {
    const struct backend *backend;
    void *context;
    void *plugin; /* dlopen handle or NULL */
    uint8_t *arena;
    int64_t arena_bytes;
    int generation;
    bool eager; /* no capturing */
    int64_t held_bytes, peak_bytes;
};

void *device_alloc(struct device *d, int64_t bytes); /* NULL when there is not enough; zeroed */
void device_free(struct device *d, void *p, int64_t bytes);
bool device_reserve_arena(struct device *d, int64_t bytes);

#endif
