/* check_graph.h - running graphs on tensors of a reference file. Files hold pictures and weights channels first, the engine
 * works channels last: four-dimensional tensors are converted on the way in and out.
 */
#ifndef FACEMILL_CHECK_GRAPH_H
#define FACEMILL_CHECK_GRAPH_H

#include "common/engine/graph.h"
#include "common/stylegan2/network.h"
#include "tests/check.h"

/* The device of all checks: $FACEMILL_CHECK_DEVICE, else "cpu". Opened once; exits with a message when it does not open. */
struct device *check_device(void);

struct check_output {
    char name[96];            /* the reference tensor it is compared with */
    struct buffer *buffer;
    int64_t count;
    int ndim;
    int64_t dim[MAX_DIM];     /* on the device */
    double tolerance, scale;  /* scale 0: the reference tensor's own largest value */
};
struct check_given {
    struct buffer *buffer;
    float *values; /* owned, as they are on the device */
    int64_t count;
};
struct check_graph {
    struct graph *g;
    const char *name;
    const struct safetensors *s;
    struct report *r;
    struct buffer **buffers;
    int n_buffers;
    struct check_given *given;
    int n_given;
    struct check_output *outputs;
    int n_outputs;
    bool norms; /* compare by Euclidean norms */
};
void check_graph_begin(struct check_graph *c, const struct safetensors *s, struct report *r, const char *name);
/* A tensor of the file as an input; exits when it is missing. */
tensor *check_input(struct check_graph *c, const char *name);
/* Compares `value` with tensor `name` of the file, if it has one, after the run. Same number of elements; shapes may differ but for the
 * conversion of four dimensions. */
void check_expect(struct check_graph *c, const char *name, tensor *value, double tolerance);
void check_expect_scaled(struct check_graph *c, const char *name, tensor *value, double scale, double tolerance);
/* Plans, runs, compares, and frees everything.
 *
 * An activation that is zero but for rounding lies on one side or the other of the leaky ReLU's kink by the order of the sums before it,
 * and all gradients behind it follow: in stylegan2-r32-cond5, Dmain, one such activation moves them by 2e-3 on processors where oneDNN
 * sums in another order than the reference did. So a graph outside the tolerance runs again with the inputs nudged by one
 * rounding (2^-23 of each value), which throws that coin anew, a few times; a wrong formula is wrong each time. A line says so. */
void check_graph_run(struct check_graph *c);

/* float32 of a whole tensor in file layout; caller frees. Exits when it is missing. */
float *check_load(const struct safetensors *s, const char *name, int64_t *count);
/* [n,c,hw] <-> [n,hw,c] */
void check_channels_last(const float *in, float *out, int64_t n, int64_t c, int64_t hw);
/* Network configuration from __metadata__.config with the defaults of the reference's networks; exits when it is unusable. */
struct sg2_config check_config(const struct safetensors *s);
/* Fills a network from tensors PREFIX + name. Exits when one is missing or has another size. */
void check_load_net(const struct safetensors *s, const char *prefix, struct sg2_net *n);

#endif
