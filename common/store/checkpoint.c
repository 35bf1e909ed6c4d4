/* checkpoint.c - see checkpoint.h. Writing takes one host copy of the state (0.8 GB for a 1024x1024 training), reading none. */
#include "common/store/checkpoint.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/cli/cli.h"
#include "common/rng/philox.h"

#define SAMPLER "sampler.position"
#define NAME_ROOM 128
#define MEAN_BATCH 256
#define MEAN_BATCHES 16 /* 4,096 latents, as many as rosinality's programs take */
#define USE_NOISE 0x5a12u
#define USE_MEAN 0x5a11u /* Philox `use` of their z */

struct checkpoint {
    struct tensor_file *file;
    char *path;
    const char *prefix; /* of the generator to use: "G_ema.", "G." or "" */
    struct sg2_config config;
};

/* ---- writing ---- */

static int64_t item_count(int ndim, const int64_t *dim) {
    int64_t n = 1;
    for (int i = 0; i < ndim; i++)
        n *= dim[i];
    return n;
}

enum status checkpoint_write(const char *path, struct trainer *t, const struct trainer_config *tc, int64_t sampler_position,
                             const char *data, struct error *e) {
    int n = trainer_items(t);
    struct st_entry *entry = xcalloc((size_t)n + 1, sizeof *entry);
    for (int i = 0; i < n; i++) {
        struct trainer_item item = trainer_item(t, i);
        entry[i] = (struct st_entry){.name = item.name, .dtype = item.dtype, .ndim = item.ndim};
        memcpy(entry[i].dim, item.dim, sizeof item.dim);
        void *room = xmalloc((size_t)(item_count(item.ndim, item.dim) * dtype_size(item.dtype)));
        trainer_item_get(t, i, room);
        entry[i].data = room;
    }
    entry[n] = (struct st_entry){.name = SAMPLER, .dtype = DT_I64, .ndim = 1, .dim = {1}, .data = &sampler_position};

    char *config = sg2_config_json(&tc->net), *trainer = trainer_config_json(tc);
    char images[24];
    snprintf(images, sizeof images, "%" PRId64, trainer_images(t));
    struct st_meta meta[] = {{"format", "facemill-checkpoint"}, {"version", "1"},      {"program", cli_version()},
                             {"config", config},                {"trainer", trainer}, {"images", images},
                             {"data", data ? data : "{}"}};
    enum status st = safetensors_write(path, entry, n + 1, meta, sizeof meta / sizeof *meta, e);
    for (int i = 0; i < n; i++)
        free((void *)entry[i].data);
    free(entry);
    free(config);
    free(trainer);
    return st;
}

enum status checkpoint_write_network(const char *path, const struct sg2_net *g, int64_t images, const char *data,
                                     struct error *e) {
    struct st_entry *entry = xcalloc((size_t)g->n_tensors, sizeof *entry);
    char(*name)[NAME_ROOM] = xcalloc((size_t)g->n_tensors, NAME_ROOM);
    for (int i = 0; i < g->n_tensors; i++) {
        const struct sg2_tensor *t = &g->tensors[i];
        snprintf(name[i], NAME_ROOM, "G_ema.%s", t->name);
        entry[i] = (struct st_entry){.name = name[i], .dtype = DT_F32, .ndim = t->ndim};
        memcpy(entry[i].dim, t->dim, sizeof t->dim);
        float *room = xmalloc((size_t)item_count(t->ndim, t->dim) * sizeof *room);
        sg2_tensor_get(t, t->trained ? g->params : g->state, room);
        entry[i].data = room;
    }
    char *config = sg2_config_json(&g->config), shown[24];
    snprintf(shown, sizeof shown, "%" PRId64, images);
    struct st_meta meta[] = {{"format", "facemill-network"}, {"version", "1"},  {"program", cli_version()},
                             {"config", config},             {"images", shown}, {"data", data ? data : "{}"}};
    enum status st = safetensors_write(path, entry, g->n_tensors, meta, sizeof meta / sizeof *meta, e);
    for (int i = 0; i < g->n_tensors; i++)
        free((void *)entry[i].data);
    free(entry);
    free(name);
    free(config);
    return st;
}

/* ---- what network is in a file, from its shapes ---- */

static const struct st_tensor *find(const struct checkpoint *c, const char *prefix, const char *name) {
    char full[NAME_ROOM];
    if (snprintf(full, sizeof full, "%s%s", prefix, name) >= (int)sizeof full)
        return NULL;
    return tensor_file_find(c->file, full);
}

