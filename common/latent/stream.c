/* stream.c - see stream.h. */
#include "common/latent/stream.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/latent/file.h"

#define PIECE (1 << 18) /* numbers that a filter holds at a time, about: 1 MiB */

int64_t latent_size(struct latent_shape s) { return (int64_t)(s.layers ? s.layers : 1) * s.dim; }

bool latent_same(struct latent_shape a, struct latent_shape b) { return a.layers == b.layers && a.dim == b.dim; }

const char *latent_text(struct latent_shape s, char out[32]) {
    if (s.layers)
        snprintf(out, 32, "[N,%d,%d]", s.layers, s.dim);
    else
        snprintf(out, 32, "[N,%d]", s.dim);
    return out;
}

bool latent_fits(struct latent_shape v, struct latent_shape s) { return v.dim == s.dim && (!v.layers || v.layers == s.layers); }

/* ---- reading ---- */

enum status latent_reader_open(struct latent_reader *r, const char *path, struct error *e) {
    *r = (struct latent_reader){.name = latent_stream_name(path)};
    return latent_open_stream(&r->f, path, e);
}

static enum status no_latents(const struct latent_reader *r, struct error *e) {
    char shape[160];
    return st_fail(e, "%s: an array of shape [%s] holds no latents: z and w are [N,size], w+ is [N,layers,size]", r->name,
                   npy_rows_shape(&r->npy, shape));
}

enum status latent_next(struct latent_reader *r, struct error *e) {
    npy_rows_close(&r->npy);
    enum status st = npy_rows_open(r->f, r->name, &r->npy, e);
    if (st == ST_END && r->total == 0)
        return st_fail(e, "%s: no latents (NumPy arrays, as np.save writes them)", r->name);
    if (st)
        return st;
    const struct npy_rows *a = &r->npy;
    bool one = r->vectors && a->ndim == 1;
    int64_t layers = a->ndim == 3 ? a->dim[1] : 0, dim = one || a->ndim > 1 ? a->dim[a->ndim - 1] : 0;
    if ((a->ndim < 2 && !one) || a->ndim > 3 || dim < 1 || dim > LATENT_MAX_DIM || (a->ndim == 3 && (layers < 1 || layers > LATENT_MAX_LAYERS))) {
        st = no_latents(r, e);
        npy_rows_close(&r->npy);
        return st;
    }
    r->shape = (struct latent_shape){(int)layers, (int)dim};
    r->n = r->left = one ? 1 : a->rows;
    r->arrays++;
    return ST_OK;
}

enum status latent_rows(struct latent_reader *r, float *out, int64_t n, struct error *e) {
    int64_t size = latent_size(r->shape);
    enum status st = npy_rows_read(&r->npy, out, r->npy.ndim == 1 ? n * size : n, e);
    if (st || (st = latent_finite(out, n, size, r->n - r->left, r->name, e)))
        return st;
    r->left -= n;
    r->total += n;
    return ST_OK;
}

enum status latent_finite(const float *rows, int64_t n, int64_t size, int64_t first, const char *name, struct error *e) {
    for (int64_t i = 0; i < n * size; i++)
        if (!isfinite(rows[i]))
            return st_fail(e, "%s: row %lld of an array holds a value that is not finite", name, (long long)(first + i / size));
    return ST_OK;
}

void latent_close(struct latent_reader *r) {
    npy_rows_close(&r->npy);
    latent_close_stream(r->f);
}

enum status latent_follows(const struct latent_reader *r, struct latent_shape had, struct error *e) {
    char a[32], b[32];
    if (latent_same(r->shape, had))
        return ST_OK;
    return st_fail(e, "%s: an array of %s follows one of %s", r->name, latent_text(r->shape, a), latent_text(had, b));
}

