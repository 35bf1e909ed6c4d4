/* params.c - the tensors of the two networks: names, shapes, places in two flat buffers, initialisation, conversion.
 *
 * The list is made in the order of the published networks' state dicts. In D everything that FreezeD can freeze therefore comes
 * first, so that a frozen part is a prefix of the flat buffer. Tensors that no regulariser depends on lie at its end, so that a
 * regulariser's Adam step is one range too. Each tensor starts at a multiple of 64 elements (256 bytes).
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/rng/philox.h"
#include "common/stylegan2/network.h"

#define ALIGN 64

/* ---- the list ---- */

struct list {
    struct sg2_net *net;
    int room;
};

/* Appends a tensor; its name is built from `format`. dims: up to four, 0 ends them. */
static struct sg2_tensor *put(struct list *l, bool trained, float init_std, float init_value, const int dims[4],
                              const char *format, ...) {
    struct sg2_net *n = l->net;
    if (n->n_tensors == l->room) {
        l->room = l->room ? 2 * l->room : 64;
        n->tensors = xrealloc(n->tensors, (size_t)l->room * sizeof *n->tensors);
    }
    struct sg2_tensor *t = &n->tensors[n->n_tensors++];
    memset(t, 0, sizeof *t);
    va_list args;
    va_start(args, format);
    vsnprintf(t->name, sizeof t->name, format, args);
    va_end(args);
    for (t->ndim = 0; t->ndim < 4 && dims[t->ndim]; t->ndim++)
        t->dim[t->ndim] = dims[t->ndim];
    t->trained = trained;
    t->conv = trained && t->ndim == 4;
    t->init_std = init_std;
    t->init_value = init_value;
    return t;
}

#define DIMS(...) ((const int[4]){__VA_ARGS__})

static void put_filter(struct list *l, const char *prefix) {
    put(l, false, 0, 0, DIMS(4, 4), "%s.resample_filter", prefix);
}

static void put_mapping(struct list *l, int z_dim, int c_dim, int width, int layers) {
    if (c_dim) {
        put(l, true, 1, 0, DIMS(width, c_dim), "mapping.embed.weight");
        put(l, true, 0, 0, DIMS(width), "mapping.embed.bias");
    }
    for (int i = 0; i < layers; i++) { /* stored as value / lr multiplier (0.01) */
        int in = i > 0 ? width : z_dim + (c_dim ? width : 0);
        put(l, true, 100, 0, DIMS(width, in), "mapping.fc%d.weight", i);
        put(l, true, 0, 0, DIMS(width), "mapping.fc%d.bias", i);
    }
}

static void put_affine(struct list *l, const char *prefix, int channels, int w_dim) {
    put(l, true, 1, 0, DIMS(channels, w_dim), "%s.affine.weight", prefix);
    put(l, true, 0, 1, DIMS(channels), "%s.affine.bias", prefix);
}

static void list_g(struct list *l) {
    const struct sg2_config *c = &l->net->config;
    char name[48];
    for (int res = 4; res <= c->res; res *= 2) {
        int out = sg2_channels(c, res), in = res > 4 ? sg2_channels(c, res / 2) : 0;
        if (res == 4)
            put(l, true, 1, 0, DIMS(out, 4, 4), "synthesis.b4.const");
        for (int conv = res == 4; conv < 2; conv++) {
            int from = conv == 0 ? in : out;
            snprintf(name, sizeof name, "synthesis.b%d.conv%d", res, conv);
            put(l, true, 1, 0, DIMS(out, from, 3, 3), "%s.weight", name);
            put(l, true, 0, 0, DIMS(1), "%s.noise_strength", name);
            put(l, true, 0, 0, DIMS(out), "%s.bias", name);
            put_affine(l, name, from, c->w_dim);
        }
        snprintf(name, sizeof name, "synthesis.b%d.torgb", res);
        put(l, true, 1, 0, DIMS(c->img_channels, out, 1, 1), "%s.weight", name);
        put(l, true, 0, 0, DIMS(c->img_channels), "%s.bias", name)->offset_only = true;
        put_affine(l, name, out, c->w_dim);
    }
    put_mapping(l, c->z_dim, c->c_dim, c->w_dim, c->map_layers);
    for (int res = 4; res <= c->res; res *= 2) {
        snprintf(name, sizeof name, "synthesis.b%d", res);
        put_filter(l, name);
        for (int conv = res == 4; conv < 2; conv++) {
            snprintf(name, sizeof name, "synthesis.b%d.conv%d", res, conv);
            put_filter(l, name);
            put(l, false, 1, 0, DIMS(res, res), "%s.noise_const", name);
        }
    }
    put(l, false, 0, 0, DIMS(c->w_dim), "mapping.w_avg");
}