static const struct st_tensor *find_at(const struct checkpoint *c, const char *format, int number) {
    char name[64];
    snprintf(name, sizeof name, format, number);
    return find(c, c->prefix, name);
}

/* The tensor with that many dimensions, each 1 .. 65536, or NULL. */
static const struct st_tensor *shaped(const struct st_tensor *t, int ndim) {
    if (!t || t->ndim != ndim)
        return NULL;
    for (int i = 0; i < ndim; i++)
        if (t->dim[i] < 1 || t->dim[i] > 65536)
            return NULL;
    return t;
}

/* channel_max and the smallest channel_base for which min(base / r, max) can give channels[k] at r = 4 << k. */
static void derive_channels(struct sg2_config *c, const int64_t *channels, int levels) {
    int64_t base = 0;
    for (int k = 0; k < levels; k++)
        if (channels[k] << (k + 2) > base)
            base = channels[k] << (k + 2);
    c->channel_max = (int)channels[0];
    c->channel_base = (int)base;
}

static enum status derive(struct checkpoint *c, struct error *e) {
    struct sg2_config *k = &c->config;
    *k = (struct sg2_config){.d_map_layers = 8, .mbstd_group = 4, .mbstd_channels = 1, .conv_clamp = 256};
    int64_t channels[9];
    int levels = 0;
    for (int r = 4; r <= 1024; r *= 2, levels++) {
        const struct st_tensor *t = shaped(find_at(c, "synthesis.b%d.conv1.weight", r), 4);
        if (!t)
            break;
        channels[levels] = t->dim[0];
        k->res = r;
    }
    const struct st_tensor *rgb = shaped(find_at(c, "synthesis.b%d.torgb.weight", k->res), 4);
    const struct st_tensor *affine = shaped(find_at(c, "synthesis.b%d.conv1.affine.weight", 4), 2);
    const struct st_tensor *fc0 = shaped(find_at(c, "mapping.fc%d.weight", 0), 2);
    if (!levels || !rgb || !affine || !fc0)
        return st_bad(e, "no generator of StyleGAN2's skip architecture: %s%s is missing or has a wrong shape", c->prefix,
                      !levels ? "synthesis.b4.conv1.weight"
                      : !rgb  ? "synthesis.b<res>.torgb.weight"
                      : !fc0  ? "mapping.fc0.weight"
                              : "synthesis.b4.conv1.affine.weight");
    derive_channels(k, channels, levels);
    k->img_channels = (int)rgb->dim[0];
    k->w_dim = (int)affine->dim[1];
    const struct st_tensor *embed = find(c, c->prefix, "mapping.embed.weight");
    if (embed && !shaped(embed, 2))
        return st_bad(e, "%smapping.embed.weight is no matrix", c->prefix);
    k->c_dim = embed ? (int)embed->dim[1] : 0;
    k->z_dim = (int)(fc0->dim[1] - (embed ? k->w_dim : 0));
    while (k->map_layers < 64 && find_at(c, "mapping.fc%d.weight", k->map_layers))
        k->map_layers++;
    const struct st_tensor *group = shaped(tensor_file_find(c->file, "D.b4.conv.weight"), 4);
    if (group && group->dim[1] >= channels[0] && group->dim[1] - channels[0] <= 16)
        k->mbstd_channels = (int)(group->dim[1] - channels[0]);

    const char *text = tensor_file_metadata(c->file, "config");
    if (text) { /* take what shapes cannot tell; refuse what contradicts them */
        struct sg2_config told = *k;
        enum status st = sg2_config_parse(&told, text, e);
        if (st != ST_OK)
            return st_prefix(ST_BAD, e, "configuration in its metadata");
        bool same = told.res == k->res && told.img_channels == k->img_channels && told.z_dim == k->z_dim &&
                    told.w_dim == k->w_dim && told.c_dim == k->c_dim && told.map_layers == k->map_layers;
        if (!same)
            return st_bad(e, "its configuration says %dx%d with %d channels, z %d, w %d, %d classes, %d mapping layers; its "
                          "tensors say %dx%d, %d, z %d, w %d, %d, %d", told.res, told.res, told.img_channels, told.z_dim,
                          told.w_dim, told.c_dim, told.map_layers, k->res, k->res, k->img_channels, k->z_dim, k->w_dim,
                          k->c_dim, k->map_layers);
        *k = told;
    }
    struct tensor_hints hints = tensor_file_hints(c->file);
    if (!text && hints.known) {
        k->conv_clamp = hints.conv_clamp;
        k->mbstd_group = hints.mbstd_group;
    }
    enum status st = sg2_config_check(k, e);
    if (st != ST_OK)
        return ST_BAD;
    for (int i = 0; i < levels; i++)
        if (channels[i] != sg2_channels(k, 4 << i))
            return st_bad(e, "%ssynthesis.b%d.conv1.weight has %lld output channels, expected %d", c->prefix, 4 << i,
                          (long long)channels[i], sg2_channels(k, 4 << i));
    return ST_OK;
}

