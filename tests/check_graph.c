/* check_graph.c - see check_graph.h. */
#include "tests/check_graph.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/rng/philox.h"

#define NUDGES 8
#define ROUNDING 0x1p-23f

__attribute__((noreturn, format(printf, 1, 2))) static void quit(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("check-reference: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(2);
}

struct device *check_device(void) {
    static struct device *d;
    struct error e;
    const char *name = getenv("FACEMILL_CHECK_DEVICE");
    if (!d && device_open(&d, name ? name : "cpu", 0, &e))
        quit("%s", e.text);
    return d;
}

float *check_load(const struct safetensors *s, const char *name, int64_t *count) {
    const struct st_tensor *t = safetensors_find(s, name);
    if (!t)
        quit("the file has no tensor \"%s\"", name);
    float *x = xmalloc((size_t)t->count * sizeof *x);
    st_to_f32(t, x);
    if (count)
        *count = t->count;
    return x;
}

void check_channels_last(const float *in, float *out, int64_t n, int64_t c, int64_t hw) {
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < c; k++)
            for (int64_t p = 0; p < hw; p++)
                out[(i * hw + p) * c + k] = in[(i * c + k) * hw + p];
}

void check_graph_begin(struct check_graph *c, const struct safetensors *s, struct report *r, const char *name) {
    *c = (struct check_graph){.g = graph_create(name), .name = name, .s = s, .r = r};
}

static struct buffer *keep(struct check_graph *c, struct buffer *b) {
    c->buffers = xrealloc(c->buffers, (size_t)(c->n_buffers + 1) * sizeof *c->buffers);
    return c->buffers[c->n_buffers++] = b;
}

tensor *check_input(struct check_graph *c, const char *name) {
    int64_t count, dim[MAX_DIM];
    float *x = check_load(c->s, name, &count);
    const struct st_tensor *t = safetensors_find(c->s, name);
    memcpy(dim, t->dim, sizeof dim);
    if (t->ndim == 4) {
        float *y = xmalloc((size_t)count * sizeof *y);
        check_channels_last(x, y, dim[0], dim[1], dim[2] * dim[3]);
        free(x);
        x = y;
        dim[1] = t->dim[2], dim[2] = t->dim[3], dim[3] = t->dim[1];
    }
    struct buffer *b = keep(c, buffer_create(check_device(), 4 * count, name));
    buffer_write(b, 0, x, 4 * count);
    c->given = xrealloc(c->given, (size_t)(c->n_given + 1) * sizeof *c->given);
    c->given[c->n_given++] = (struct check_given){b, x, count};
    return graph_input_shape(c->g, b, 0, DT_F32, name, t->ndim, dim);
}

void check_expect(struct check_graph *c, const char *name, tensor *value, double tolerance) {
    check_expect_scaled(c, name, value, 0, tolerance);
}

void check_expect_scaled(struct check_graph *c, const char *name, tensor *value, double scale, double tolerance) {
    if (!safetensors_find(c->s, name))
        return;
    c->outputs = xrealloc(c->outputs, (size_t)(c->n_outputs + 1) * sizeof *c->outputs);
    struct check_output *o = &c->outputs[c->n_outputs++];
    snprintf(o->name, sizeof o->name, "%s", name);
    o->count = tensor_count(value);
    o->ndim = value->ndim;
    memcpy(o->dim, value->dim, sizeof o->dim);
    o->tolerance = tolerance;
    o->scale = scale;
    o->buffer = keep(c, buffer_create(check_device(), 4 * o->count, name));
    assign(c->g, graph_input_shape(c->g, o->buffer, 0, DT_F32, name, value->ndim, value->dim), value);
}

