/* generator.c - see generator.h. Three programs: z to w+, w to w+, w+ to pictures. */
#include "common/stylegan2/generator.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/stylegan2/layers.h"

#define USE_LAYER_NOISE 0x2000 /* Philox `use` of the first layer's noise */

struct sg2_generator {
    struct sg2_generator_opt o;
    struct sg2_net *net;
    int num_ws;
    int64_t pixels;       /* values of one picture */
    struct buffer *z;     /* [B,z_dim] */
    struct buffer *c;     /* [B,c_dim], NULL when unconditional */
    struct buffer *w;     /* [B,w_dim] */
    struct buffer *ws;    /* [B,num_ws,w_dim] */
    struct buffer *key;   /* U64 [B,2] */
    struct buffer *img;   /* [B,res,res,C] */
    struct buffer *bytes; /* U8, the same picture */
    struct program *from_z, *from_w, *synthesis;
    float *host;          /* [B * largest row] */
    uint64_t *host_key;
    int64_t queued;      /* pictures of a run whose pixels nobody has read yet; they go to queued_out */
    uint8_t *queued_out;
};

static enum status plan(struct program **p, struct graph *g, struct sg2_vars *v, struct sg2_generator *s, struct error *e) {
    enum status st = program_create(p, g, s->net->device, e);
    sg2_vars_free(v);
    graph_free(g);
    return st;
}

static enum status plan_mapping(struct sg2_generator *s, bool from_z, struct error *e) {
    const struct sg2_config *k = &s->net->config;
    struct graph *g = graph_create(from_z ? "mapping" : "broadcast");
    struct sg2_vars *v = sg2_vars_create(g, s->net, true);
    tensor *w;
    if (from_z) {
        tensor *c = k->c_dim ? graph_input(g, s->c, 0, DT_F32, "c", 2, s->o.batch, k->c_dim) : NULL;
        w = sg2_mapping(v, graph_input(g, s->z, 0, DT_F32, "z", 2, s->o.batch, k->z_dim), c);
    } else {
        w = graph_input(g, s->w, 0, DT_F32, "w", 2, s->o.batch, k->w_dim);
    }
    tensor *ws = sg2_broadcast_truncate(v, w, s->o.psi, s->o.cutoff);
    assign(g, graph_input(g, s->ws, 0, DT_F32, "ws", 3, s->o.batch, s->num_ws, k->w_dim), ws);
    return plan(from_z ? &s->from_z : &s->from_w, g, v, s, e);
}

static enum status plan_synthesis(struct sg2_generator *s, struct error *e) {
    const struct sg2_config *k = &s->net->config;
    struct graph *g = graph_create("synthesis");
    struct sg2_vars *v = sg2_vars_create(g, s->net, true);
    struct sg2_synthesis_opt o = {.noise = s->o.noise, .noise_use = USE_LAYER_NOISE, .noise_scale = s->o.noise_scale,
                                  .half = s->o.half};
    if (o.noise == SG2_NOISE_RANDOM)
        o.noise_key = graph_input(g, s->key, 0, DT_U64, "key", 2, s->o.batch, 2);
    tensor *img = sg2_synthesis(v, graph_input(g, s->ws, 0, DT_F32, "ws", 3, s->o.batch, s->num_ws, k->w_dim), o);
    assign(g, graph_input(g, s->img, 0, DT_F32, "out", 4, s->o.batch, k->res, k->res, k->img_channels), img);
    assign(g, graph_input(g, s->bytes, 0, DT_U8, "bytes", 4, s->o.batch, k->res, k->res, k->img_channels), to_u8(g, img));
    return plan(&s->synthesis, g, v, s, e);
}

static int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }

enum status sg2_generator_create(struct sg2_generator **gen, struct device *d, struct sg2_net *net,
                                 const struct sg2_generator_opt *o, struct error *e) {
    const struct sg2_config *k = &net->config;
    *gen = NULL;
    if (net->kind != SG2_G)
        return st_bad(e, "generator: the network is not a generator");
    if (o->batch < 1 || o->batch > SG2_MAX_BATCH)
        return st_bad(e, "generator: batch %d, allowed are 1 to %d", o->batch, SG2_MAX_BATCH);
    if (!(o->psi >= -10 && o->psi <= 10))
        return st_bad(e, "generator: truncation %g, allowed are -10 to 10", (double)o->psi);
    struct sg2_generator *s = xcalloc(1, sizeof *s);
    bool cpu = !strcmp(device_name(d), "cpu");
    int64_t B = cpu ? 1 : o->batch;
    s->o = *o;
    s->o.batch = (int)B;
    s->o.half = o->half && !cpu;
    s->net = net;
    s->num_ws = sg2_num_ws(k);
    s->pixels = (int64_t)k->res * k->res * k->img_channels;
    s->z = buffer_create(d, B * k->z_dim * 4, "z");
    s->c = k->c_dim ? buffer_create(d, B * k->c_dim * 4, "c") : NULL;
    s->w = buffer_create(d, B * k->w_dim * 4, "w");
    s->ws = buffer_create(d, B * s->num_ws * k->w_dim * 4, "ws");
    s->key = buffer_create(d, B * 16, "noise key");
    if (o->mapping_only) {
        s->pixels = 0;
    } else {
        s->img = buffer_create(d, B * s->pixels * 4, "img");
        s->bytes = buffer_create(d, B * s->pixels, "bytes");
    }
    int64_t row = max64(max64(k->z_dim, k->c_dim), max64((int64_t)s->num_ws * k->w_dim, s->pixels));
    s->host = xcalloc((size_t)(B * row), sizeof *s->host);
    s->host_key = xcalloc((size_t)(2 * B), sizeof *s->host_key);
    enum status st;
    if ((st = plan_mapping(s, true, e)) || (st = plan_mapping(s, false, e)) || (!o->mapping_only && (st = plan_synthesis(s, e)))) {
        sg2_generator_free(s);
        return st;
    }
    s->o.noise_scale = NULL; /* the caller's */
    *gen = s;
    return ST_OK;
}

