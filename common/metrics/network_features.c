/* network_features.c - see network_features.h. */
#include "common/metrics/network_features.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/store/checkpoint.h"
#include "common/stylegan2/network.h"

struct network_features {
    int batch, dim, channels, staged, count;
    char hash[SHA256_HEX];
    struct prepare prepare;
    struct sg2_net *net;
    struct buffer *input, *output;
    struct program *program;
    float *host; /* [batch, res, res, 3], then in `channels` */
};

static enum status plan(struct network_features *f, struct device *d, bool half, struct error *e) {
    int res = f->prepare.side;
    struct graph *g = graph_create("discriminator features");
    struct sg2_vars *v = sg2_vars_create(g, f->net, true);
    tensor *x = graph_input(g, f->input, 0, DT_F32, "pictures", 4, f->batch, res, res, f->channels);
    assign(g, graph_input(g, f->output, 0, DT_F32, "features", 2, f->batch, f->dim), sg2_discriminator_hidden(v, x, half));
    enum status st = program_create(&f->program, g, d, e);
    sg2_vars_free(v);
    graph_free(g);
    return st;
}

enum status network_features_open(struct network_features **out, const char *path, struct device *d, int batch, enum resize_rule rule,
                                  bool half, struct error *e) {
    struct network_features *f = xcalloc(1, sizeof *f);
    struct checkpoint *c = NULL;
    f->batch = batch;
    *out = NULL;
    enum status st = sha256_file(path, f->hash, e);
    if (st == ST_OK)
        st = checkpoint_open(&c, path, e);
    if (st == ST_OK)
        st = checkpoint_discriminator(c, d, &f->net, e);
    if (st == ST_END)
        st = st_bad(e, "%s: holds no discriminator (D.b4.out.weight): a checkpoint or a snapshot made with --snap-full has one", path);
    if (st == ST_OK && checkpoint_config(c)->img_channels == 4)
        st = st_bad(e, "%s: its pictures have an alpha channel, those to be scored have not", path);
    if (st == ST_OK) {
        const struct sg2_config *k = checkpoint_config(c);
        size_t pixels = (size_t)batch * k->res * k->res;
        f->prepare = (struct prepare){.rule = rule, .side = k->res, .scale = 1 / 127.5f, .offset = -1};
        f->channels = k->img_channels;
        f->dim = sg2_channels(k, 4);
        f->host = xcalloc(pixels * 3, sizeof *f->host);
        f->input = buffer_create(d, (int64_t)pixels * f->channels * 4, "pictures");
        f->output = buffer_create(d, (int64_t)batch * f->dim * 4, "features");
        st = plan(f, d, half, e);
    }
    checkpoint_close(c);
    if (st != ST_OK) {
        network_features_close(f);
        return st;
    }
    *out = f;
    return ST_OK;
}

void network_features_close(struct network_features *f) {
    if (!f)
        return;
    program_free(f->program);
    buffer_free(f->input);
    buffer_free(f->output);
    sg2_net_free(f->net);
    free(f->host);
    free(f);
}

int network_features_dim(const struct network_features *f) {
    return f->dim;
}

const char *network_features_hash(const struct network_features *f) {
    return f->hash;
}

const struct prepare *network_features_prepare(const struct network_features *f) {
    return &f->prepare;
}

/* Grey networks see the luma of image_to_channels. */
static void to_channels(struct network_features *f) {
    int64_t n = (int64_t)f->staged * f->prepare.side * f->prepare.side;
    for (int64_t i = 0; f->channels == 1 && i < n; i++)
        f->host[i] = 0.299f * f->host[3 * i] + 0.587f * f->host[3 * i + 1] + 0.114f * f->host[3 * i + 2];
}

void network_features_stage(struct network_features *f, const struct image *pictures, int n) {
    size_t size = (size_t)f->prepare.side * f->prepare.side * 3;
    assert(n >= 1 && n <= f->batch);
    f->staged = n;
#pragma omp parallel for schedule(dynamic)
    for (int i = 0; i < n; i++)
        prepare_picture(&f->prepare, &pictures[i], f->host + i * size);
    to_channels(f);
}

void network_features_stage_float(struct network_features *f, const float *pictures, int n, int width, int height) {
    size_t size = (size_t)f->prepare.side * f->prepare.side * 3;
    assert(n >= 1 && n <= f->batch);
    f->staged = n;
#pragma omp parallel for schedule(dynamic)
    for (int i = 0; i < n; i++)
        prepare_float(&f->prepare, pictures + (size_t)i * width * height * 3, width, height, f->host + i * size);
    to_channels(f);
}

void network_features_start(struct network_features *f) {
    f->count = f->staged;
    buffer_write(f->input, 0, f->host, (int64_t)f->count * f->prepare.side * f->prepare.side * f->channels * 4);
    program_run(f->program);
}

void network_features_finish(struct network_features *f, float *out) {
    buffer_read(f->output, 0, out, (int64_t)f->count * f->dim * 4);
}
