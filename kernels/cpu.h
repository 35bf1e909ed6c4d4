/* cpu.h - what the CPU kernels share: the context every prepare/run/release of this backend receives.
 *
 * Parallel regions say num_threads(cpu_threads(context)): OpenMP's own default belongs to the calling thread, and a device may
 * be opened by one thread and driven by another. Results must not depend on the number.
 */
#ifndef FACEMILL_CPU_H
#define FACEMILL_CPU_H

#include <stdint.h>

struct cpu_context {
    int threads;
    char description[160];
};

static inline int cpu_threads(const void *context) { return ((const struct cpu_context *)context)->threads; }

#endif
