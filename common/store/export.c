/* export.c - see export.h. The pickle of a .pt uses the few opcodes that build dictionaries of tensors: PyTorch's restricted loader
 * (weights_only) takes it. */
#include "common/store/export.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/store/rosinality.h"
#include "common/store/zip_write.h"

static int64_t count_of(const struct st_entry *t) {
    int64_t n = 1;
    for (int i = 0; i < t->ndim; i++)
        n *= t->dim[i];
    return n;
}

enum status export_numbers(const struct st_entry *t, enum dtype dtype, float scale, struct bytes *out, struct error *e) {
    const float *x = t->data;
    int64_t n = count_of(t);
    bytes_reserve(out, out->size + (size_t)n * (size_t)dtype_size(dtype));
    for (int64_t i = 0; i < n; i++) {
        float v = x[i] * scale;
        uint16_t half = dtype == DT_F16 ? f16_from_f32(v) : bf16_from_f32(v);
        if (dtype == DT_F16 && isfinite(v) && !isfinite(f32_from_f16(half)))
            return st_bad(e, "tensor %s holds %g, which float16 cannot: its largest number is 65504", t->name, (double)v);
        bytes_append(out, dtype == DT_F32 ? (void *)&v : (void *)&half, (size_t)dtype_size(dtype));
    }
    return ST_OK;
}

static const struct st_entry *entry_named(const struct st_entry *t, int n, const char *prefix, const char *name) {
    char whole[128];
    snprintf(whole, sizeof whole, "%s%s", prefix, name);
    for (int i = 0; i < n; i++) /* a few hundred */
        if (!strcmp(t[i].name, whole))
            return &t[i];
    return NULL;
}

/* ---- .npz ---- */

/* One array: header padded so that the data starts at a multiple of 64. */
static enum status add_array(struct zip_writer *z, const char *name, const char *descr, int ndim, const int64_t *dim, const void *data,
                             size_t size, struct error *e) {
    char header[256], shape[192] = "";
    for (int i = 0, at = 0; i < ndim; i++)
        at += snprintf(shape + at, sizeof shape - (size_t)at, "%lld,", (long long)dim[i]);
    memset(header, ' ', sizeof header);
    memcpy(header, "\x93NUMPY\1\0\xf6\0", 10);
    int n = snprintf(header + 10, sizeof header - 10, "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", descr, shape);
    header[10 + n] = ' ';
    header[sizeof header - 1] = '\n';
    char *member = xasprintf("%s.npy", name);
    enum status st = zip_add_two(z, member, header, sizeof header, data, size, e);
    free(member);
    return st;
}

enum status export_npz(const char *path, const struct st_entry *t, int n, enum dtype dtype, const char *config, struct error *e) {
    struct zip_writer *z;
    enum status st = zip_create(&z, path, e);
    if (st != ST_OK)
        return st;
    for (int i = 0; i < n && st == ST_OK; i++) {
        struct bytes numbers = {0};
        st = export_numbers(&t[i], dtype, 1, &numbers, e);
        if (st == ST_OK)
            st = add_array(z, t[i].name, dtype == DT_F16 ? "<f2" : "<f4", t[i].ndim, t[i].dim, numbers.data, numbers.size, e);
        bytes_free(&numbers);
    }
    if (st == ST_OK) /* text as NumPy has it: bytes of a fixed length */ {
        char kind[32];
        snprintf(kind, sizeof kind, "|S%zu", strlen(config));
        st = add_array(z, "config", kind, 0, NULL, config, strlen(config), e);
    }
    if (st == ST_OK)
        return zip_close(z, e);
    zip_discard(z);
    return st;
}

/* ---- .pt ---- */

struct torch_writer {
    struct zip_writer *zip;
    struct bytes pickle;
    const struct st_entry *t;
    int n, storages;
    const char *prefix; /* of the network being written */
    enum dtype dtype;
    enum status st;
    struct error *e;
};

static void put(struct bytes *b, const char *opcodes) { bytes_append(b, opcodes, strlen(opcodes)); }

static void put_int(struct bytes *b, int64_t v) {
    uint8_t op[5] = {'J', (uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24)};
    bytes_append(b, op, 5);
}

static void put_text(struct bytes *b, const char *text) {
    size_t n = strlen(text);
    uint8_t op[5] = {'X', (uint8_t)n, (uint8_t)(n >> 8), 0, 0};
    bytes_append(b, op, 5);
    bytes_append(b, text, n);
}

static void put_tuple(struct bytes *b, int n, const int64_t *v) {
    put(b, "(");
    for (int i = 0; i < n; i++)
        put_int(b, v[i]);
    put(b, "t");
}