static enum status load(const char *path, bool vectors, struct latent_set *s, struct error *e) {
    struct latent_reader r;
    char shape[32];
    *s = (struct latent_set){0};
    enum status st = latent_reader_open(&r, path, e);
    if (st)
        return st;
    r.vectors = vectors;
    while ((st = latent_next(&r, e)) == ST_OK) {
        if (r.arrays == 1)
            s->shape = r.shape;
        st = latent_follows(&r, s->shape, e);
        int64_t size = latent_size(r.shape);
        while (!st && r.left) { /* in pieces, so that a lying head costs no memory */
            int64_t n = r.left < PIECE / size + 1 ? r.left : PIECE / size + 1;
            if ((s->n + n) * size > LATENT_MAX_HELD) {
                st = st_fail(e, "%s: more than %lld latents of %s, which have to be held in memory", r.name, (long long)s->n,
                             latent_text(r.shape, shape));
                break;
            }
            s->data = xrealloc(s->data, (size_t)((s->n + n) * size) * sizeof *s->data);
            st = latent_rows(&r, s->data + s->n * size, n, e);
            s->n += st ? 0 : n;
        }
        if (st)
            break;
    }
    latent_close(&r);
    if (st == ST_END)
        return ST_OK;
    latent_set_free(s);
    return st;
}

enum status latent_load(const char *path, struct latent_set *s, struct error *e) { return load(path, false, s, e); }

enum status latent_load_vectors(const char *path, struct latent_set *s, struct error *e) { return load(path, true, s, e); }

void latent_set_free(struct latent_set *s) {
    free(s->data);
    *s = (struct latent_set){0};
}

/* ---- writing ---- */

enum status latent_head(FILE *f, struct latent_shape s, int64_t n, struct error *e) {
    return s.layers ? npy_write_header(f, "<f4", 3, (int64_t[]){n, s.layers, s.dim}, e)
                    : npy_write_header(f, "<f4", 2, (int64_t[]){n, s.dim}, e);
}

enum status latent_write(FILE *f, struct latent_shape s, const float *rows, int64_t n, struct error *e) {
    size_t count = (size_t)(n * latent_size(s));
    return fwrite(rows, sizeof *rows, count, f) == count ? ST_OK : st_fail(e, "write latents: %s", strerror(errno));
}

enum status latent_save(FILE *f, const struct latent_set *s, struct error *e) {
    enum status st = latent_head(f, s->shape, s->n, e);
    return st ? st : latent_write(f, s->shape, s->data, s->n, e);
}

/* ---- filters ---- */

static enum status filter_array(struct latent_reader *r, FILE *out, const struct latent_filter *f, struct error *e) {
    struct latent_shape to = r->shape;
    int64_t factor = 1;
    enum status st = f->shape ? f->shape(f->context, r->shape, &to, &factor, e) : ST_OK;
    if (st)
        return st_prefix(st, e, "%s", r->name);
    int64_t size = latent_size(r->shape), to_size = latent_size(to), total, batch = f->batch ? f->batch : PIECE / (factor * to_size);
    if (__builtin_mul_overflow(r->n, factor, &total) || factor > LATENT_MAX_HELD / to_size)
        return st_fail(e, "%s: %lld latents, each to become %lld: too many", r->name, (long long)r->n, (long long)factor);
    batch = batch > r->n ? r->n : batch;
    batch = batch < 1 ? 1 : batch;
    float *rows = xmalloc((size_t)(batch * size) * sizeof *rows), *made = xmalloc((size_t)(batch * factor * to_size) * sizeof *made);
    st = latent_head(out, to, total, e);
    while (!st && r->left) {
        int64_t n = r->left < batch ? r->left : batch;
        if ((st = latent_rows(r, rows, n, e)) == ST_OK) {
            f->rows(f->context, rows, n, made);
            st = latent_write(out, to, made, n * factor, e);
        }
    }
    free(rows);
    free(made);
    return st;
}

enum status latent_filter(const char *path, FILE *out, const struct latent_filter *f, struct error *e) {
    struct latent_reader r;
    enum status st = latent_reader_open(&r, path, e);
    if (st)
        return st;
    while ((st = latent_next(&r, e)) == ST_OK)
        if ((st = filter_array(&r, out, f, e)) != ST_OK)
            break;
    latent_close(&r);
    return st == ST_END ? ST_OK : st;
}
