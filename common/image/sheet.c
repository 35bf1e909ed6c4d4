/* sheet.c - see sheet.h. */
#include "common/image/sheet.h"

#include <assert.h>
#include <string.h>

#include "common/image/label.h"

#define INK 32
#define PAPER 255

static int scale_of(int width) { return width < 128 ? 1 : width / 64; }

static int widest(const char *const *text, int n, int scale) {
    int w = 0;
    for (int i = 0; text && i < n; i++)
        w = label_width(text[i]) * scale > w ? label_width(text[i]) * scale : w;
    return w;
}

static int x_of(const struct sheet *s, int column) { return s->x0 + column * s->pitch + (column > 0 ? s->gap : 0); }
static int y_of(const struct sheet *s, int row) { return s->y0 + row * s->height + (row > 0 ? s->gap : 0); }

enum status sheet_begin(struct sheet *s, struct error *e) {
    assert(s->columns > 0 && s->rows > 0);
    int scale = s->scale = scale_of(s->width), space = 3 * scale;
    int top = widest(s->top, s->columns, scale), left = widest(s->left, s->rows, scale);
    s->pitch = top + space > s->width ? top + space : s->width;
    s->gap = s->edges ? 2 * space : 0;
    s->x0 = left ? left + 2 * space : 0;
    s->y0 = top ? LABEL_HEIGHT * scale + 2 * space : 0;
    int64_t width = s->x0 + (int64_t)s->columns * s->pitch + s->gap, height = s->y0 + (int64_t)s->rows * s->height + s->gap;
    if (width > IMAGE_MAX_SIDE || height > IMAGE_MAX_SIDE || width * height > IMAGE_MAX_PIXELS)
        return st_bad(e, "a table of %dx%d pictures would have %lldx%lld pixels, over the limit", s->columns, s->rows, (long long)width,
                      (long long)height);
    image_alloc(&s->picture, (int)width, (int)height, s->channels);
    memset(s->picture.data, PAPER, (size_t)width * (size_t)height * (size_t)s->channels);
    for (int c = 0; s->top && c < s->columns; c++)
        label_draw(&s->picture, x_of(s, c) + (s->pitch - label_width(s->top[c]) * scale) / 2, space, s->top[c], scale, INK);
    for (int r = 0; s->left && r < s->rows; r++)
        label_draw(&s->picture, s->x0 - space - label_width(s->left[r]) * scale,
                   y_of(s, r) + (s->height - LABEL_HEIGHT * scale) / 2, s->left[r], scale, INK);
    return ST_OK;
}

void sheet_place(struct sheet *s, int row, int column, const struct image *tile) {
    assert(tile->width == s->width && tile->height == s->height && tile->channels == s->channels);
    assert(row >= 0 && row < s->rows && column >= 0 && column < s->columns);
    size_t line = (size_t)s->width * (size_t)s->channels, stride = (size_t)s->picture.width * (size_t)s->channels;
    int x = x_of(s, column) + (s->pitch - s->width) / 2;
    uint8_t *to = s->picture.data + (size_t)y_of(s, row) * stride + (size_t)x * (size_t)s->channels;
    for (int y = 0; y < s->height; y++, to += stride)
        memcpy(to, tile->data + (size_t)y * line, line);
}

void sheet_caption(const struct image *im, const char *text, struct image *out) {
    int scale = scale_of(im->width), line = LABEL_HEIGHT * scale + 4 * scale, x = (im->width - label_width(text) * scale) / 2;
    size_t bytes = (size_t)im->width * (size_t)im->height * (size_t)im->channels;
    image_alloc(out, im->width, im->height + line, im->channels);
    memcpy(out->data, im->data, bytes);
    memset(out->data + bytes, PAPER, (size_t)im->width * (size_t)line * (size_t)im->channels);
    label_draw(out, x < 0 ? 0 : x, im->height + 2 * scale, text, scale, INK);
}

void sheet_free(struct sheet *s) { image_free(&s->picture); }
