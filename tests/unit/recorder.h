/* recorder.h - the CPU with something to capture: kernel calls between capture_begin and capture_end are noted, not run, and replay runs
 * them, as on a GPU. What the engine does with captures is so tested without one. Calls in several lanes are replayed in an order that
 * their waits allow and that differs from run to run.
 *
 *     struct device *d = recorder_open(2); ... recorder.replays ... device_close(d);
 */
#ifndef FACEMILL_TESTS_RECORDER_H
#define FACEMILL_TESTS_RECORDER_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/engine/engine.h"

struct recorded {
    enum { RECORDED_CALL, RECORDED_MARK, RECORDED_WAIT } kind;
    int mark;
    struct kernel_call call;
};
struct recording {
    struct recorded *at[MAX_LANES];
    int n[MAX_LANES], room[MAX_LANES], n_marks, lane;
};
static struct {
    struct recording *open; /* being recorded */
    struct backend table;
    struct kernel kernel[OP_COUNT];
    int captures, replays, freed, beside; /* beside: calls recorded in other lanes than the first */
    uint64_t seed;
} recorder;

static inline struct recorded *recorder_note(void) {
    struct recording *r = recorder.open;
    int l = r->lane;
    if (r->n[l] == r->room[l])
        r->at[l] = xrealloc(r->at[l], sizeof *r->at[l] * (size_t)(r->room[l] = 2 * r->room[l] + 64));
    memset(&r->at[l][r->n[l]], 0, sizeof *r->at[l]);
    return &r->at[l][r->n[l]++];
}

static inline void recorder_run(void *context, const struct kernel_call *c) {
    if (!recorder.open) {
        backend_cpu.kernels[c->op]->run(context, c);
        return;
    }
    recorder.beside += recorder.open->lane > 0;
    recorder_note()->call = *c;
}

static inline void recorder_lane(void *context, int lane) {
    (void)context;
    recorder.open->lane = lane;
}

static inline void recorder_mark(void *context, int mark) {
    (void)context;
    struct recorded *r = recorder_note();
    r->kind = RECORDED_MARK;
    r->mark = mark;
    if (mark >= recorder.open->n_marks)
        recorder.open->n_marks = mark + 1;
}

static inline void recorder_wait(void *context, int mark) {
    (void)context;
    struct recorded *r = recorder_note();
    r->kind = RECORDED_WAIT;
    r->mark = mark;
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

static inline uint64_t recorder_pick(uint64_t n) {
    recorder.seed = recorder.seed * 6364136223846793005u + 1442695040888963407u;
    return (recorder.seed >> 33) % n;
}

/* A lane that comes first keeps going until it must wait, or now and then another comes first. */
static inline void recorder_replay(void *context, void *captured) {
    const struct recording *r = captured;
    int at[MAX_LANES] = {0}, first = (int)recorder_pick(MAX_LANES);
    bool *done = xcalloc((size_t)r->n_marks + 1, sizeof *done);
    recorder.replays++;
    for (;;) {
        int lane = -1, left = 0;
        for (int k = 0; k < MAX_LANES; k++) {
            int l = (first + k) % MAX_LANES;
            left += r->n[l] - at[l];
            if (lane < 0 && at[l] < r->n[l] && (r->at[l][at[l]].kind != RECORDED_WAIT || done[r->at[l][at[l]].mark]))
                lane = l;
        }
        if (!left)
            break;
        if (lane < 0 || (lane && !at[lane] && r->at[lane]->kind != RECORDED_WAIT) || (at[0] == r->n[0] && r->n[0])) {
            fprintf(stderr, "recorder: lanes that wait for each other, do not begin with a wait, or are not waited for at the end\n");
            abort();
        }
        const struct recorded *x = &r->at[lane][at[lane]++];
        if (x->kind == RECORDED_CALL)
            backend_cpu.kernels[x->call.op]->run(context, &x->call);
        else
            done[x->mark] = true;
        if (!recorder_pick(6))
            first = (int)recorder_pick(MAX_LANES);
    }
    free(done);
}

static inline void recorder_free(void *context, void *captured) {
    struct recording *r = captured;
    (void)context;
    recorder.freed++;
    for (int l = 0; l < MAX_LANES; l++)
        free(r->at[l]);
    free(r);
}

static inline struct device *recorder_open(int threads) {
    struct device *d = xcalloc(1, sizeof *d);
    struct error e;
    recorder.captures = recorder.replays = recorder.freed = recorder.beside = 0;
    recorder.table = backend_cpu;
    recorder.table.capture_begin = recorder_begin;
    recorder.table.capture_end = recorder_end;
    recorder.table.replay = recorder_replay;
    recorder.table.captured_free = recorder_free;
    recorder.table.lanes = MAX_LANES;
    recorder.table.lane = recorder_lane;
    recorder.table.mark = recorder_mark;
    recorder.table.wait = recorder_wait;
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