static void compare(const struct check_graph *c, struct report *r) {
    for (int i = 0; i < c->n_outputs; i++) {
        const struct check_output *o = &c->outputs[i];
        int64_t count;
        float *want = check_load(c->s, o->name, &count), *got = xmalloc((size_t)o->count * sizeof *got);
        const struct st_tensor *t = safetensors_find(c->s, o->name);
        buffer_read(o->buffer, 0, got, 4 * o->count);
        if (count != o->count) {
            report_verdict(r, o->name, false, "%lld values, the reference has %lld", (long long)o->count, (long long)count);
        } else {
            /* reference into the device's order: pictures, weights, and [channels,4,4] constants */
            bool picture = t->ndim == 4 && o->ndim == 4, block = t->ndim == 3 && t->dim[1] == t->dim[2] && o->dim[2] == t->dim[0];
            if (picture || block) {
                float *last = xmalloc((size_t)count * sizeof *last);
                int64_t n = picture ? t->dim[0] : 1, k = picture ? t->dim[1] : t->dim[0];
                check_channels_last(want, last, n, k, count / (n * k));
                free(want);
                want = last;
            }
            if (c->norms)
                report_norm(r, o->name, got, want, count, o->tolerance);
            else if (o->scale > 0)
                report_tensor_scaled(r, o->name, got, want, count, o->scale, o->tolerance);
            else
                report_tensor(r, o->name, got, want, count, o->tolerance);
        }
        free(want);
        free(got);
    }
}

/* Each input value up or down by 2^-23 of itself, differently for each `time`; time 0 = as given. */
static void nudge(const struct check_graph *c, uint64_t time) {
    for (int i = 0; i < c->n_given; i++) {
        const struct check_given *in = &c->given[i];
        float *x = xmalloc((size_t)in->count * sizeof *x);
        philox_fill_uniform(time, (uint64_t)i, 0, x, in->count);
        for (int64_t k = 0; k < in->count; k++)
            x[k] = in->values[k] * (time == 0 ? 1 : x[k] < 0.5f ? 1 - ROUNDING : 1 + ROUNDING);
        buffer_write(in->buffer, 0, x, 4 * in->count);
        free(x);
    }
}

void check_graph_run(struct check_graph *c) {
    struct program *p;
    struct error e;
    struct report silent = {.silent = true};
    uint64_t time = 0;
    if (program_create(&p, c->g, check_device(), &e))
        quit("%s", e.text);
    for (; time <= NUDGES; time++) {
        silent.failed = 0;
        if (time > 0)
            nudge(c, time);
        program_run(p);
        compare(c, &silent);
        if (silent.failed == 0)
            break;
    }
    if (silent.failed == 0 && time > 0)
        printf("# %s: within the tolerance with inputs nudged by one rounding, in try %d\n", c->name, (int)time);
    if (silent.failed > 0) {
        nudge(c, 0);
        program_run(p);
    }
    compare(c, c->r);
    program_free(p);
    graph_free(c->g);
    for (int i = 0; i < c->n_buffers; i++)
        buffer_free(c->buffers[i]);
    for (int i = 0; i < c->n_given; i++)
        free(c->given[i].values);
    free(c->buffers);
    free(c->given);
    free(c->outputs);
}

struct sg2_config check_config(const struct safetensors *s) {
    const char *json = safetensors_metadata(s, "config");
    struct sg2_config c;
    struct error e;
    if (!json)
        quit("the file has no network configuration in its metadata");
    if (sg2_config_parse(&c, json, &e))
        quit("%s", e.text);
    return c;
}

void check_load_net(const struct safetensors *s, const char *prefix, struct sg2_net *n) {
    for (int i = 0; i < n->n_tensors; i++) {
        const struct sg2_tensor *t = &n->tensors[i];
        char name[96];
        int64_t count, want = 1;
        snprintf(name, sizeof name, "%s%s", prefix, t->name);
        float *x = check_load(s, name, &count);
        for (int k = 0; k < t->ndim; k++)
            want *= t->dim[k];
        if (count != want)
            quit("\"%s\" has %lld values, %lld were expected", name, (long long)count, (long long)want);
        sg2_tensor_set(t, t->trained ? n->params : n->state, x);
        free(x);
    }
}