/* A key of the dictionary and its tensor; the numbers become a member of the archive. */
static void put_tensor(struct torch_writer *w, const char *key, const struct st_entry *t, int ndim, const int64_t *dim, float scale) {
    struct bytes numbers = {0}, *b = &w->pickle;
    char number[16], member[40];
    int64_t stride[ST_MAX_DIM] = {0}, step = 1;
    if (w->st != ST_OK || (w->st = export_numbers(t, w->dtype, scale, &numbers, w->e)) != ST_OK) {
        bytes_free(&numbers);
        return;
    }
    for (int i = ndim - 1; i >= 0; i--) {
        stride[i] = step;
        step *= dim[i];
    }
    snprintf(number, sizeof number, "%d", w->storages++);
    snprintf(member, sizeof member, "archive/data/%s", number);
    put_text(b, key);
    put(b, "ctorch._utils\n_rebuild_tensor_v2\n((");
    put_text(b, "storage");
    put(b, w->dtype == DT_F16 ? "ctorch\nHalfStorage\n" : w->dtype == DT_BF16 ? "ctorch\nBFloat16Storage\n" : "ctorch\nFloatStorage\n");
    put_text(b, number);
    put_text(b, "cpu");
    put_int(b, step);
    put(b, "tQ");
    put_int(b, 0);
    put_tuple(b, ndim, dim);
    put_tuple(b, ndim, stride);
    put(b, "\x89" "ccollections\nOrderedDict\n)RtR");
    w->st = zip_add(w->zip, member, numbers.data, numbers.size, w->e);
    bytes_free(&numbers);
}

static void put_pair(void *context, const struct rosinality_pair *p) {
    struct torch_writer *w = context;
    const struct st_entry *t = entry_named(w->t, w->n, w->prefix, p->ours);
    static const float tap[4] = {1 / 8.0f, 3 / 8.0f, 3 / 8.0f, 1 / 8.0f};
    float filter[16];
    const struct st_entry standard = {.name = p->ours, .dtype = DT_F32, .ndim = 2, .dim = {4, 4}, .data = filter};
    int64_t dim[ST_MAX_DIM];
    for (int i = 0; i < 16; i++)
        filter[i] = tap[i / 4] * tap[i % 4];
    if (w->st != ST_OK)
        return;
    if (!t && strstr(p->ours, ".resample_filter"))
        t = &standard; /* the same in every StyleGAN2, so other programs leave it out */
    bool scalar = t && t->ndim == 0 && p->ndim == 1;
    if (!t || (t->ndim != p->ndim && !scalar)) {
        w->st = st_bad(w->e, "tensor %s%s %s", w->prefix, p->ours, t ? "has a wrong shape" : "is missing");
        return;
    }
    int ndim = p->lead + p->ndim + p->trail;
    for (int i = 0; i < ndim; i++)
        dim[i] = i >= p->lead && i < p->lead + p->ndim && !scalar ? t->dim[i - p->lead] : 1;
    put_tensor(w, p->theirs, t, ndim, dim, p->scale);
}

static void put_network(struct torch_writer *w, const char *key, const char *prefix, const struct sg2_config *c) {
    bool critic = !strcmp(key, "d");
    if (!entry_named(w->t, w->n, prefix, critic ? "b4.out.weight" : "synthesis.b4.const"))
        return;
    put_text(&w->pickle, key);
    put(&w->pickle, "ccollections\nOrderedDict\n)R(");
    w->prefix = prefix;
    if (critic)
        rosinality_discriminator(c->res, put_pair, w);
    else
        rosinality_generator(c->res, c->map_layers, put_pair, w);
    put(&w->pickle, "u");
}

enum status export_rosinality(const char *path, const struct st_entry *t, int n, enum dtype dtype, const struct sg2_config *c,
                              struct error *e) {
    if (c->c_dim || c->img_channels != 3 || c->z_dim != c->w_dim)
        return st_bad(e, "rosinality's layout has no classes, 3 channels, and z as large as w; this network has %d classes, %d channels, z "
                      "%d, w %d", c->c_dim, c->img_channels, c->z_dim, c->w_dim);
    struct torch_writer w = {.t = t, .n = n, .dtype = dtype, .e = e};
    w.st = zip_create(&w.zip, path, e);
    if (w.st != ST_OK)
        return w.st;
    put(&w.pickle, "\x80\x02}(");
    put_network(&w, "g_ema", "G_ema.", c);
    put_network(&w, "g", "G.", c);
    put_network(&w, "d", "D.", c);
    const struct st_entry *mean = entry_named(t, n, "G_ema.", "mapping.w_avg");
    if (mean)
        put_tensor(&w, "latent_avg", mean, mean->ndim, mean->dim, 1);
    put(&w.pickle, "u.");
    if (w.st == ST_OK && (w.st = zip_add(w.zip, "archive/data.pkl", w.pickle.data, w.pickle.size, e)) == ST_OK &&
        (w.st = zip_add(w.zip, "archive/byteorder", "little", 6, e)) == ST_OK)
        w.st = zip_add(w.zip, "archive/version", "3\n", 2, e);
    bytes_free(&w.pickle);
    if (w.st == ST_OK)
        return zip_close(w.zip, e);
    zip_discard(w.zip);
    return w.st;
}