static enum status recognise(struct checkpoint *c, struct error *e) {
    static const char *const prefixes[] = {"G_ema.", "G.", ""};
    for (int i = 0; i < 3; i++)
        if (find(c, prefixes[i], "synthesis.b4.const")) {
            c->prefix = prefixes[i];
            enum status st = derive(c, e);
            return st == ST_OK ? st : st_prefix(st, e, "%s", c->path);
        }
    if (tensor_file_find(c->file, "G_ema.synthesis.input.freqs"))
        return st_bad(e, "%s: a generator of StyleGAN3's alias-free architecture, which is not StyleGAN2's", c->path);
    return st_bad(e, "%s: holds no generator: there is no tensor G_ema.synthesis.b4.const (nor G.synthesis..., nor synthesis...)",
                  c->path);
}

static enum status finish_open(struct checkpoint **out, struct tensor_file *file, const char *path, struct error *e) {
    struct checkpoint *c = xcalloc(1, sizeof *c);
    c->file = file;
    c->path = xstrdup(path);
    enum status st = recognise(c, e);
    if (st == ST_OK)
        *out = c;
    else
        checkpoint_close(c);
    return st;
}

enum status checkpoint_open(struct checkpoint **c, const char *path, struct error *e) {
    *c = NULL;
    struct tensor_file *file;
    enum status st = tensor_file_open(&file, path, e);
    return st == ST_OK ? finish_open(c, file, path, e) : st;
}

enum status checkpoint_parse(struct checkpoint **c, const void *bytes, uint64_t size, const char *name, struct error *e) {
    *c = NULL;
    struct tensor_file *file;
    enum status st = tensor_file_parse(&file, bytes, size, name, e);
    return st == ST_OK ? finish_open(c, file, name, e) : st;
}

void checkpoint_close(struct checkpoint *c) {
    if (!c)
        return;
    tensor_file_close(c->file);
    free(c->path);
    free(c);
}

const struct sg2_config *checkpoint_config(const struct checkpoint *c) { return &c->config; }

bool checkpoint_is_full(const struct checkpoint *c) { return tensor_file_find(c->file, SAMPLER) != NULL; }

const char *checkpoint_metadata(const struct checkpoint *c, const char *key) { return tensor_file_metadata(c->file, key); }

int64_t checkpoint_images(const struct checkpoint *c) {
    long images;
    const char *text = tensor_file_metadata(c->file, "images");
    return text && cli_parse_int(text, 0, INT64_MAX, &images) ? images : -1;
}

/* ---- tensors into networks ---- */

static void shape_text(char *out, size_t room, int ndim, const int64_t *dim) {
    size_t at = (size_t)snprintf(out, room, "[");
    for (int i = 0; i < ndim && at < room; i++)
        at += (size_t)snprintf(out + at, room - at, "%s%lld", i ? "," : "", (long long)dim[i]);
    if (at < room)
        snprintf(out + at, room - at, "]");
}

/* A file may write one number as [1] or []. */
static bool same_shape(const struct st_tensor *have, int ndim, const int64_t *dim) {
    if (have->ndim == 0 && ndim == 1)
        return dim[0] == 1;
    return have->ndim == ndim && !memcmp(have->dim, dim, (size_t)ndim * sizeof *dim);
}

/* Copies one tensor of the file into the network; detail says why not. */
static enum transfer load_tensor(const struct st_tensor *have, const struct sg2_net *net, const struct sg2_tensor *want,
                                 char *detail, size_t room) {
    *detail = 0;
    if (!have)
        return TRANSFER_MISSING;
    if (!same_shape(have, want->ndim, want->dim)) {
        char a[96], b[96];
        shape_text(a, sizeof a, have->ndim, have->dim);
        shape_text(b, sizeof b, want->ndim, want->dim);
        snprintf(detail, room, "file %s, network %s", a, b);
        return TRANSFER_SHAPE;
    }
    float *values = xmalloc((size_t)have->count * sizeof *values);
    st_to_f32(have, values);
    sg2_tensor_set(want, want->trained ? net->params : net->state, values);
    free(values);
    return TRANSFER_COPIED;
}

