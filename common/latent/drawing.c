/* drawing.c - see drawing.h. */
#include "common/latent/drawing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/base/target.h"
#include "common/stream/npy.h"

struct drawing {
    struct drawing_options o;
    size_t row, picture;     /* numbers of a w+, bytes of a picture */
    int *labels;             /* [batch] or NULL */
    float *ws;               /* [batch,num_ws,w_dim] */
    uint8_t *pixels, *drawn; /* [batch,res,res,C]: being drawn, and of the batch before */
    uint64_t *names;         /* [batch] of the batch before */
    FILE *save_w;
    char *temporary;         /* its name until it is whole */
};

enum status drawing_open(struct drawing **out, const struct drawing_options *o, struct error *e) {
    const struct sg2_config *c = o->config;
    size_t batch = (size_t)o->batch;
    *out = NULL;
    if (o->save_w && target_check(o->save_w, e) != ST_OK)
        return ST_FAIL;
    struct drawing *d = xcalloc(1, sizeof *d);
    d->o = *o;
    d->row = (size_t)sg2_num_ws(c) * (size_t)c->w_dim;
    d->picture = (size_t)(c->res * c->res * c->img_channels);
    if (o->save_w) {
        d->temporary = target_begin(o->save_w);
        if (!(d->save_w = fopen(d->temporary, "wb"))) {
            enum status st = st_fail(e, "%s: %s", o->save_w, strerror(errno));
            drawing_close(d, false, NULL);
            return st;
        }
    }
    d->labels = o->class_number >= 0 ? xmalloc(batch * sizeof *d->labels) : NULL;
    for (int i = 0; d->labels && i < o->batch; i++)
        d->labels[i] = o->class_number;
    d->ws = xmalloc(batch * d->row * sizeof *d->ws);
    d->pixels = xmalloc(batch * d->picture);
    d->drawn = xmalloc(batch * d->picture);
    d->names = xmalloc(batch * sizeof *d->names);
    *out = d;
    return ST_OK;
}

enum status drawing_close(struct drawing *d, bool keep, struct error *e) {
    enum status st = ST_OK;
    if (!d)
        return st;
    if (d->save_w && fclose(d->save_w) != 0 && keep)
        st = st_fail(e, "%s: %s", d->o.save_w, strerror(errno));
    if (!keep || st != ST_OK)
        target_drop(d->temporary);
    else if (d->temporary && !target_keep(d->temporary, d->o.save_w))
        st = st_fail(e, "%s: %s", d->o.save_w, strerror(errno));
    free(d->labels);
    free(d->ws);
    free(d->pixels);
    free(d->drawn);
    free(d->names);
    free(d);
    return st;
}

/* ---- batches ---- */

static enum status next(struct drawing *d, struct latent_input *in, struct latent_batch *b, struct error *e) {
    int classes = d->o.config->c_dim;
    enum status st = latent_input_next(in, b, e);
    if (st == ST_OK && b->z && classes > 0 && !d->labels)
        return st_bad(e, "the network has %d classes: say which with --class", classes);
    return st == ST_OK || st == ST_END ? st : ST_FAIL;
}

static enum status begin_w(struct drawing *d, int64_t n, struct error *e) {
    const struct sg2_config *c = d->o.config;
    if (d->save_w && npy_write_header(d->save_w, "<f4", 3, (int64_t[]){n, sg2_num_ws(c), c->w_dim}, e) != ST_OK)
        return st_prefix(ST_FAIL, e, "%s", d->o.save_w);
    return ST_OK;
}

/* Begins to draw a batch into d->pixels, and saves its w+. */
static enum status begin(struct drawing *d, struct sg2_latents l, const uint64_t *names, struct error *e) {
    l.labels = d->labels;
    l.noise_seeds = names;
    if (d->save_w) {
        if (!l.ws)
            sg2_generate_ws(d->o.generator, &l, d->ws);
        l = (struct sg2_latents){.n = l.n, .ws = l.ws ? l.ws : d->ws, .noise_seeds = names};
        if (fwrite(l.ws, d->row * sizeof(float), (size_t)l.n, d->save_w) != (size_t)l.n)
            return st_fail(e, "%s: %s", d->o.save_w, strerror(errno));
    }
    sg2_generate_begin(d->o.generator, &l, d->pixels);
    return ST_OK;
}

