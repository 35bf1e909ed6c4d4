/* record.c - see record.h. At 128x128 a JPEG record costs about 0.5 ms of one core from PPM of the same size. */
#include "common/store/record.h"

#include <stdlib.h>
#include <string.h>

enum status record_probe(const struct sample *s, int *width, int *height, struct error *e) {
    struct image_info info;
    if (!s->picture.size)
        return st_bad(e, "sample without a picture");
    enum status st = image_probe(s->picture.data, s->picture.size, &info, e);
    if (st == ST_OK) {
        bool turned = info.orientation >= 5;
        *width = turned ? info.height : info.width;
        *height = turned ? info.width : info.height;
    }
    return st;
}

/* Components of a JPEG from its frame header, 0 when there is none: CMYK and YCCK are converted on decoding, so the channels
 * of image_info do not tell. */
static int jpeg_components(const uint8_t *p, size_t size) {
    size_t at = 2;
    while (at + 9 < size && p[at] == 0xff) {
        int marker = p[at + 1];
        if (marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc)
            return p[at + 9];
        at += marker == 0xff ? 1 : 2 + ((size_t)p[at + 2] << 8 | p[at + 3]); /* fill byte, or a segment */
    }
    return 0;
}

/* Would every reader see the same 8-bit pixels in these channels? */
static bool stored_plainly(const struct sample *s, const struct image_info *info, int channels) {
    if (info->orientation != 1 || info->animated || info->bits != 8 || info->channels != channels)
        return false;
    if (info->format == IMAGE_JPEG)
        return jpeg_components(s->picture.data, s->picture.size) == channels;
    if (info->format == IMAGE_PNG) { /* colour type: no palette */
        int type = s->picture.size > 25 ? s->picture.data[25] : -1;
        return type == (channels == 1 ? 0 : channels == 3 ? 2 : 6);
    }
    return false;
}

/* Cuts the largest centred rectangle of width:height out of *im, or refuses. box: x, y, width, height of what is left. */
static enum status fit_aspect(struct image *im, const struct recipe *recipe, int box[4], struct error *e) {
    int width = recipe->format.width[0], height = recipe->format.height[0];
    box[0] = box[1] = 0;
    box[2] = im->width;
    box[3] = im->height;
    int64_t wide = (int64_t)im->width * height, high = (int64_t)im->height * width;
    /* an aspect is the same when it is so to half a pixel of the result */
    if (llabs(wide - high) * 2 <= (im->height > im->width ? im->width : im->height))
        return ST_OK;
    if (recipe->crop == CROP_NONE)
        return st_bad(e, "is %dx%d, not of the store's shape %dx%d (--crop center cuts it)", im->width, im->height, width, height);
    if (wide > high)
        box[2] = (int)((high + height / 2) / height);
    else
        box[3] = (int)((wide + width / 2) / width);
    box[2] = box[2] < 1 ? 1 : box[2];
    box[3] = box[3] < 1 ? 1 : box[3];
    box[0] = (im->width - box[2]) / 2;
    box[1] = (im->height - box[3]) / 2;
    struct image cut;
    image_crop(im, box[0], box[1], box[2], box[3], &cut);
    image_free(im);
    *im = cut;
    return ST_OK;
}

static enum status encode_size(const struct recipe *recipe, const struct image *im, int i, struct bytes *out, struct error *e) {
    const struct store_format *f = &recipe->format;
    if (im->width == f->width[i] && im->height == f->height[i])
        return image_encode(im, f->codec, f->quality, out, e);
    struct image small;
    image_resize(im, f->width[i], f->height[i], recipe->filter, &small);
    enum status st = image_encode(&small, f->codec, f->quality, out, e);
    image_free(&small);
    return st;
}

static void add_step(struct sample *s, const struct recipe *recipe, const int from[2], const int box[4]) {
    const struct store_format *f = &recipe->format;
    bool cut = box[2] != from[0] || box[3] != from[1], resized = false;
    for (int i = 0; i < f->n_sizes; i++)
        resized |= box[2] != f->width[i] || box[3] != f->height[i];
    if (!cut && !resized)
        return;
    cJSON *fields = cJSON_CreateObject();
    cJSON_AddItemToObject(fields, "from", cJSON_CreateIntArray(from, 2));
    if (cut)
        cJSON_AddItemToObject(fields, "crop", cJSON_CreateIntArray(box, 4));
    cJSON *to = cJSON_AddArrayToObject(fields, "to");
    for (int i = 0; i < f->n_sizes; i++)
        cJSON_AddItemToArray(to, cJSON_CreateIntArray((int[2]){f->width[i], f->height[i]}, 2));
    cJSON_AddStringToObject(fields, "filter", f->filter);
    sample_add_step(s, "pack-lmdb", fields);
}

enum status record_make(const struct recipe *recipe, struct sample *s, struct store_record *r, struct error *e) {
    const struct store_format *f = &recipe->format;
    struct image_info info;
    struct image im = {0};
    int box[4];
    if (!s->picture.size)
        return st_bad(e, "sample without a picture");
    enum status st = image_probe(s->picture.data, s->picture.size, &info, e);
    if (st == ST_OK)
        st = image_decode(s->picture.data, s->picture.size, f->channels, &im, e);
    if (st != ST_OK)
        return st;
    image_orient(&im, info.orientation);
    int from[2] = {im.width, im.height};
    st = fit_aspect(&im, recipe, box, e);
    bool plain = info.format == f->codec && stored_plainly(s, &info, f->channels);
    for (int i = 0; i < f->n_sizes && st == ST_OK; i++) {
        if (plain && from[0] == f->width[i] && from[1] == f->height[i])
            bytes_append(&r->picture[i], s->picture.data, s->picture.size);
        else
            st = encode_size(recipe, &im, i, &r->picture[i], e);
    }
    image_free(&im);
    if (st != ST_OK)
        return st;
    add_step(s, recipe, from, box);
    free(r->key);
    free(r->json);
    r->key = xstrdup(s->key);
    r->json = s->json ? cJSON_PrintUnformatted(s->json) : NULL;
    store_record_seal(r, f);
    return ST_OK;
}
