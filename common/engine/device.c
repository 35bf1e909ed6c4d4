/* device.c - opening backends, and memory on devices. The CPU is linked in; CUDA is a plugin, so that a machine without it builds
 * and runs everything. */
#include "common/engine/device.h"

#include <dlfcn.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/engine/engine.h"
#include "common/engine/plugin.h"

static enum status open_plugin(struct device *d, struct error *e) {
    char *path = plugin_path();
    enum status st = plugin_open(&d->plugin, path, e);
    if (st == ST_OK && !(d->backend = dlsym(d->plugin, "facemill_backend")))
        st = st_fail(e, "device cuda: %s is not a facemill plugin", path);
    else if (st == ST_OK && d->backend->version != BACKEND_VERSION)
        st = st_fail(e, "device cuda: %s has interface version %d, this program %d: rebuild the plugin", path,
                     d->backend->version, BACKEND_VERSION);
    free(path);
    return st;
}

static int usable_cpus(void) {
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
    const char *limit = getenv("OMP_NUM_THREADS"); /* what users of OpenMP programs expect to work */
    int wanted = limit ? atoi(limit) : 0;
    return wanted > 0 && wanted < 1024 ? wanted : n > 0 ? n : 1;
}

const char *device_choice(int i) { return i == 0 ? "auto" : i == 1 ? "cpu" : "cuda"; }

enum status device_open(struct device **out, const char *name, int threads, struct error *e) {
    bool automatic = !strcmp(name, "auto");
    *out = NULL;
    if (strcmp(name, "cpu") && strcmp(name, "cuda") && !automatic)
        return st_fail(e, "device %s: there are cpu, cuda and auto", name);
    struct device *d = xcalloc(1, sizeof *d);
    enum status st = ST_FAIL;
    if (threads <= 0)
        threads = usable_cpus();
    if (strcmp(name, "cpu")) {
        struct error why;
        st = open_plugin(d, automatic ? &why : e);
        if (st == ST_OK)
            st = d->backend->open(&d->context, threads, automatic ? &why : e);
        if (st != ST_OK && d->plugin)
            dlclose(d->plugin);
        if (st != ST_OK)
            d->plugin = NULL;
    }
    if (st != ST_OK && (automatic || !strcmp(name, "cpu"))) {
        d->backend = &backend_cpu;
        st = d->backend->open(&d->context, threads, e);
    }
    if (st != ST_OK) {
        free(d);
        return st;
    }
    *out = d;
    return ST_OK;
}

void device_close(struct device *d) {
    if (!d)
        return;
    device_sync(d);
    device_free(d, d->arena, d->arena_bytes);
    d->backend->close(d->context);
    if (d->plugin)
        dlclose(d->plugin);
    free(d);
}

const char *device_name(const struct device *d) { return d->backend->name; }
const char *device_description(const struct device *d) { return d->backend->description(d->context); }
void device_sync(struct device *d) { d->backend->sync(d->context); }
int64_t device_peak_bytes(const struct device *d) { return d->peak_bytes; }
int64_t device_available_bytes(const struct device *d) { return d->backend->available(d->context); }
void device_use_graphs(struct device *d, bool on) { d->eager = !on; }

void device_print_version(FILE *out) {
    struct device d = {0};
    struct error e;
    const char *prefix = "device cuda: ";
    if (open_plugin(&d, &e) != ST_OK) {
        fprintf(out, "CUDA: none (%s)\n", e.text + (strncmp(e.text, prefix, strlen(prefix)) ? 0 : strlen(prefix)));
    } else {
        fprintf(out, "CUDA: device code %s; ", d.backend->code);
        if (d.backend->open(&d.context, 1, &e) == ST_OK) {
            fprintf(out, "%s\n", d.backend->description(d.context));
            d.backend->close(d.context);
        } else
            fprintf(out, "no GPU (%s)\n", e.text + (strncmp(e.text, prefix, strlen(prefix)) ? 0 : strlen(prefix)));
    }
    if (d.plugin)
        dlclose(d.plugin);
}

void *device_alloc(struct device *d, int64_t bytes) {
    void *p = d->backend->alloc(d->context, bytes > 0 ? bytes : 1);
    if (!p)
        return NULL;
    d->held_bytes += bytes;
    if (d->held_bytes > d->peak_bytes)
        d->peak_bytes = d->held_bytes;
    return p;
}

void device_free(struct device *d, void *p, int64_t bytes) {
    if (!p)
        return;
    d->backend->free(d->context, p);
    d->held_bytes -= bytes;
}

bool device_reserve_arena(struct device *d, int64_t bytes) {
    if (bytes <= d->arena_bytes && d->arena)
        return true;
    device_sync(d);
    device_free(d, d->arena, d->arena_bytes);
    d->arena = device_alloc(d, bytes);
    d->generation++;
    if (!d->arena) { /* the programs there are still want theirs */
        d->arena = d->arena_bytes ? device_alloc(d, d->arena_bytes) : NULL;
        return false;
    }
    d->arena_bytes = bytes;
    return true;
}

struct buffer *buffer_create(struct device *d, int64_t bytes, const char *name) {
    struct buffer *b = xcalloc(1, sizeof *b);
    b->device = d;
    b->name = xstrdup(name ? name : "");
    b->bytes = bytes;
    b->data = device_alloc(d, bytes);
    if (!b->data) {
        fprintf(stderr, "device: no %lld bytes of memory for %s\n", (long long)bytes, b->name);
        abort();
    }
    return b;
}

void buffer_free(struct buffer *b) {
    if (!b)
        return;
    device_free(b->device, b->data, b->bytes);
    free(b->name);
    free(b);
}

int64_t buffer_bytes(const struct buffer *b) { return b->bytes; }

static void check_range(const struct buffer *b, int64_t offset, int64_t bytes) {
    GRAPH_CHECK(offset >= 0 && bytes >= 0 && offset + bytes <= b->bytes, "bytes %lld..%lld of buffer %s, which has %lld",
                (long long)offset, (long long)(offset + bytes), b->name, (long long)b->bytes);
}

void buffer_write(struct buffer *b, int64_t offset, const void *source, int64_t bytes) {
    check_range(b, offset, bytes);
    b->device->backend->write(b->device->context, b->data + offset, source, bytes);
}

void buffer_read(struct buffer *b, int64_t offset, void *target, int64_t bytes) {
    check_range(b, offset, bytes);
    b->device->backend->read(b->device->context, target, b->data + offset, bytes);
}

void buffer_copy(struct buffer *to, int64_t to_offset, struct buffer *from, int64_t from_offset, int64_t bytes) {
    check_range(to, to_offset, bytes);
    check_range(from, from_offset, bytes);
    GRAPH_CHECK(to->device == from->device, "copy from buffer %s to buffer %s of another device", from->name, to->name);
    to->device->backend->copy(to->device->context, to->data + to_offset, from->data + from_offset, bytes);
}
