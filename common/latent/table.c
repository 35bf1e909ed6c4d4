/* table.c - see table.h. */
#include "common/latent/table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/latent/file.h"

#define MAX_DIRECTIONS 4096
#define MAX_SOURCES 4096

enum status table_sources_add(struct table_sources *s, int n, const float *ws, size_t size, const uint64_t *names, struct error *e) {
    if (n > MAX_SOURCES - s->n)
        return st_bad(e, "a table has at most %d rows or columns", MAX_SOURCES);
    s->ws = xrealloc(s->ws, (size_t)(s->n + n) * size * sizeof *ws);
    s->names = xrealloc(s->names, (size_t)(s->n + n) * sizeof *names);
    memcpy(s->ws + (size_t)s->n * size, ws, (size_t)n * size * sizeof *ws);
    memcpy(s->names + s->n, names, (size_t)n * sizeof *names);
    s->n += n;
    return ST_OK;
}

void table_sources_free(struct table_sources *s) {
    free(s->ws);
    free(s->names);
    *s = (struct table_sources){0};
}

static void table_size(const struct latent_table *t, int *rows, int *columns) {
    int edge = t->kind == TABLE_MIX;
    *rows = t->rows.n * (t->kind == TABLE_MOVE ? t->n_direction : 1) + edge;
    *columns = t->kind == TABLE_MIX ? t->columns.n + edge : t->n_amount;
}

int table_cells(const struct latent_table *t) {
    int rows, columns;
    table_size(t, &rows, &columns);
    return rows * columns - (t->kind == TABLE_MIX);
}

static const float *source(const struct latent_table *t, const struct table_sources *s, int i) {
    return s->ws + (size_t)i * (size_t)latent_size(t->shape);
}

bool table_cell(const struct latent_table *t, int row, int column, float *ws, uint64_t *name) {
    size_t dim = (size_t)t->shape.dim, direction = dim * (size_t)(t->per_layer ? t->shape.layers : 1);
    int r = t->kind == TABLE_MIX ? row - 1 : t->kind == TABLE_MOVE ? row / t->n_direction : row;
    const float *from = r >= 0 ? source(t, &t->rows, r) : NULL, *other;
    struct latent_vector v;
    switch (t->kind) {
    case TABLE_MIX:
        if (row == 0 && column == 0)
            return false;
        other = column ? source(t, &t->columns, column - 1) : from;
        latent_mix(from ? from : other, other, t->shape, t->mask, ws);
        *name = from ? t->rows.names[r] : t->columns.names[column - 1];
        return true;
    case TABLE_TRUNC:
        latent_truncate(from, t->shape, t->mean, t->amount[column], t->mask, ws);
        break;
    case TABLE_MOVE:
        v = (struct latent_vector){t->direction + (size_t)(row % t->n_direction) * direction, t->per_layer};
        latent_move(from, t->shape, v, t->amount[column], t->mask, ws);
        break;
    }
    *name = t->rows.names[r];
    return true;
}

static char *name_text(const struct table_sources *s, int i) { return xasprintf("%llu", (unsigned long long)s->names[i]); }

/* The heading of a column, and of a row; the caller frees. */
static char *top_text(const struct latent_table *t, int c) {
    if (t->kind == TABLE_MIX)
        return c ? name_text(&t->columns, c - 1) : xstrdup("");
    return xasprintf(t->kind == TABLE_MOVE && t->amount[c] > 0 ? "+%g" : "%g", t->amount[c]);
}

static char *left_text(const struct latent_table *t, int r) {
    if (t->kind == TABLE_MIX)
        return r ? name_text(&t->rows, r - 1) : xstrdup("");
    if (t->kind == TABLE_TRUNC)
        return name_text(&t->rows, r);
    if (t->rows.n == 1)
        return xasprintf("#%d", r);
    return xasprintf("%llu #%d", (unsigned long long)t->rows.names[r / t->n_direction], r % t->n_direction);
}

static void free_texts(char **text, int n) {
    for (int i = 0; i < n; i++)
        free(text[i]);
    free(text);
}

enum status table_read_directions(struct latent_table *t, const char *path, struct error *e) {
    struct npy a = {0};
    FILE *f;
    enum status st = latent_open(&f, path, e);
    if (st != ST_OK)
        return st;
    st = npy_read(f, path, NPY_F32, &a, e);
    fclose(f);
    if (st == ST_END)
        st = st_fail(e, "%s: the file is empty", path);
    if (a.ndim == 1) { /* one direction */
        a.ndim = 2;
        a.dim[1] = a.dim[0];
        a.dim[0] = 1;
    }
    int64_t last = st == ST_OK && a.ndim ? a.dim[a.ndim - 1] : 0;
    t->per_layer = a.ndim == 3 && a.dim[1] == t->shape.layers;
    if (st == ST_OK && !((a.ndim == 2 || t->per_layer) && last == t->shape.dim && a.dim[0] >= 1 && a.dim[0] <= MAX_DIRECTIONS))
        st = st_fail(e, "%s: directions of this network are [K,%d] or [K,%d,%d], K at most %d", path, t->shape.dim, t->shape.layers,
                     t->shape.dim, MAX_DIRECTIONS);
    for (int64_t i = 0; st == ST_OK && i < a.count; i++)
        if (!isfinite(a.f32[i]))
            st = st_fail(e, "%s: direction %lld holds a value that is not finite", path, (long long)(i / (a.count / a.dim[0])));
    if (st == ST_OK) {
        t->n_direction = (int)a.dim[0];
        t->direction = a.f32;
        a.f32 = NULL;
    }
    npy_free(&a);
    return st;
}

enum status table_draw(const struct latent_table *t, int batch, table_draw_fn *draw, void *context, struct sheet *s, struct error *e) {
    int rows, columns, n = 0;
    table_size(t, &rows, &columns);
    size_t size = (size_t)latent_size(t->shape), tile = (size_t)s->width * (size_t)s->height * (size_t)s->channels;
    char **top = xcalloc((size_t)columns, sizeof *top), **left = xcalloc((size_t)rows, sizeof *left);
    for (int c = 0; c < columns; c++)
        top[c] = top_text(t, c);
    for (int r = 0; r < rows; r++)
        left[r] = left_text(t, r);
    s->columns = columns, s->rows = rows;
    s->top = (const char *const *)top, s->left = (const char *const *)left;
    s->edges = t->kind == TABLE_MIX;
    enum status st = sheet_begin(s, e);
    float *ws = xmalloc((size_t)batch * size * sizeof *ws);
    uint64_t *names = xmalloc((size_t)batch * sizeof *names);
    int *cell = xmalloc((size_t)batch * sizeof *cell);
    for (int i = 0; st == ST_OK && i < rows * columns; i++) {
        cell[n] = i;
        n += table_cell(t, i / columns, i % columns, ws + (size_t)n * size, &names[n]);
        if (n < batch && i + 1 < rows * columns)
            continue;
        const uint8_t *pixels = draw(context, n, ws, names);
        if (!pixels)
            st = ST_FAIL;
        for (int k = 0; k < n && pixels; k++) /* the image borrows the pixels */
            sheet_place(s, cell[k] / columns, cell[k] % columns,
                        &(struct image){s->width, s->height, s->channels, (uint8_t *)pixels + (size_t)k * tile});
        n = 0;
    }
    s->top = s->left = NULL;
    free_texts(top, columns);
    free_texts(left, rows);
    free(ws);
    free(names);
    free(cell);
    return st;
}
