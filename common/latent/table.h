/* table.h - tables of w+: what the cells of a labelled sheet of pictures show, and its headings. Three kinds:
 *
 *     TABLE_MIX    the first column shows the sources of the rows, the first row those of the columns; every other cell takes the layers
 *                  of `mask` from the source of its column, the rest from that of its row. The corner is empty.
 *     TABLE_TRUNC  rows: sources; columns: `amount` = psi, the share of the distance from `mean` in the layers of the mask
 *     TABLE_MOVE   rows: each source with each direction; columns: `amount` times the direction is added in the layers of the mask
 *
 *     struct latent_table t = {.kind = TABLE_TRUNC, .shape = {12, 512}, .mask = LATENT_ALL, .rows = sources, .amount = psi, .n_amount = 5, ...};
 *     struct sheet s = {.width = 128, .height = 128, .channels = 3};
 *     table_draw(&t, 16, draw, context, &s, &e);       // then encode s.picture
 *
 * All arrays are the caller's and must live as long as the table.
 */
#ifndef FACEMILL_LATENT_TABLE_H
#define FACEMILL_LATENT_TABLE_H

#include "common/image/sheet.h"
#include "common/latent/edit.h"

enum table_kind { TABLE_MIX, TABLE_TRUNC, TABLE_MOVE };

struct table_sources {
    int n;
    float *ws;       /* [n,layers,dim] */
    uint64_t *names; /* [n] seeds, or positions in a stream: headings, and keys of the noise */
};

/* Appends n rows ws [n,size]. ST_BAD when there are more than a table can have. */
enum status table_sources_add(struct table_sources *s, int n, const float *ws, size_t size, const uint64_t *names, struct error *e);
void table_sources_free(struct table_sources *s); /* leaves {0} */

struct latent_table {
    enum table_kind kind;
    struct latent_shape shape; /* layers, dim of w+ */
    uint64_t mask;             /* layers that are mixed, truncated or moved */
    struct table_sources rows, columns; /* columns: MIX */
    const double *amount;      /* [n_amount]; TRUNC, MOVE */
    int n_amount;
    struct latent_vector mean; /* TRUNC */
    float *direction;          /* [n_direction,dim], or [n_direction,layers,dim] when per_layer; MOVE */
    int n_direction;
    bool per_layer;
};

int table_cells(const struct latent_table *t); /* that are drawn: all but the corner of a MIX */
/* One cell into ws [layers,dim], and the name of the source whose noise it has. False for the empty corner. */
bool table_cell(const struct latent_table *t, int row, int column, float *ws, uint64_t *name);

/* Sets direction, n_direction and per_layer from a .npy file of [dim], [K,dim] or [K,layers,dim]; the caller frees t->direction. */
enum status table_read_directions(struct latent_table *t, const char *path, struct error *e);

/* Draws n <= batch pictures of ws [n,layers,dim] and returns their pixels, valid until the next call; NULL: it failed, and has said why. */
typedef const uint8_t *table_draw_fn(void *context, int n, const float *ws, const uint64_t *names);
/* Begins the sheet (whose tile size is set) with the table's headings and places every cell, row by row. sheet_free afterwards.
 * ST_BAD when the sheet would be too large, ST_FAIL when draw failed (e is left to it). */
enum status table_draw(const struct latent_table *t, int batch, table_draw_fn *draw, void *context, struct sheet *s, struct error *e);

#endif
