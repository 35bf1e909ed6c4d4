/* whole.c - see whole.h. */
#include "common/latent/whole.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/latent/edit.h"

enum status latent_mean(const char *path, struct latent_set *mean, struct error *e) {
    struct latent_reader r;
    struct latent_shape s = {0};
    double *sum = NULL;
    float *row = NULL;
    enum status st = latent_reader_open(&r, path, e);
    if (st)
        return st;
    while ((st = latent_next(&r, e)) == ST_OK) {
        if (!sum) {
            s = r.shape;
            sum = xcalloc((size_t)latent_size(r.shape), sizeof *sum);
            row = xmalloc((size_t)latent_size(r.shape) * sizeof *row);
        }
        st = latent_follows(&r, s, e);
        while (!st && r.left)
            if ((st = latent_rows(&r, row, 1, e)) == ST_OK)
                for (int64_t i = 0; i < latent_size(s); i++)
                    sum[i] += (double)row[i];
        if (st)
            break;
    }
    latent_close(&r);
    if (st == ST_END) {
        for (int64_t i = 0; i < latent_size(s); i++)
            row[i] = (float)(sum[i] / (double)r.total);
        *mean = (struct latent_set){s, 1, row};
        row = NULL;
        st = ST_OK;
    }
    free(sum);
    free(row);
    return st;
}

#define PIECE 256 /* rows of moments at a time */

enum status latent_add_moments(const char *path, struct latent_moments *m, struct error *e) {
    struct latent_reader r;
    struct latent_shape had = {0};
    float *rows = NULL;
    *m = (struct latent_moments){0};
    enum status st = latent_reader_open(&r, path, e);
    if (st)
        return st;
    while ((st = latent_next(&r, e)) == ST_OK) {
        if (!rows) {
            had = r.shape;
            rows = xmalloc(PIECE * (size_t)latent_size(had) * sizeof *rows);
            latent_moments_start(m, had.dim);
        }
        st = latent_follows(&r, had, e);
        while (!st && r.left) {
            int64_t n = r.left < PIECE ? r.left : PIECE;
            if ((st = latent_rows(&r, rows, n, e)) != ST_OK)
                break;
            if (latent_collapse(rows, n, had))
                latent_moments_add(m, rows, n);
            else
                st = st_bad(e, "%s: layers of a w+ differ; directions come from w (map --space w) or z", r.name);
        }
        if (st)
            break;
    }
    latent_close(&r);
    free(rows);
    if (st == ST_END)
        return ST_OK;
    latent_moments_free(m);
    return st;
}

/* ---- describing ---- */

struct statistics {
    double mean, deviation, min, max, length;
};

/* Reads the present array. NaN when it has no rows. */
static enum status measure(struct latent_reader *r, struct statistics *s, struct error *e) {
    int64_t size = latent_size(r->shape), vectors = r->shape.layers ? r->shape.layers : 1;
    double n = (double)r->n * (double)size, squares = 0;
    enum status st = ST_OK;
    float *row = xmalloc((size_t)size * sizeof *row);
    *s = (struct statistics){.min = INFINITY, .max = -INFINITY};
    while (!st && r->left)
        if ((st = latent_rows(r, row, 1, e)) == ST_OK)
            for (int64_t v = 0; v < vectors; v++) {
                double length = 0;
                for (int64_t i = v * r->shape.dim; i < (v + 1) * r->shape.dim; i++) {
                    double x = (double)row[i];
                    s->mean += x;
                    length += x * x;
                    s->min = fmin(s->min, x);
                    s->max = fmax(s->max, x);
                }
                squares += length;
                s->length += sqrt(length);
            }
    free(row);
    s->mean /= n;
    s->deviation = sqrt(fmax(0, squares / n - s->mean * s->mean));
    s->length /= (double)r->n * (double)vectors;
    return st;
}

enum status latent_describe(const char *path, bool heading, bool json, FILE *out, struct error *e) {
    struct latent_reader r;
    struct statistics s;
    enum status st = latent_reader_open(&r, path, e);
    if (st)
        return st;
    if (heading)
        fprintf(out, "%s\n", r.name);
    while ((st = latent_next(&r, e)) == ST_OK && (st = measure(&r, &s, e)) == ST_OK) {
        char shape[64];
        if (r.shape.layers)
            snprintf(shape, sizeof shape, "%lld,%d,%d", (long long)r.n, r.shape.layers, r.shape.dim);
        else
            snprintf(shape, sizeof shape, "%lld,%d", (long long)r.n, r.shape.dim);
        if (!r.n)
            s = (struct statistics){0};
        fprintf(out, json ? "{\"array\":%lld,\"shape\":[%s],\"mean\":%.6g,\"deviation\":%.6g,\"min\":%.6g,\"max\":%.6g,\"length\":%.6g}\n"
                          : "array %lld: [%s], mean %.4g, deviation %.4g, from %.4g to %.4g, length %.4g\n",
                (long long)r.arrays - 1, shape, s.mean, s.deviation, s.min, s.max, s.length);
    }
    latent_close(&r);
    return st == ST_END ? ST_OK : st;
}

/* ---- joining ---- */

struct latent_spool {
    FILE *f;
    struct latent_shape shape;
    int64_t n;
    bool any;
};

enum status latent_spool_open(struct latent_spool **s, struct error *e) {
    FILE *f = tmpfile();
    if (!f)
        return st_fail(e, "temporary file: %s", strerror(errno));
    *s = xcalloc(1, sizeof **s);
    (*s)->f = f;
    return ST_OK;
}

enum status latent_spool_add(struct latent_spool *s, const char *path, struct error *e) {
    struct latent_reader r;
    enum status st = latent_reader_open(&r, path, e);
    if (st)
        return st;
    while ((st = latent_next(&r, e)) == ST_OK) {
        if (!s->any)
            s->shape = r.shape;
        s->any = true;
        st = latent_follows(&r, s->shape, e);
        float *row = xmalloc((size_t)latent_size(r.shape) * sizeof *row);
        while (!st && r.left) {
            st = latent_rows(&r, row, 1, e);
            if (!st && (st = latent_write(s->f, s->shape, row, 1, e)) != ST_OK)
                st_prefix(st, e, "temporary file");
            s->n++;
        }
        free(row);
        if (st)
            break;
    }
    latent_close(&r);
    return st == ST_END ? ST_OK : st;
}

enum status latent_spool_write(struct latent_spool *s, FILE *out, const uint64_t *pick, size_t n_pick, struct error *e) {
    int64_t size = latent_size(s->shape), n = pick ? (int64_t)n_pick : s->n;
    for (size_t i = 0; pick && i < n_pick; i++)
        if (pick[i] >= (uint64_t)s->n)
            return st_bad(e, "there is no row %llu: there are %lld", (unsigned long long)pick[i], (long long)s->n);
    rewind(s->f);
    float *row = xmalloc((size_t)size * sizeof *row);
    enum status st = latent_head(out, s->shape, n, e);
    for (int64_t i = 0; !st && i < n; i++) {
        if (pick && fseeko(s->f, (off_t)(pick[i] * (uint64_t)size * sizeof *row), SEEK_SET))
            st = st_fail(e, "temporary file: %s", strerror(errno));
        else if (fread(row, sizeof *row, (size_t)size, s->f) != (size_t)size)
            st = st_fail(e, "temporary file: %s", ferror(s->f) ? strerror(errno) : "it has become shorter");
        else
            st = latent_write(out, s->shape, row, 1, e);
    }
    free(row);
    return st;
}

void latent_spool_close(struct latent_spool *s) {
    if (!s)
        return;
    fclose(s->f);
    free(s);
}
