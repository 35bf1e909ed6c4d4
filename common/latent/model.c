/* model.c - see model.h. */
#include "common/latent/model.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/latent/seeds.h"
#include "common/store/checkpoint.h"

enum status latent_model_sizes(const char *path, struct latent_sizes *s, struct error *e) {
    struct checkpoint *file;
    enum status st = checkpoint_open(&file, path, e);
    if (st)
        return st;
    const struct sg2_config *c = checkpoint_config(file);
    *s = (struct latent_sizes){c->z_dim, sg2_num_ws(c)};
    checkpoint_close(file);
    return ST_OK;
}

enum status latent_model_open(struct latent_model *m, const char *path, int threads, struct error *e) {
    struct checkpoint *file;
    *m = (struct latent_model){0};
    enum status st = checkpoint_open(&file, path, e);
    if (st)
        return st;
    m->config = *checkpoint_config(file);
    st = device_open(&m->device, "cpu", threads, e);
    if (!st)
        st = checkpoint_generator(file, m->device, &m->net, e);
    checkpoint_close(file);
    if (st) {
        latent_model_close(m);
        return st;
    }
    m->mean = xmalloc((size_t)m->config.w_dim * sizeof *m->mean);
    sg2_tensor_get(sg2_net_find(m->net, "mapping.w_avg"), m->net->state, m->mean);
    return ST_OK;
}

void latent_model_close(struct latent_model *m) {
    sg2_generator_free(m->generator);
    free(m->labels);
    free(m->ws);
    free(m->mean);
    sg2_net_free(m->net);
    if (m->device)
        device_close(m->device);
    *m = (struct latent_model){0};
}

/* ---- mapping ---- */

enum status latent_model_map(struct latent_model *m, const struct latent_mapping *how, struct error *e) {
    const struct sg2_config *c = &m->config;
    const struct sg2_generator_opt o = {.batch = LATENT_MAP_BATCH, .noise = SG2_NOISE_NONE, .psi = (float)how->psi, .cutoff = how->cutoff,
                                        .mapping_only = true};
    enum status st = sg2_generator_create(&m->generator, m->device, m->net, &o, e);
    if (st)
        return st;
    m->mapping = *how;
    if (!how->plus)
        m->ws = xmalloc(LATENT_MAP_BATCH * (size_t)sg2_num_ws(c) * (size_t)c->w_dim * sizeof *m->ws);
    if (c->c_dim > 0)
        m->labels = xmalloc(LATENT_MAP_BATCH * sizeof *m->labels);
    for (int i = 0; i < LATENT_MAP_BATCH && m->labels; i++)
        m->labels[i] = how->class;
    return ST_OK;
}

void latent_map_rows(struct latent_model *m, const float *z, int64_t n, float *out) {
    size_t w = (size_t)m->config.w_dim, layers = (size_t)sg2_num_ws(&m->config);
    bool plus = m->mapping.plus;
    sg2_generate_ws(m->generator, &(struct sg2_latents){.n = n, .z = z, .labels = m->labels}, plus ? out : m->ws);
    for (size_t i = 0; i < (size_t)n && !plus; i++)
        memcpy(out + i * w, m->ws + i * layers * w, w * sizeof *out);
}

static enum status filter_shape(void *context, struct latent_shape in, struct latent_shape *out, int64_t *factor, struct error *e) {
    const struct latent_model *m = context;
    char shape[32];
    (void)factor;
    if (in.layers || in.dim != m->config.z_dim)
        return st_bad(e, "an array of %s is no z of this network, which is [N,%d]", latent_text(in, shape), m->config.z_dim);
    *out = (struct latent_shape){m->mapping.plus ? sg2_num_ws(&m->config) : 0, m->config.w_dim};
    return ST_OK;
}

static void filter_rows(void *context, const float *in, int64_t n, float *out) { latent_map_rows(context, in, n, out); }

struct latent_filter latent_map_filter(struct latent_model *m) {
    return (struct latent_filter){filter_shape, filter_rows, m, LATENT_MAP_BATCH};
}

void latent_map_moments(struct latent_model *m, const uint64_t *seeds, int64_t n, bool philox, struct latent_moments *sum) {
    const struct sg2_config *c = &m->config;
    float *z = xmalloc(LATENT_MAP_BATCH * (size_t)c->z_dim * sizeof *z), *w = xmalloc(LATENT_MAP_BATCH * (size_t)c->w_dim * sizeof *w);
    latent_moments_start(sum, c->w_dim);
    for (int64_t at = 0, k; at < n; at += k) {
        k = n - at < LATENT_MAP_BATCH ? n - at : LATENT_MAP_BATCH;
        latent_of_seeds(seeds + at, k, philox, z, c->z_dim);
        latent_map_rows(m, z, k, w);
        latent_moments_add(sum, w, k);
    }
    free(z);
    free(w);
}