static void list_d(struct list *l) {
    const struct sg2_config *c = &l->net->config;
    static const char *const layers[] = {"", ".fromrgb", ".conv0", ".conv1", ".skip"};
    char name[48];
    int last = sg2_channels(c, 4);
    for (int res = c->res; res > 4; res /= 2) {
        int in = sg2_channels(c, res), out = sg2_channels(c, res / 2);
        if (res == c->res) {
            put(l, true, 1, 0, DIMS(in, c->img_channels, 1, 1), "b%d.fromrgb.weight", res);
            put(l, true, 0, 0, DIMS(in), "b%d.fromrgb.bias", res);
        }
        put(l, true, 1, 0, DIMS(in, in, 3, 3), "b%d.conv0.weight", res);
        put(l, true, 0, 0, DIMS(in), "b%d.conv0.bias", res);
        put(l, true, 1, 0, DIMS(out, in, 3, 3), "b%d.conv1.weight", res);
        put(l, true, 0, 0, DIMS(out), "b%d.conv1.bias", res);
        put(l, true, 1, 0, DIMS(out, in, 1, 1), "b%d.skip.weight", res);
    }
    if (c->c_dim)
        put_mapping(l, 0, c->c_dim, last, c->d_map_layers);
    put(l, true, 1, 0, DIMS(last, last + c->mbstd_channels, 3, 3), "b4.conv.weight");
    put(l, true, 0, 0, DIMS(last), "b4.conv.bias");
    put(l, true, 1, 0, DIMS(last, last * 16), "b4.fc.weight");
    put(l, true, 0, 0, DIMS(last), "b4.fc.bias");
    int out = c->c_dim ? last : 1;
    put(l, true, 1, 0, DIMS(out, last), "b4.out.weight");
    put(l, true, 0, 0, DIMS(out), "b4.out.bias")->offset_only = true;
    for (int res = c->res; res > 4; res /= 2)
        for (int i = 0; i < 5; i++)
            if (i != 1 || res == c->res) {
                snprintf(name, sizeof name, "b%d%s", res, layers[i]);
                put_filter(l, name);
            }
    put_filter(l, "b4.conv");
}

/* ---- networks ---- */

static int64_t count(const struct sg2_tensor *t) {
    int64_t n = 1;
    for (int i = 0; i < t->ndim; i++)
        n *= t->dim[i];
    return n;
}

/* Offsets, in the list's order but for the tensors at the end. */
static void lay_out(struct sg2_net *n) {
    for (int last = 0; last < 2; last++) {
        for (int i = 0; i < n->n_tensors; i++) {
            struct sg2_tensor *t = &n->tensors[i];
            if (t->offset_only != last)
                continue;
            int64_t *total = t->trained ? &n->n_params : &n->n_state;
            t->offset = *total;
            *total += (count(t) + ALIGN - 1) / ALIGN * ALIGN;
        }
        if (!last)
            n->n_regular = n->n_params;
    }
}

struct sg2_net *sg2_net_create(struct device *d, enum sg2_kind kind, const struct sg2_config *c) {
    struct sg2_net *n = xcalloc(1, sizeof *n);
    n->kind = kind;
    n->config = *c;
    n->device = d;
    struct list l = {.net = n};
    if (kind == SG2_G)
        list_g(&l);
    else
        list_d(&l);
    lay_out(n);
    n->params = buffer_create(d, n->n_params * 4, kind == SG2_G ? "G.params" : "D.params");
    n->state = buffer_create(d, n->n_state * 4, kind == SG2_G ? "G.state" : "D.state");
    return n;
}

