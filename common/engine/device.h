/* device.h - a device (a backend opened), its memory, and programs that run on it.
 *
 *     struct device *d; device_open(&d, "cpu", 0, &e);
 *     struct buffer *b = buffer_create(d, 4 * n, "x"); buffer_write(b, 0, x, 4 * n);
 *
 * Calls on one device come from one thread. Copies and program runs are queued in order; buffer_read and device_sync wait.
 */
#ifndef FACEMILL_DEVICE_H
#define FACEMILL_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/base/status.h"

struct device;
struct buffer;
struct graph;

/* name: "cpu", "cuda" (opens the plugin build/lib/facemill-cuda.so beside the program, or $FACEMILL_PLUGIN), "auto" (cuda when it
 * opens, else cpu). threads: CPU threads, 0 = as many as the process may use. */
#define DEVICES "auto|cpu|cuda" /* an option's choices; device_choice: the name of each */
const char *device_choice(int i);
enum status device_open(struct device **d, const char *name, int threads, struct error *e);
/* A device that computes nothing and holds nothing: each launch of a program created on it is shown to `visit`. */
struct kernel_call;
typedef void device_visit(void *arg, const struct kernel_call *c);
struct device *device_dry(device_visit *visit, void *arg);
void device_close(struct device *d);
const char *device_name(const struct device *d);        /* "cpu" or "cuda" */
const char *device_description(const struct device *d); /* "2 threads, oneDNN 2.6.3, OpenBLAS 0.3.21" */
void device_sync(struct device *d);                     /* until everything queued is done */
int64_t device_peak_bytes(const struct device *d);      /* largest memory held at once */
int64_t device_available_bytes(const struct device *d); /* what could still be allocated, about */
/* Where the backend can (CUDA), a program is captured at its second run and replayed from then on. false: every run launches its
 * kernels one by one, which gives the same bits, slower, and is what one wants to debug. The CPU has nothing to capture. */
void device_use_graphs(struct device *d, bool on);
/* One line for --version: what device code the CUDA plugin holds, and the GPU found; or why there is none. */
void device_print_version(FILE *out);

/* Zero-filled, aligned to 256 bytes. */
struct buffer *buffer_create(struct device *d, int64_t bytes, const char *name);
void buffer_free(struct buffer *b); /* NULL is fine */
int64_t buffer_bytes(const struct buffer *b);
/* The source may be reused as soon as buffer_write returns. */
void buffer_write(struct buffer *b, int64_t offset, const void *source, int64_t bytes);
void buffer_read(struct buffer *b, int64_t offset, void *target, int64_t bytes); /* waits for what is queued */
void buffer_copy(struct buffer *to, int64_t to_offset, struct buffer *from, int64_t from_offset, int64_t bytes);

/* ---- programs: a graph, planned for a device ---- */
struct program;
/* Plans (dead nodes out, common subexpressions joined, pointwise runs fused, one arena with offsets) and prepares every kernel.
 * The graph can be freed afterwards. ST_FAIL when the device cannot do something or has too little memory. */
enum status program_create(struct program **p, struct graph *g, struct device *d, struct error *e);
void program_free(struct program *p);
/* Queues one run. No allocation, no waiting. Kernels that depend only on constant inputs run at the first time, and after
 * program_constants_changed. */
void program_run(struct program *p);
void program_constants_changed(struct program *p);

struct program_info {
    int nodes, launches, fused; /* nodes built, launches a run, of them fused pointwise programs */
    int64_t arena_bytes, constant_bytes;
    double flops, bytes; /* of one run: multiply-adds count 2; bytes each launch reads and writes */
};
struct program_info program_get_info(const struct program *p);
/* The plan: one line a launch with shapes, offset, bytes, FLOPs and why a buffer is or is not reused. */
void program_print(const struct program *p, FILE *out);
/* Runs with each launch timed by itself (on a GPU, eight times over); prints the table of time by op, sorted. For `--profile` and
 * benchmarks: what the program writes means nothing afterwards. */
void program_profile(struct program *p, FILE *out);
double program_conv_seconds(struct program *p); /* of the convolutions alone, run one after another */

#endif
