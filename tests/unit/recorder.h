/* recorder.h - the CPU with something to capture: kernel calls between capture_begin and capture_end are noted, not run, and replay runs
 * them, as on a GPU. What the engine does with captures is so tested without one.
 *
 *     struct device *d = recorder_open(2); ... recorder.replays ... device_close(d);
 */
#ifndef FACEMILL_TESTS_RECORDER_H
#define FACEMILL_TESTS_RECORDER_H

#include <stdlib.h>

#include "common/base/mem.h"
#include "common/engine/engine.h"

struct recording {
    struct kernel_call *call;
    int n, room;
};
static struct {
    struct recording *open; /* being recorded */
    struct backend table;
    struct kernel kernel[OP_COUNT];
    int captures, replays, freed;
} recorder;

static inline void recorder_run(void *context, const struct kernel_call *c) {
    struct recording *r = recorder.open;
    if (!r) {
        backend_cpu.kernels[c->op]->run(context, c);
        return;
    }
    if (r->n == r->room)
        r->call = xrealloc(r->call, sizeof *r->call * (size_t)(r->room = 2 * r->room + 64));
    r->call[r->n++] = *c;
}

static inline enum status recorder_begin(void *context, struct error *e) {
    (void)context, (void)e;
    recorder.open = xcalloc(1, sizeof *recorder.open);
    return ST_OK;
}

static inline enum status recorder_end(void *context, void **captured, struct error *e) {
    (void)context, (void)e;
    *captured = recorder.open;
    recorder.open = NULL;
    recorder.captures++;
    return ST_OK;
}

static inline void recorder_replay(void *context, void *captured) {
    const struct recording *r = captured;
    recorder.replays++;
    for (int i = 0; i < r->n; i++)
        backend_cpu.kernels[r->call[i].op]->run(context, &r->call[i]);
}

static inline void recorder_free(void *context, void *captured) {
    struct recording *r = captured;
    (void)context;
    recorder.freed++;
    free(r->call);
    free(r);
}

static inline struct device *recorder_open(int threads) {
    struct device *d = xcalloc(1, sizeof *d);
    struct error e;
    recorder.captures = recorder.replays = recorder.freed = 0;
    recorder.table = backend_cpu;
    recorder.table.capture_begin = recorder_begin;
    recorder.table.capture_end = recorder_end;
    recorder.table.replay = recorder_replay;
    recorder.table.captured_free = recorder_free;
    for (int op = 0; op < OP_COUNT; op++)
        if (backend_cpu.kernels[op]) {
            recorder.kernel[op] = *backend_cpu.kernels[op];
            recorder.kernel[op].run = recorder_run;
            recorder.table.kernels[op] = &recorder.kernel[op];
        }
    d->backend = &recorder.table;
    d->backend->open(&d->context, threads, &e);
    return d;
}

#endif
