/* backend_cpu.c - the CPU as a backend: host memory, kernels called where they stand, nothing to capture and nothing to wait for. */
#ifndef FACEMILL_NO_ONEDNN
#include <dnnl.h>
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/mem.h"
#include "kernels/cpu.h"

const char *openblas_get_config(void);
void openblas_set_num_threads(int n);

/* ---- the table of kernels, expanded from the one list ---- */
#define DECLARE_LEAF(name)
#define DECLARE_VIEW(name)
#define DECLARE_POINT(name)
#define DECLARE_KERNEL(name) extern const struct kernel kernel_##name##_cpu;
#define DECLARE_EFFECT(name) DECLARE_KERNEL(name)
#define OP(name, inputs, kind, differentiable) DECLARE_##kind(name)
#include "common/engine/ops.def"
#undef OP

#define ENTRY_LEAF(name)
#define ENTRY_VIEW(name)
#define ENTRY_POINT(name)
#define ENTRY_KERNEL(name) [OP_##name] = &kernel_##name##_cpu,
#define ENTRY_EFFECT(name) ENTRY_KERNEL(name)
#define OP(name, inputs, kind, differentiable) ENTRY_##kind(name)

/* ---- memory ---- */
static enum status cpu_open(void **context, int threads, struct error *e) {
    (void)e;
    struct cpu_context *c = xcalloc(1, sizeof *c);
    c->threads = threads;
    char blas[64];
    snprintf(blas, sizeof blas, "%s", openblas_get_config());
    char *end = strchr(blas, ' '); /* "OpenBLAS 0.3.21 NO_LAPACKE ..." */
    if (end && (end = strchr(end + 1, ' ')))
        *end = 0;
#ifdef FACEMILL_NO_ONEDNN
    openblas_set_num_threads(1); /* the kernels' own threads call it */
    snprintf(c->description, sizeof c->description, "%d thread%s, %s", threads, threads == 1 ? "" : "s", blas);
#else
    const dnnl_version_t *v = dnnl_version();
    snprintf(c->description, sizeof c->description, "%d thread%s, oneDNN %d.%d.%d, %s", threads, threads == 1 ? "" : "s",
             v->major, v->minor, v->patch, blas);
#endif
    *context = c;
    return ST_OK;
}

static void cpu_close(void *context) { free(context); }
static const char *cpu_description(void *context) { return ((struct cpu_context *)context)->description; }

static void *cpu_alloc(void *context, int64_t bytes) {
    (void)context;
    void *p = NULL;
    if (bytes < 0 || posix_memalign(&p, 256, (size_t)round_up(bytes, 256)))
        return NULL;
    return memset(p, 0, (size_t)round_up(bytes, 256));
}

static void cpu_free(void *context, void *p) {
    (void)context;
    free(p);
}

static int64_t cpu_available(void *context) {
    (void)context;
    long pages = sysconf(_SC_AVPHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    return pages > 0 && page > 0 ? (int64_t)pages * page : 0;
}

static void cpu_copy(void *context, void *to, const void *from, int64_t bytes) {
    (void)context;
    memmove(to, from, (size_t)bytes);
}

static void cpu_sync(void *context) { (void)context; }

const struct backend backend_cpu = {
    .version = BACKEND_VERSION,
    .name = "cpu",
    .code = "the CPU's own",
    .open = cpu_open,
    .close = cpu_close,
    .description = cpu_description,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .available = cpu_available,
    .write = cpu_copy,
    .read = cpu_copy,
    .copy = cpu_copy,
    .sync = cpu_sync,
    .kernels = {
#include "common/engine/ops.def"
    },
};
