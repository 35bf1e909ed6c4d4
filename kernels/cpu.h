/* cpu.h - what the CPU kernels share: the context every prepare/run/release of this backend receives.
 *
 * Parallel regions say num_threads(cpu_threads(context)): OpenMP's own default belongs to the calling thread, and a device may
 * be opened by one thread and driven by another.
 *
 * Results must not depend on the number. The rule that makes it so: work is cut into pieces by shapes alone, each piece is
 * computed by one thread in one order, and partial sums are added in the order of the pieces.
 */
#ifndef FACEMILL_CPU_H
#define FACEMILL_CPU_H

#include <omp.h>
#include <stdint.h>
#include <string.h>

#include "kernels/backend.h"

struct cpu_context {
    int threads;
    char description[160];
};

static inline int cpu_threads(const void *context) { return ((const struct cpu_context *)context)->threads; }

static inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/* Every operand must be F32: 16-bit types are the business of the GPU. */
static inline enum status cpu_need_f32(const struct kernel_call *c, struct error *e)
{
    for (int i = 0; i < c->n_in + c->n_out; i++) {
        const struct operand *o = i < c->n_in ? &c->in[i] : &c->out[i - c->n_in];
        if (o->dtype != DT_F32)
            return st_fail(e, "operand %d is %s; the CPU kernels compute in F32 only", i, dtype_name(o->dtype));
    }
    return ST_OK;
}

#endif
