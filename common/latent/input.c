/* input.c - see input.h. */
#include "common/latent/input.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/mem.h"
#include "common/latent/file.h"
#include "common/latent/seeds.h"
#include "common/latent/stream.h"

struct latent_input {
    struct latent_input_options o;
    float *rows;        /* [batch,...] */
    uint64_t *names;    /* [batch] positions */
    int64_t at;         /* rows delivered */
    int file;           /* index of the open one, n_files past the end */
    FILE *f;            /* NULL: none is open */
    const char *name;
    struct npy_rows array;
    char kind;          /* of the array under way: 'z', 'w', '+' for w+; 0 = none is */
};

enum status latent_input_open(struct latent_input **out, const struct latent_input_options *o, struct error *e) {
    (void)e;
    const struct sg2_config *c = o->config;
    int plus = sg2_num_ws(c) * c->w_dim, largest = plus > c->z_dim ? plus : c->z_dim;
    struct latent_input *in = *out = xcalloc(1, sizeof *in);
    in->o = *o;
    in->rows = xmalloc((size_t)o->batch * (size_t)largest * sizeof *in->rows);
    in->names = xmalloc((size_t)o->batch * sizeof *in->names);
    return ST_OK;
}

static void close_file(struct latent_input *in) {
    npy_rows_close(&in->array);
    latent_close_stream(in->f);
    in->f = NULL;
    in->kind = 0;
}

void latent_input_close(struct latent_input *in) {
    if (!in)
        return;
    close_file(in);
    free(in->rows);
    free(in->names);
    free(in);
}

static enum status next_seeds(struct latent_input *in, struct latent_batch *b) {
    int64_t left = in->o.n_seeds - in->at;
    if (!left)
        return ST_END;
    *b = (struct latent_batch){.n = left < in->o.batch ? left : in->o.batch, .z = in->rows, .names = in->o.seeds + in->at,
                               .begins = in->at ? -1 : in->o.n_seeds};
    latent_of_seeds(b->names, b->n, in->o.philox, in->rows, in->o.config->z_dim);
    in->at += b->n;
    return ST_OK;
}

/* Opens the next file; ST_END when there is none. */
static enum status next_file(struct latent_input *in, struct error *e) {
    int n = in->o.n_files ? in->o.n_files : 1;
    if (in->file == n)
        return in->at ? ST_END : st_fail(e, "%s: no latents; give --seeds, or arrays as np.save writes them", in->name);
    const char *path = in->o.n_files ? in->o.files[in->file] : "-";
    in->file++;
    in->name = latent_stream_name(path);
    return latent_open_stream(&in->f, path, e);
}

/* Begins the next array; ST_END at the end of the file. */
static enum status next_array(struct latent_input *in, struct error *e) {
    const struct sg2_config *c = in->o.config;
    struct npy_rows *a = &in->array;
    enum status st = npy_rows_open(in->f, in->name, a, e);
    if (st != ST_OK)
        return st;
    in->kind = 0;
    if (a->ndim == 3 && a->dim[1] == sg2_num_ws(c) && a->dim[2] == c->w_dim)
        in->kind = '+';
    else if (a->ndim == 2 && a->dim[1] == c->w_dim && (in->o.as_w || c->w_dim != c->z_dim))
        in->kind = 'w';
    else if (a->ndim == 2 && a->dim[1] == c->z_dim && !in->o.as_w)
        in->kind = 'z';
    if (in->kind)
        return ST_OK;
    char shape[160];
    return st_fail(e, "%s: an array of shape [%s] is no latent of this network: z is [N,%d], w [N,%d], w+ [N,%d,%d]", in->name,
                   npy_rows_shape(a, shape), c->z_dim, c->w_dim, sg2_num_ws(c), c->w_dim);
}

static enum status next_rows(struct latent_input *in, struct latent_batch *b, struct error *e) {
    struct npy_rows *a = &in->array;
    int64_t first = a->rows - a->left, n = a->left < in->o.batch ? a->left : in->o.batch;
    enum status st = npy_rows_read(a, in->rows, n, e);
    if (st != ST_OK || (st = latent_finite(in->rows, n, a->row, first, in->name, e)) != ST_OK)
        return st;
    for (int64_t i = 0; i < n; i++)
        in->names[i] = (uint64_t)in->at++;
    const float *rows = in->rows;
    *b = (struct latent_batch){.n = n, .z = in->kind == 'z' ? rows : NULL, .w = in->kind == 'w' ? rows : NULL,
                               .ws = in->kind == '+' ? rows : NULL, .names = in->names, .begins = first ? -1 : a->rows};
    return ST_OK;
}

enum status latent_input_next(struct latent_input *in, struct latent_batch *b, struct error *e) {
    if (in->o.seeds)
        return next_seeds(in, b);
    for (;;) {
        if (in->kind && in->array.left)
            return next_rows(in, b, e);
        if (in->kind) {
            npy_rows_close(&in->array);
            in->kind = 0;
        }
        enum status st = in->f ? next_array(in, e) : next_file(in, e);
        if (st == ST_END && in->f)
            close_file(in);
        else if (st != ST_OK)
            return st;
    }
}
