/* guard.h - guard bytes around every allocation of a device, so that a kernel that writes past the end of a buffer, of the arena or of
 * the constants is found on any device, without a tool.
 *
 *     device_open(&d, ...); guard_device(d); ... assert_int_equal(guard_damage(d), 0); device_close(d);
 *
 * One guarded device at a time; guard it before anything is allocated on it. Reads past the end are not seen.
 */
#ifndef FACEMILL_TESTS_GUARD_H
#define FACEMILL_TESTS_GUARD_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/engine/engine.h"

#define GUARD_BYTES 4096
#define GUARD_BLOCKS 4096

static struct {
    const struct backend *inner;
    struct backend table;
    struct guard_block {
        uint8_t *start; /* of the guard in front; NULL = free */
        int64_t bytes;  /* between the guards */
    } block[GUARD_BLOCKS];
    int damaged; /* found when blocks were freed */
} guard;

/* The float 0.6: a sum with it is seen, where something huge would swallow it. */
static inline uint8_t guard_byte(int64_t i) { return (uint8_t)("\x9a\x99\x19\x3f"[i % 4]); }

static inline void *guard_alloc(void *context, int64_t bytes) {
    uint8_t pattern[GUARD_BYTES], *p = guard.inner->alloc(context, bytes + 2 * GUARD_BYTES);
    int k = 0;
    while (k < GUARD_BLOCKS && guard.block[k].start)
        k++;
    if (!p || k == GUARD_BLOCKS)
        return NULL;
    for (int i = 0; i < GUARD_BYTES; i++)
        pattern[i] = guard_byte(i);
    guard.inner->write(context, p, pattern, GUARD_BYTES);
    guard.inner->write(context, p + GUARD_BYTES + bytes, pattern, GUARD_BYTES);
    guard.block[k] = (struct guard_block){p, bytes};
    return p + GUARD_BYTES;
}

static inline int guard_check(void *context, const struct guard_block *b) {
    uint8_t seen[GUARD_BYTES];
    for (int end = 0; end < 2; end++) {
        guard.inner->read(context, seen, b->start + (end ? GUARD_BYTES + b->bytes : 0), GUARD_BYTES);
        for (int i = 0; i < GUARD_BYTES; i++)
            if (seen[i] != guard_byte(i)) {
                fprintf(stderr, "guard: a write %s a block of %lld bytes\n", end ? "behind" : "in front of", (long long)b->bytes);
                return 1;
            }
    }
    return 0;
}

static inline void guard_free(void *context, void *p) {
    for (int k = 0; p && k < GUARD_BLOCKS; k++)
        if (guard.block[k].start && guard.block[k].start + GUARD_BYTES == (uint8_t *)p) {
            guard.damaged += guard_check(context, &guard.block[k]);
            guard.inner->free(context, guard.block[k].start);
            guard.block[k].start = NULL;
            return;
        }
    guard.damaged += p != NULL; /* not ours: freed twice, or never allocated */
}

static inline void guard_device(struct device *d) {
    memset(&guard, 0, sizeof guard);
    guard.inner = d->backend;
    guard.table = *d->backend;
    guard.table.alloc = guard_alloc;
    guard.table.free = guard_free;
    d->backend = &guard.table;
}

/* Blocks damaged so far, those already freed included. */
static inline int guard_damage(struct device *d) {
    int damaged = guard.damaged;
    for (int k = 0; k < GUARD_BLOCKS; k++)
        if (guard.block[k].start)
            damaged += guard_check(d->context, &guard.block[k]);
    return damaged;
}

#endif