/* The filter is the same in every StyleGAN2 network, [1,3,3,1] in both directions, so other programs leave it out. */
static bool fill_absent(const struct sg2_net *net, const struct sg2_tensor *want) {
    const char *last = strrchr(want->name, '.');
    static const float tap[4] = {1 / 8.0f, 3 / 8.0f, 3 / 8.0f, 1 / 8.0f};
    float filter[16];
    if (!last || strcmp(last, ".resample_filter") || want->trained)
        return false;
    for (int i = 0; i < 16; i++)
        filter[i] = tap[i / 4] * tap[i % 4];
    sg2_tensor_set(want, net->state, filter);
    return true;
}

/* A generator on the CPU with the mapping network of `net`. */
static struct sg2_net *mapping_on_cpu(const struct sg2_net *net, struct device *cpu) {
    struct sg2_net *copy = sg2_net_create(cpu, SG2_G, &net->config);
    for (int i = 0; i < net->n_tensors; i++) {
        const struct sg2_tensor *t = &net->tensors[i];
        if (!t->trained || strncmp(t->name, "mapping.", 8))
            continue;
        float *x = xmalloc((size_t)item_count(t->ndim, t->dim) * sizeof *x);
        sg2_tensor_get(t, net->params, x);
        sg2_tensor_set(t, copy->params, x);
        free(x);
    }
    return copy;
}

/* The mean of w where a file has none: over latents that are the same everywhere and computed on the CPU, so that a truncated picture
 * depends neither on the run nor on the device. */
static enum status fill_w_avg(const struct sg2_net *net, const struct sg2_tensor *want, struct error *e) {
    struct device *cpu;
    struct program *p = NULL;
    enum status st = device_open(&cpu, "cpu", 0, e);
    if (st != ST_OK)
        return st;
    int64_t z_dim = net->config.z_dim, w_dim = net->config.w_dim;
    struct sg2_net *copy = mapping_on_cpu(net, cpu);
    struct buffer *z = buffer_create(cpu, MEAN_BATCH * z_dim * 4, "z"), *w = buffer_create(cpu, MEAN_BATCH * w_dim * 4, "w");
    struct graph *g = graph_create("mean of w");
    struct sg2_vars *v = sg2_vars_create(g, copy, true);
    tensor *mapped = sg2_mapping(v, graph_input(g, z, 0, DT_F32, "z", 2, MEAN_BATCH, (int)z_dim), NULL);
    assign(g, graph_input(g, w, 0, DT_F32, "w", 2, MEAN_BATCH, (int)w_dim), mapped);
    st = program_create(&p, g, cpu, e);
    sg2_vars_free(v);
    graph_free(g);
    if (st == ST_OK) {
        float *row = xmalloc((size_t)(MEAN_BATCH * (z_dim > w_dim ? z_dim : w_dim)) * sizeof *row);
        double *sum = xcalloc((size_t)w_dim, sizeof *sum);
        for (int b = 0; b < MEAN_BATCHES; b++) {
            philox_fill_normal(0, (uint64_t)b, USE_MEAN, row, MEAN_BATCH * z_dim);
            buffer_write(z, 0, row, MEAN_BATCH * z_dim * 4);
            program_run(p);
            buffer_read(w, 0, row, MEAN_BATCH * w_dim * 4);
            for (int64_t i = 0; i < MEAN_BATCH * w_dim; i++)
                sum[i % w_dim] += row[i];
        }
        for (int64_t i = 0; i < w_dim; i++)
            row[i] = (float)(sum[i] / (MEAN_BATCH * MEAN_BATCHES));
        sg2_tensor_set(want, net->state, row);
        free(row);
        free(sum);
    }
    program_free(p);
    buffer_free(z);
    buffer_free(w);
    sg2_net_free(copy);
    device_close(cpu);
    return st;
}

/* Noise inputs, which early files in rosinality's layout lack: their programs draw them at random, this one always the same. */
static bool fill_noise(const struct sg2_net *net, const struct sg2_tensor *want) {
    const char *last = strrchr(want->name, '.');
    if (!last || strcmp(last, ".noise_const"))
        return false;
    int64_t n = want->dim[0] * want->dim[1];
    float *x = xmalloc((size_t)n * sizeof *x);
    philox_fill_normal(0, (uint64_t)want->offset, USE_NOISE, x, n);
    sg2_tensor_set(want, net->state, x);
    free(x);
    return true;
}