/* ---- pictures one by one ---- */

static enum status put_all(struct drawing *d, uint8_t *pixels, const uint64_t *names, int64_t n, drawing_put_fn *put, void *context,
                           struct error *e) {
    const struct sg2_config *c = d->o.config;
    for (int64_t i = 0; i < n; i++) {
        const struct image im = {c->res, c->res, c->img_channels, pixels + (size_t)i * d->picture};
        if (put(context, &im, names[i], e) != ST_OK)
            return ST_FAIL;
    }
    d->o.tick(n, d->o.data);
    return ST_OK;
}

enum status drawing_pictures(struct drawing *d, struct latent_input *in, bool live, drawing_put_fn *put, void *context, struct error *e) {
    struct latent_batch b;
    enum status st = ST_OK, more = ST_OK;
    int64_t n = 0; /* of the batch before, not yet put */
    while (st == ST_OK && more == ST_OK) {
        more = next(d, in, &b, e);
        sg2_generate_end(d->o.generator);
        uint8_t *done = d->pixels;
        d->pixels = d->drawn;
        d->drawn = done;
        if (more != ST_OK && more != ST_END)
            return more;
        if (more == ST_OK && b.begins >= 0)
            st = begin_w(d, b.begins, e);
        if (more == ST_OK && st == ST_OK)
            st = begin(d, (struct sg2_latents){.n = b.n, .z = b.z, .w = b.w, .ws = b.ws}, b.names, e);
        if (st == ST_OK)
            st = put_all(d, d->drawn, d->names, n, put, context, e);
        n = more == ST_OK ? b.n : 0;
        if (n)
            memcpy(d->names, b.names, (size_t)n * sizeof *d->names);
        if (live && st == ST_OK) {
            sg2_generate_end(d->o.generator);
            st = put_all(d, d->pixels, d->names, n, put, context, e);
            n = 0;
        }
    }
    sg2_generate_end(d->o.generator); /* after a failure: d->pixels may go */
    return st;
}

/* ---- tables ---- */

enum status drawing_sources(struct drawing *d, struct latent_input *in, struct table_sources *s, struct error *e) {
    struct latent_batch b;
    enum status st;
    while ((st = next(d, in, &b, e)) == ST_OK) {
        if (!b.ws)
            sg2_generate_ws(d->o.generator, &(struct sg2_latents){.n = b.n, .z = b.z, .w = b.w, .labels = d->labels}, d->ws);
        if (table_sources_add(s, (int)b.n, b.ws ? b.ws : d->ws, d->row, b.names, e) != ST_OK)
            return ST_FAIL;
    }
    return st == ST_END ? ST_OK : st;
}

struct cells {
    struct drawing *d;
    struct error *e; /* of what failed in drawing */
};

static const uint8_t *draw_cells(void *context, int n, const float *ws, const uint64_t *names) {
    struct cells *c = context;
    if (begin(c->d, (struct sg2_latents){.n = n, .ws = ws}, names, c->e) != ST_OK)
        return NULL;
    sg2_generate_end(c->d->o.generator);
    c->d->o.tick(n, c->d->o.data);
    return c->d->pixels;
}

enum status drawing_table(struct drawing *d, const struct latent_table *t, struct sheet *s, struct error *e) {
    const struct sg2_config *c = d->o.config;
    *s = (struct sheet){.width = c->res, .height = c->res, .channels = c->img_channels};
    enum status st = begin_w(d, table_cells(t), e);
    return st == ST_OK ? table_draw(t, d->o.batch, draw_cells, &(struct cells){d, e}, s, e) : st;
}
