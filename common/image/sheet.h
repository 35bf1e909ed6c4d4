/* sheet.h - a table of equal pictures with headings above the columns and before the rows, as one picture.
 *
 *     struct sheet s = {.columns = 5, .rows = 3, .width = 128, .height = 128, .channels = 3, .top = psi, .left = seed};
 *     sheet_begin(&s, &e);
 *     sheet_place(&s, row, column, &tile);          // in any order; what is not placed stays white
 *     image_encode(&s.picture, ...);
 *     sheet_free(&s);
 *
 * Dark text on white, in the font of label.h, twice as large for every 64 pixels of a tile. A column is as wide as the wider of tile and
 * heading, so no heading is cut or touches the next.
 */
#ifndef FACEMILL_SHEET_H
#define FACEMILL_SHEET_H

#include "common/image/image.h"

struct sheet {
    int columns, rows;
    int width, height, channels;     /* of a tile */
    const char *const *top, *const *left; /* [columns], [rows] headings; NULL = none. Read by begin only */
    bool edges;                      /* the first row and column are sources: a gap sets them apart */
    struct image picture;            /* owned, from begin on */
    int scale, x0, y0, pitch, gap;   /* layout, set by begin */
};

/* ST_BAD when the whole would be larger than IMAGE_MAX_SIDE or IMAGE_MAX_PIXELS. */
enum status sheet_begin(struct sheet *s, struct error *e);
void sheet_place(struct sheet *s, int row, int column, const struct image *tile);
/* A copy of a picture with a line of text below it, for grids whose tiles have names; as wide as the picture, so a long text is cut. */
void sheet_caption(const struct image *im, const char *text, struct image *out);
void sheet_free(struct sheet *s); /* {0} is fine */

#endif