static enum status load_network(const struct checkpoint *c, struct device *dev, enum sg2_kind kind, const char *prefix, struct sg2_net **out,
                                struct error *e) {
    *out = NULL;
    struct sg2_net *net = sg2_net_create(dev, kind, &c->config);
    const struct sg2_tensor *mean = NULL;
    for (int i = 0; i < net->n_tensors; i++) {
        char detail[256];
        const struct sg2_tensor *want = &net->tensors[i];
        enum transfer what = load_tensor(find(c, prefix, want->name), net, want, detail, sizeof detail);
        if (what == TRANSFER_COPIED || (what == TRANSFER_MISSING && fill_absent(net, want)))
            continue;
        if (what == TRANSFER_MISSING && tensor_file_layout(c->file) == TENSORS_ROSINALITY) {
            if (!strcmp(want->name, "mapping.w_avg"))
                mean = want;
            if (mean == want || fill_noise(net, want))
                continue;
        }
        enum status st = st_bad(e, "%s: tensor %s%s %s%s", c->path, prefix, want->name,
                                what == TRANSFER_MISSING ? "is missing" : "has a wrong shape: ", detail);
        sg2_net_free(net);
        return st;
    }
    enum status st = mean ? fill_w_avg(net, mean, e) : ST_OK;
    if (st != ST_OK) {
        sg2_net_free(net);
        return st;
    }
    *out = net;
    return ST_OK;
}

enum status checkpoint_generator(const struct checkpoint *c, struct device *d, struct sg2_net **g, struct error *e) {
    return load_network(c, d, SG2_G, c->prefix, g, e);
}

enum status checkpoint_discriminator(const struct checkpoint *c, struct device *dev, struct sg2_net **d, struct error *e) {
    *d = NULL;
    if (!find(c, "D.", "b4.out.weight"))
        return ST_END;
    return load_network(c, dev, SG2_D, "D.", d, e);
}

const struct tensor_file *checkpoint_tensors(const struct checkpoint *c) { return c->file; }

const char *checkpoint_prefix(const struct checkpoint *c) { return c->prefix; }

enum status checkpoint_restore(const struct checkpoint *c, struct trainer *t, int64_t *sampler_position, struct error *e) {
    const struct st_tensor *s = tensor_file_find(c->file, SAMPLER);
    if (!s || s->dtype != DT_I64 || s->count != 1)
        return st_bad(e, "%s: is no training checkpoint: tensor " SAMPLER " is missing", c->path);
    memcpy(sampler_position, s->data, sizeof *sampler_position);
    if (*sampler_position < 0)
        return st_bad(e, "%s: " SAMPLER " is negative", c->path);
    int n = trainer_items(t);
    for (int i = 0; i < n; i++) { /* all checks before the first change */
        struct trainer_item item = trainer_item(t, i);
        const struct st_tensor *have = tensor_file_find(c->file, item.name);
        if (!have)
            return st_bad(e, "%s: tensor %s is missing", c->path, item.name);
        if (have->dtype != item.dtype || !same_shape(have, item.ndim, item.dim)) {
            char a[96], b[96];
            shape_text(a, sizeof a, have->ndim, have->dim);
            shape_text(b, sizeof b, item.ndim, item.dim);
            return st_bad(e, "%s: tensor %s is %s %s, expected %s %s", c->path, item.name, dtype_name(have->dtype), a,
                          dtype_name(item.dtype), b);
        }
    }
    for (int i = 0; i < n; i++) {
        struct trainer_item item = trainer_item(t, i);
        const struct st_tensor *have = tensor_file_find(c->file, item.name);
        size_t bytes = (size_t)(have->count * dtype_size(have->dtype));
        void *aligned = xmalloc(bytes);
        memcpy(aligned, have->data, bytes);
        trainer_item_set(t, i, aligned);
        free(aligned);
    }
    return ST_OK;
}

void checkpoint_transfer(const struct checkpoint *c, struct trainer *t, transfer_report *report, void *context) {
    const struct {
        struct sg2_net *net;
        const char *name, *first, *second;
    } part[] = {{trainer_g(t), "G.", "G.", c->prefix},
                {trainer_d(t), "D.", "D.", "D."},
                {trainer_g_ema(t), "G_ema.", c->prefix, c->prefix}};
    for (int p = 0; p < 3; p++) {
        const struct sg2_net *net = part[p].net;
        for (int i = 0; i < net->n_tensors; i++) {
            const struct sg2_tensor *want = &net->tensors[i];
            const struct st_tensor *have = find(c, part[p].first, want->name);
            if (!have)
                have = find(c, part[p].second, want->name);
            char name[NAME_ROOM], detail[256];
            snprintf(name, sizeof name, "%s%s", part[p].name, want->name);
            enum transfer what = load_tensor(have, net, want, detail, sizeof detail);
            report(context, name, what, detail);
        }
    }
}