void sg2_generator_free(struct sg2_generator *s) {
    if (!s)
        return;
    program_free(s->from_z);
    program_free(s->from_w);
    program_free(s->synthesis);
    buffer_free(s->z);
    buffer_free(s->c);
    buffer_free(s->w);
    buffer_free(s->ws);
    buffer_free(s->key);
    buffer_free(s->img);
    buffer_free(s->bytes);
    free(s->host);
    free(s->host_key);
    free(s);
}

void sg2_generator_refresh(struct sg2_generator *s) {
    program_constants_changed(s->from_z);
    program_constants_changed(s->from_w);
    if (s->synthesis)
        program_constants_changed(s->synthesis);
}

struct program *sg2_generator_program(struct sg2_generator *s) { return s->synthesis; }
int sg2_generator_batch(const struct sg2_generator *s) { return s->o.batch; }

/* Rows first .. of `rows` into a buffer of batch rows; a short batch is filled with its first row. */
static void send(struct sg2_generator *s, struct buffer *to, const float *rows, int64_t width, int64_t first, int64_t n) {
    for (int64_t i = 0; i < s->o.batch; i++)
        memcpy(s->host + i * width, rows + (first + (i < n ? i : 0)) * width, (size_t)width * sizeof *rows);
    buffer_write(to, 0, s->host, s->o.batch * width * 4);
}

static void send_labels(struct sg2_generator *s, const int *labels, int64_t first, int64_t n) {
    int64_t c_dim = s->net->config.c_dim;
    memset(s->host, 0, (size_t)(s->o.batch * c_dim) * sizeof *s->host);
    for (int64_t i = 0; i < s->o.batch; i++) {
        int k = labels ? labels[first + (i < n ? i : 0)] : -1;
        if (k >= 0 && k < c_dim)
            s->host[i * c_dim + k] = 1;
    }
    buffer_write(s->c, 0, s->host, s->o.batch * c_dim * 4);
}

/* The layers' inputs of n pictures from `first` on, on the device. */
static void make_ws(struct sg2_generator *s, const struct sg2_latents *l, int64_t first, int64_t n) {
    const struct sg2_config *k = &s->net->config;
    if (l->z) {
        send(s, s->z, l->z, k->z_dim, first, n);
        if (k->c_dim)
            send_labels(s, l->labels, first, n);
        program_run(s->from_z);
    } else if (l->w) {
        send(s, s->w, l->w, k->w_dim, first, n);
        program_run(s->from_w);
    } else {
        send(s, s->ws, l->ws, (int64_t)s->num_ws * k->w_dim, first, n);
    }
}

static int64_t batch_at(const struct sg2_generator *s, const struct sg2_latents *l, int64_t first) {
    return l->n - first < s->o.batch ? l->n - first : s->o.batch;
}

/* Draws pictures first .. first + n - 1 into s->img. */
static void draw(struct sg2_generator *s, const struct sg2_latents *l, int64_t first, int64_t n) {
    make_ws(s, l, first, n);
    if (s->o.noise == SG2_NOISE_RANDOM) {
        for (int64_t i = 0; i < s->o.batch; i++) {
            int64_t at = first + (i < n ? i : 0);
            s->host_key[2 * i] = l->noise_seeds ? l->noise_seeds[at] : (uint64_t)at;
            s->host_key[2 * i + 1] = 0;
        }
        buffer_write(s->key, 0, s->host_key, s->o.batch * 16);
    }
    program_run(s->synthesis);
}

void sg2_generate_begin(struct sg2_generator *s, const struct sg2_latents *l, uint8_t *out) {
    for (int64_t first = 0; first < l->n; first += s->o.batch) {
        sg2_generate_end(s); /* the run before */
        s->queued = batch_at(s, l, first);
        s->queued_out = out ? out + first * s->pixels : NULL;
        draw(s, l, first, s->queued);
    }
}

void sg2_generate_end(struct sg2_generator *s) {
    if (s->queued && s->queued_out)
        buffer_read(s->bytes, 0, s->queued_out, s->queued * s->pixels);
    s->queued = 0;
}

void sg2_generate(struct sg2_generator *s, const struct sg2_latents *l, uint8_t *out) {
    sg2_generate_begin(s, l, out);
    sg2_generate_end(s);
}

void sg2_generate_float(struct sg2_generator *s, const struct sg2_latents *l, float *out) {
    for (int64_t first = 0; first < l->n; first += s->o.batch) {
        int64_t n = batch_at(s, l, first);
        draw(s, l, first, n);
        buffer_read(s->img, 0, out + first * s->pixels, n * s->pixels * 4);
    }
}

void sg2_generate_ws(struct sg2_generator *s, const struct sg2_latents *l, float *out) {
    int64_t row = (int64_t)s->num_ws * s->net->config.w_dim;
    for (int64_t first = 0; first < l->n; first += s->o.batch) {
        int64_t n = batch_at(s, l, first);
        make_ws(s, l, first, n);
        buffer_read(s->ws, 0, out + first * row, n * row * 4);
    }
}
