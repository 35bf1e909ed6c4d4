/* grid.c - see grid.h. */
#include "common/run/grid.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/rng/numpy_rng.h"
#include "common/store/loader.h"
#include "common/stylegan2/generator.h"

#define GRID_EPOCH UINT64_MAX /* the permutation that picks the reals: none that training uses */

struct grid {
    struct store *store;
    struct sg2_net *net;
    struct sg2_generator *generator;
    int size, columns, rows;
    int64_t *index; /* [tiles] samples of the store */
    int *labels;    /* [tiles], or NULL */
    float *z;       /* [tiles,z_dim] */
};

static int between(int v, int low, int high) { return v < low ? low : v > high ? high : v; }

void grid_default_size(int res, int *columns, int *rows) {
    *columns = between(1920 / res, 4, 15);
    *rows = between(1080 / res, 3, 8);
}

/* Tiles in shuffled order; with classes, row r takes pictures of class r mod K as far as there are any. */
static enum status choose_reals(struct grid *g, uint64_t seed, struct error *e) {
    int64_t n = store_get_meta(g->store)->length, tiles = (int64_t)g->columns * g->rows;
    uint32_t *order = xmalloc((size_t)n * sizeof *order);
    loader_permutation(seed, GRID_EPOCH, order, n);
    g->index = xmalloc((size_t)tiles * sizeof *g->index);
    enum status st = ST_OK;
    if (g->net->config.c_dim == 0) {
        for (int64_t i = 0; i < tiles; i++)
            g->index[i] = order[i % n];
        goto done;
    }
    g->labels = xmalloc((size_t)tiles * sizeof *g->labels);
    int *label = xmalloc((size_t)n * sizeof *label);
    for (int64_t i = 0; i < n && st == ST_OK; i++)
        if ((st = store_label(g->store, i, &label[i], e)) != ST_OK)
            st_prefix(st, e, "sample %lld", (long long)i);
    for (int r = 0; r < g->rows && st == ST_OK; r++) {
        int class = r % g->net->config.c_dim, found = 0;
        int64_t skip = (int64_t)(r / g->net->config.c_dim) * g->columns; /* further rows of a class show further pictures */
        int64_t *row = g->index + (int64_t)r * g->columns;
        for (int pass = 0; pass < 2 && found < g->columns; pass++, skip = 0)
            for (int64_t i = 0; i < n && found < g->columns; i++)
                if (label[order[i]] == class && skip-- <= 0)
                    row[found++] = order[i];
        for (int have = found, i = found; i < g->columns; i++)
            row[i] = have ? row[i % have] : order[i % n];
        for (int i = 0; i < g->columns; i++)
            g->labels[r * g->columns + i] = class;
    }
    free(label);
done:
    free(order);
    return st;
}

enum status grid_create(struct grid **out, struct device *d, struct sg2_net *g_ema, struct store *s, int size, int columns, int rows,
                        uint64_t seed, int batch, struct error *e) {
    *out = NULL;
    struct grid *g = xcalloc(1, sizeof *g);
    g->store = s;
    g->net = g_ema;
    g->size = size, g->columns = columns, g->rows = rows;
    int tiles = columns * rows;
    enum status st = choose_reals(g, seed, e);
    g->z = xmalloc((size_t)tiles * (size_t)g_ema->config.z_dim * sizeof *g->z);
    for (int i = 0; i < tiles; i++)
        numpy_randn((uint32_t)i, g->z + (int64_t)i * g_ema->config.z_dim, g_ema->config.z_dim);
    struct sg2_generator_opt o = {.batch = batch < tiles ? batch : tiles, .noise = SG2_NOISE_CONST, .psi = 1, .cutoff = -1};
    if (st == ST_OK)
        st = sg2_generator_create(&g->generator, d, g_ema, &o, e);
    if (st == ST_OK)
        *out = g;
    else
        grid_free(g);
    return st;
}

void grid_free(struct grid *g) {
    if (!g)
        return;
    sg2_generator_free(g->generator);
    free(g->index);
    free(g->labels);
    free(g->z);
    free(g);
}

static enum status write_tiles(const struct grid *g, const struct image *tiles, const char *path, struct error *e) {
    struct image whole = {0};
    struct bytes png = {0};
    image_grid(tiles, g->columns * g->rows, g->columns, &whole);
    enum status st = image_encode(&whole, IMAGE_PNG, 0, &png, e);
    if (st == ST_OK)
        st = file_write_atomic(path, png.data, png.size, e);
    image_free(&whole);
    bytes_free(&png);
    return st;
}

enum status grid_write_reals(struct grid *g, const char *path, struct error *e) {
    int n = g->columns * g->rows;
    struct image *tile = xcalloc((size_t)n, sizeof *tile);
    enum status st = ST_OK;
    for (int i = 0; i < n && st == ST_OK; i++)
        if ((st = store_decode(g->store, g->size, g->index[i], &tile[i], e)) != ST_OK)
            st_prefix(st, e, "sample %lld", (long long)g->index[i]);
    if (st == ST_OK)
        st = write_tiles(g, tile, path, e);
    for (int i = 0; i < n; i++)
        image_free(&tile[i]);
    free(tile);
    return st;
}

enum status grid_write_fakes(struct grid *g, const char *path, struct error *e) {
    const struct sg2_config *c = &g->net->config;
    int n = g->columns * g->rows;
    size_t picture = (size_t)c->res * (size_t)c->res * (size_t)c->img_channels;
    uint8_t *pixels = xmalloc((size_t)n * picture);
    struct image *tile = xcalloc((size_t)n, sizeof *tile);
    sg2_generator_refresh(g->generator);
    sg2_generate(g->generator, &(struct sg2_latents){.n = n, .z = g->z, .labels = g->labels}, pixels);
    for (int i = 0; i < n; i++)
        tile[i] = (struct image){c->res, c->res, c->img_channels, pixels + (size_t)i * picture}; /* borrowed */
    enum status st = write_tiles(g, tile, path, e);
    free(tile);
    free(pixels);
    return st;
}