void sg2_net_free(struct sg2_net *n) {
    if (!n)
        return;
    buffer_free(n->params);
    buffer_free(n->state);
    free(n->tensors);
    free(n);
}

const struct sg2_tensor *sg2_net_find(const struct sg2_net *n, const char *name) {
    for (int i = 0; i < n->n_tensors; i++)
        if (!strcmp(n->tensors[i].name, name))
            return &n->tensors[i];
    return NULL;
}

/* The FIR filter [1,3,3,1] x [1,3,3,1], sum 1 (Karras et al. 2020). */
static void fill_filter(float *f) {
    static const float tap[4] = {1, 3, 3, 1};
    for (int i = 0; i < 16; i++)
        f[i] = tap[i / 4] * tap[i % 4] / 64;
}

static uint64_t fnv1a(const char *text) {
    uint64_t h = 0xcbf29ce484222325u;
    for (; *text; text++)
        h = (h ^ (unsigned char)*text) * 0x100000001b3u;
    return h;
}

void sg2_net_init(struct sg2_net *n, uint64_t seed) {
    for (int i = 0; i < n->n_tensors; i++) {
        const struct sg2_tensor *t = &n->tensors[i];
        int64_t size = count(t);
        size_t length = strlen(t->name);
        float *x = xmalloc((size_t)size * sizeof *x);
        if (t->init_std > 0) {
            /* G and D have tensors of one name (mapping.fc0.weight); the network's kind is the `use` that tells them apart. */
            philox_fill_normal(seed, fnv1a(t->name), (uint32_t)n->kind, x, size);
            for (int64_t k = 0; k < size; k++)
                x[k] *= t->init_std;
        } else if (length > 15 && !strcmp(t->name + length - 15, "resample_filter")) {
            fill_filter(x);
        } else {
            for (int64_t k = 0; k < size; k++)
                x[k] = t->init_value;
        }
        sg2_tensor_set(t, t->trained ? n->params : n->state, x);
        free(x);
    }
}

void sg2_net_copy(struct sg2_net *to, const struct sg2_net *from) {
    buffer_copy(to->params, 0, from->params, 0, from->n_params * 4);
    buffer_copy(to->state, 0, from->state, 0, from->n_state * 4);
}

/* ---- conversion: convolution weights are [out,in,kh,kw] outside and [out,kh,kw,in] on the device; constants of the synthesis
 * are [channels,4,4] outside and [4,4,channels] on the device. Both move one dimension
 * to the end. ---- */

/* out of `a` blocks of [b,c] each, make [c,b]. */
static void transpose(const float *in, float *out, int64_t a, int64_t b, int64_t c) {
    for (int64_t n = 0; n < a; n++)
        for (int64_t i = 0; i < b; i++)
            for (int64_t j = 0; j < c; j++)
                out[(n * c + j) * b + i] = in[(n * b + i) * c + j];
}

static bool moved(const struct sg2_tensor *t, int64_t *a, int64_t *b, int64_t *c) {
    if (t->conv)
        *a = t->dim[0], *b = t->dim[1], *c = t->dim[2] * t->dim[3];
    else if (t->trained && t->ndim == 3)
        *a = 1, *b = t->dim[0], *c = t->dim[1] * t->dim[2];
    else
        return false;
    return true;
}

void sg2_tensor_get(const struct sg2_tensor *t, struct buffer *flat, float *out) {
    int64_t n = count(t), a, b, c;
    if (!moved(t, &a, &b, &c)) {
        buffer_read(flat, t->offset * 4, out, n * 4);
        return;
    }
    float *tmp = xmalloc((size_t)n * sizeof *tmp);
    buffer_read(flat, t->offset * 4, tmp, n * 4);
    transpose(tmp, out, a, c, b);
    free(tmp);
}

void sg2_tensor_set(const struct sg2_tensor *t, struct buffer *flat, const float *in) {
    int64_t n = count(t), a, b, c;
    if (!moved(t, &a, &b, &c)) {
        buffer_write(flat, t->offset * 4, in, n * 4);
        return;
    }
    float *tmp = xmalloc((size_t)n * sizeof *tmp);
    transpose(in, tmp, a, b, c);
    buffer_write(flat, t->offset * 4, tmp, n * 4);
    free(tmp);
}
