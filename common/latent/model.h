/* model.h - a network as latents see it: its sizes, the mean of its w, and its mapping from z to w and w+. No pictures are made; it
 * computes on the CPU.
 *
 *     struct latent_model m;
 *     latent_model_open(&m, "faces.safetensors", 0, &e);
 *     latent_model_map(&m, &(struct latent_mapping){.psi = 0.7, .cutoff = -1, .plus = true}, &e);
 *     struct latent_filter f = latent_map_filter(&m);         // or latent_map_rows, latent_map_moments
 *     latent_filter("-", stdout, &f, &e);
 *     latent_model_close(&m);
 */
#ifndef FACEMILL_LATENT_MODEL_H
#define FACEMILL_LATENT_MODEL_H

#include <stdbool.h>

#include "common/latent/direction.h"
#include "common/latent/stream.h"
#include "common/stylegan2/generator.h"

struct latent_mapping {
    double psi;     /* truncation towards the mean; 1 = none */
    int cutoff;     /* layers that are truncated; -1 = all */
    int class;      /* one of the network's (sg2_config_class), for conditional networks only */
    bool plus;      /* make w+ [num_ws,w_dim], else w [w_dim]: layer 0 */
};

struct latent_model {
    struct sg2_config config;
    struct device *device;
    struct sg2_net *net;
    float *mean; /* [w_dim] */
    /* private: set by latent_model_map */
    struct sg2_generator *generator;
    struct latent_mapping mapping;
    int *labels; /* [LATENT_MAP_BATCH], NULL for unconditional networks */
    float *ws;   /* [LATENT_MAP_BATCH,num_ws,w_dim], room where w is made */
};

/* The sizes alone, without reading weights. */
struct latent_sizes {
    int z_dim, num_ws;
};
enum status latent_model_sizes(const char *path, struct latent_sizes *s, struct error *e);
/* path: what checkpoint_open takes. threads: as in device_open. On failure there is nothing to close. */
enum status latent_model_open(struct latent_model *m, const char *path, int threads, struct error *e);
void latent_model_close(struct latent_model *m); /* {0} is fine */

/* Makes ready to map, once for a model; ST_BAD when psi is out of range. The three below need it. */
enum status latent_model_map(struct latent_model *m, const struct latent_mapping *how, struct error *e);
#define LATENT_MAP_BATCH 32
void latent_map_rows(struct latent_model *m, const float *z, int64_t n, float *out); /* n <= LATENT_MAP_BATCH */
struct latent_filter latent_map_filter(struct latent_model *m); /* z -> w or w+, row for row; m must live as long as it runs */
/* Second moments of the w (not w+) of seeds, seeds.h; the caller frees *sum. */
void latent_map_moments(struct latent_model *m, const uint64_t *seeds, int64_t n, bool philox, struct latent_moments *sum);

#endif
