/* feed.c - see feed.h. */
#include "common/run/feed.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

struct feed {
    struct store *store;
    int size;
    struct trainer *trainer;
    const struct trainer_config *config;
    int64_t picture; /* bytes of one */
    bool held;
    struct loader *loader;
};

/* ---- the store as training material ---- */

enum status feed_choose_size(const struct store *s, int height, int *size, struct error *e) {
    const struct store_meta *m = store_get_meta(s);
    int i = 0;
    if (m->length < 1)
        return st_fail(e, "the store is empty");
    while (height && i < m->n_sizes && m->height[i] != height)
        i++;
    if (i == m->n_sizes)
        return st_fail(e, "holds no pictures of size %d (the largest is %d)", height, m->height[0]);
    int h = m->height[i], w = m->width[i];
    if (h != w || h < 8 || h > 1024 || (h & (h - 1)))
        return st_fail(e, "pictures are %dx%d; training needs squares of 8, 16, 32 ... 1024 pixels (pack-lmdb --size)", w, h);
    *size = i;
    return ST_OK;
}

enum status feed_count_labels(struct store *s, struct trainer *t, const struct trainer_config *c, struct error *e) {
    int64_t *counts = xcalloc((size_t)c->net.c_dim, sizeof *counts);
    enum status st = loader_count_labels(s, counts, e);
    if (st == ST_OK)
        trainer_set_label_counts(t, counts);
    free(counts);
    return st;
}

/* ---- pictures ---- */

struct feed *feed_create(struct store *s, int size, struct trainer *t, const struct trainer_config *c) {
    struct feed *f = xcalloc(1, sizeof *f);
    f->store = s;
    f->size = size;
    f->trainer = t;
    f->config = c;
    f->picture = (int64_t)c->net.res * c->net.res * c->net.img_channels;
    return f;
}

void feed_close(struct feed *f) {
    if (!f)
        return;
    loader_close(f->loader);
    free(f);
}

int64_t feed_pictures(const struct feed *f) { return store_get_meta(f->store)->length; }

int64_t feed_bytes(const struct feed *f) { return feed_pictures(f) * f->picture; }

bool feed_fits(const struct feed *f, const struct device *d) {
    return !strcmp(device_name(d), "cuda") && feed_bytes(f) <= device_available_bytes(d) / 2;
}

enum status feed_hold(struct feed *f, struct error *e) {
    enum status st = trainer_hold(f->trainer, feed_pictures(f), e);
    f->held = st == ST_OK;
    return st;
}

enum status feed_open(struct feed *f, int64_t position, int threads, struct error *e) {
    const struct loader_options o = {.size = f->size, .batch = f->config->batch, .seed = f->config->seed, .position = position,
                                     .labels = f->config->net.c_dim > 0, .threads = threads, .held = f->held, .cache = -1};
    return loader_open(&f->loader, f->store, &o, e);
}

enum status feed_step(struct feed *f, struct error *e) {
    const uint8_t *pixels;
    const int *labels;
    const int64_t *numbers;
    const bool *fresh;
    enum status st = loader_next(f->loader, &pixels, &labels, e);
    if (st != ST_OK)
        return st;
    if (!f->held) {
        trainer_step(f->trainer, pixels, labels, NULL);
        return ST_OK;
    }
    loader_numbers(f->loader, &numbers, &fresh);
    for (int i = 0; i < f->config->batch; i++)
        if (fresh[i])
            trainer_hold_picture(f->trainer, numbers[i], pixels + i * f->picture);
    trainer_step_held(f->trainer, numbers, labels, NULL);
    return ST_OK;
}

int64_t feed_position(const struct feed *f) { return loader_position(f->loader); }
