/* trainer_items.c - the training state tensor by tensor, for checkpoints: networks, moments, counters, sums.
 *
 * The order: G, D, G_ema (names as in the networks), adam_G.m, adam_G.v, adam_D.m, adam_D.v (trained tensors), state.*. Random
 * numbers need no state: they are keyed by seed and image count.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/stylegan2/trainer_internal.h"

struct item {
    char name[80];
    enum dtype dtype;
    int ndim;
    int64_t dim[4];
    const struct sg2_tensor *tensor; /* with `buffer`: a tensor of a network or laid out like one */
    struct buffer *buffer;           /* alone: plain F32 values on the device */
    void *host;                      /* else: values in the trainer */
    int64_t bytes;
};

static struct item *append(struct trainer *t, const char *prefix, const char *name, enum dtype dtype) {
    if (t->n_items % 64 == 0)
        t->items = xrealloc(t->items, (size_t)(t->n_items + 64) * sizeof *t->items);
    struct item *i = &t->items[t->n_items++];
    memset(i, 0, sizeof *i);
    snprintf(i->name, sizeof i->name, "%s%s", prefix, name);
    i->dtype = dtype;
    return i;
}

static void tensors(struct trainer *t, const char *prefix, struct sg2_net *n, struct buffer *flat, bool state) {
    for (int k = 0; k < n->n_tensors; k++) {
        const struct sg2_tensor *x = &n->tensors[k];
        if (!x->trained && !state)
            continue;
        struct item *i = append(t, prefix, x->name, DT_F32);
        i->ndim = x->ndim;
        memcpy(i->dim, x->dim, sizeof i->dim);
        i->tensor = x;
        i->buffer = x->trained ? flat : n->state;
    }
}

static void on_device(struct trainer *t, const char *name, struct buffer *b, int64_t count) {
    struct item *i = append(t, "state.", name, DT_F32);
    i->ndim = 1;
    i->dim[0] = count;
    i->buffer = b;
    i->bytes = 4 * count;
}

static void on_host(struct trainer *t, const char *name, enum dtype dtype, void *host, int64_t count) {
    struct item *i = append(t, "state.", name, dtype);
    i->ndim = 1;
    i->dim[0] = count;
    i->host = host;
    i->bytes = dtype_size(dtype) * count;
}

void trainer_items_create(struct trainer *t) {
    tensors(t, "G.", t->g.net, t->g.net->params, true);
    tensors(t, "D.", t->d.net, t->d.net->params, true);
    tensors(t, "G_ema.", t->g_ema, t->g_ema->params, true);
    tensors(t, "adam_G.m.", t->g.net, t->g.m, false);
    tensors(t, "adam_G.v.", t->g.net, t->g.v, false);
    tensors(t, "adam_D.m.", t->d.net, t->d.m, false);
    tensors(t, "adam_D.v.", t->d.net, t->d.v, false);
    on_device(t, "pl_mean", t->pl_mean, 1);
    on_device(t, "stats", t->stats, S_COUNT);
    on_host(t, "stats_runs", DT_I64, t->runs, PHASES);
    on_host(t, "images", DT_I64, &t->images, 1);
    on_host(t, "iterations", DT_I64, &t->iterations, 1);
    on_host(t, "adam_G.steps", DT_I64, &t->g.steps, 1);
    on_host(t, "adam_G.main_steps", DT_I64, &t->g.main_steps, 1);
    on_host(t, "adam_D.main_steps", DT_I64, &t->d.main_steps, 1);
    on_host(t, "adam_D.steps", DT_I64, &t->d.steps, 1);
    on_host(t, "augment_p", DT_F64, &t->augment_p, 1);
    on_host(t, "ada_r_t", DT_F64, &t->r_t, 1);
    on_host(t, "ada_batches", DT_I64, &t->ada_count, 1);
    if (t->label_counts)
        on_host(t, "label_counts", DT_I64, t->label_counts, t->c.net.c_dim);
}

void trainer_items_free(struct trainer *t) {
    free(t->items);
    t->items = NULL;
    t->n_items = 0;
}

int trainer_items(struct trainer *t) { return t->n_items; }

struct trainer_item trainer_item(struct trainer *t, int k) {
    const struct item *i = &t->items[k];
    struct trainer_item out = {.name = i->name, .dtype = i->dtype, .ndim = i->ndim};
    memcpy(out.dim, i->dim, sizeof out.dim);
    return out;
}

void trainer_item_get(struct trainer *t, int k, void *out) {
    const struct item *i = &t->items[k];
    if (i->tensor)
        sg2_tensor_get(i->tensor, i->buffer, out);
    else if (i->buffer)
        buffer_read(i->buffer, 0, out, i->bytes);
    else
        memcpy(out, i->host, (size_t)i->bytes);
}

void trainer_item_set(struct trainer *t, int k, const void *in) {
    const struct item *i = &t->items[k];
    if (i->tensor)
        sg2_tensor_set(i->tensor, i->buffer, in);
    else if (i->buffer)
        buffer_write(i->buffer, 0, in, i->bytes);
    else
        memcpy(i->host, in, (size_t)i->bytes);
    if (i->host && i->host == t->label_counts)
        trainer_update_label_cdf(t);
}
