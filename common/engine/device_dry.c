/* device_dry.c - a device without memory or arithmetic: programs are planned for it and every launch is shown to a visitor. What a
 * build of the project will run can so be looked at without a GPU and within seconds, whatever the size of the network. */
#include <stdlib.h>

#include "common/base/mem.h"
#include "common/engine/engine.h"

struct visitor {
    device_visit *visit;
    void *arg;
};

static void *dry_alloc(void *context, int64_t bytes) {
    static char somewhere[256] __attribute__((aligned(256)));
    (void)context, (void)bytes;
    return somewhere; /* never dereferenced */
}
static void dry_free(void *context, void *p) { (void)context, (void)p; }
static void dry_write(void *context, void *to, const void *from, int64_t bytes) { (void)context, (void)to, (void)from, (void)bytes; }
static void dry_read(void *context, void *to, const void *from, int64_t bytes) { (void)context, (void)to, (void)from, (void)bytes; }
static void dry_copy(void *context, void *to, const void *from, int64_t bytes) { (void)context, (void)to, (void)from, (void)bytes; }
static int64_t dry_available(void *context) { (void)context; return INT64_MAX; }
static void dry_sync(void *context) { (void)context; }
static const char *dry_description(void *context) { (void)context; return "nothing is computed"; }

static enum status dry_prepare(void *context, struct kernel_call *c, struct error *e) {
    struct visitor *v = context;
    (void)e;
    v->visit(v->arg, c);
    return ST_OK;
}
static void dry_run(void *context, const struct kernel_call *c) { (void)context, (void)c; }
static const struct kernel dry_kernel = {dry_prepare, dry_run, NULL};

#define ENTRY_LEAF NULL
#define ENTRY_VIEW NULL
#define ENTRY_POINT NULL
#define ENTRY_KERNEL &dry_kernel
#define ENTRY_EFFECT &dry_kernel
#define OP(name, inputs, kind, differentiable) ENTRY_##kind,
static const struct backend dry = {
    .version = BACKEND_VERSION, .name = "dry", .sums = true, .lanes = MAX_LANES,
    .description = dry_description, .alloc = dry_alloc, .free = dry_free, .available = dry_available, .write = dry_write,
    .read = dry_read, .copy = dry_copy, .sync = dry_sync, .close = free, .kernels = {
#include "common/engine/ops.def"
    }};
#undef OP

struct device *device_dry(device_visit *visit, void *arg) {
    struct device *d = xcalloc(1, sizeof *d);
    struct visitor *v = xcalloc(1, sizeof *v);
    *v = (struct visitor){visit, arg};
    d->backend = &dry;
    d->context = v;
    return d;
}
