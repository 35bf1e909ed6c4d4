/* noise_maps.c - see noise_maps.h. */
#include "common/projection/noise_maps.h"

#include <stdlib.h>

#include "common/base/mem.h"
#include "common/cli/cli.h"
#include "common/store/safetensors.h"

#define MAX_LAYERS 32

struct noise_maps {
    int layers;
    int64_t pictures;
    float *map[MAX_LAYERS]; /* [pictures,r,r] */
};

struct noise_maps *noise_maps_create(const struct sg2_config *config) {
    struct noise_maps *m = xcalloc(1, sizeof *m);
    m->layers = sg2_noise_layers(config);
    return m;
}

void noise_maps_free(struct noise_maps *m) {
    if (!m)
        return;
    for (int i = 0; i < m->layers; i++)
        free(m->map[i]);
    free(m);
}

void noise_maps_add(struct noise_maps *m, struct projector *p, int n) {
    for (int i = 0; i < m->layers; i++) {
        int64_t size = (int64_t)sg2_noise_res(i) * sg2_noise_res(i);
        m->map[i] = xrealloc(m->map[i], (size_t)((m->pictures + n) * size) * sizeof(float));
        projector_noise(p, i, m->map[i] + m->pictures * size);
    }
    m->pictures += n;
}

enum status noise_maps_write(const struct noise_maps *m, const char *path, const char *network, struct error *e) {
    struct st_entry entry[MAX_LAYERS];
    char name[MAX_LAYERS][64];
    int several = m->pictures > 1;
    if (!m->pictures)
        return ST_OK;
    for (int i = 0; i < m->layers; i++) {
        sg2_noise_name(i, name[i]);
        entry[i] = (struct st_entry){.name = name[i], .dtype = DT_F32, .ndim = 2 + several, .data = m->map[i]};
        entry[i].dim[0] = m->pictures;
        entry[i].dim[several] = entry[i].dim[several + 1] = sg2_noise_res(i);
    }
    const struct st_meta meta[] = {{"format", "facemill-noise"}, {"program", cli_version()}, {"network", network}};
    return safetensors_write(path, entry, m->layers, meta, 3, e);
}
