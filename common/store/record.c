/* record.c - see record.h. At 128x128 a JPEG record costs about 0.5 ms of one core from PPM of the same size. */
#include "common/store/record.h"

#include <stdlib.h>
#include <string.h>

/* ---- recipes ---- */

static int larger_first(const void *a, const void *b) { return ((const int *)b)[0] - ((const int *)a)[0]; }

static bool parse_side(const char *text, int *side) {
    char *end;
    long n = *text >= '0' && *text <= '9' ? strtol(text, &end, 10) : 0;
    *side = (int)n;
    return n >= 1 && n <= IMAGE_MAX_SIDE && !*end;
}

enum status recipe_parse_sizes(const char *text, struct store_format *f, struct error *e) {
    int pair[8][2], n = 0; /* height, width */
    char *copy = xstrdup(text), *rest = copy, *word;
    enum status st = ST_OK;
    while (st == ST_OK && (word = strsep(&rest, ","))) {
        int width, height;
        char *x = strchr(word, 'x');
        if (x)
            *x = 0;
        if (n == 8)
            st = st_bad(e, "at most 8 sizes");
        else if (!parse_side(word, &width) || !parse_side(x ? x + 1 : word, &height) || (int64_t)width * height > IMAGE_MAX_PIXELS)
            st = st_bad(e, "sizes are written as 128 or 256,128 or 96x128 (width x height), not \"%s\"", text);
        else {
            pair[n][0] = height;
            pair[n++][1] = width;
        }
    }
    free(copy);
    if (st != ST_OK)
        return st;
    qsort(pair, (size_t)n, sizeof *pair, larger_first);
    for (int i = 0; i < n; i++) {
        if (i && pair[i][0] == pair[i - 1][0])
            return st_bad(e, "%s: the heights must differ", text);
        /* the same shape: to half a pixel of the width */
        if (llabs((int64_t)pair[i][1] * pair[0][0] - (int64_t)pair[0][1] * pair[i][0]) * 2 > pair[0][0])
            return st_bad(e, "%s: all sizes must have one shape", text);
        f->height[i] = pair[i][0];
        f->width[i] = pair[i][1];
    }
    f->n_sizes = n;
    return ST_OK;
}

const char *record_crop_name(enum record_crop crop) { return crop == CROP_CENTER ? "center" : "none"; }

/* The place of a name in "a|b|c"; `otherwise` when it is not there. */
static int place_in(const char *list, const char *name, int otherwise) {
    for (int i = 0; name; i++) {
        size_t n = strcspn(list, "|");
        if (strlen(name) == n && !memcmp(list, name, n))
            return i;
        if (!list[n])
            break;
        list += n + 1;
    }
    return otherwise;
}

enum status recipe_adopt(struct recipe *r, const struct store_format *asked, const struct store_format *stored, struct error *e) {
    bool same = !asked->n_sizes || asked->n_sizes == stored->n_sizes;
    for (int i = 0; asked->n_sizes && same && i < stored->n_sizes; i++)
        same = asked->width[i] == stored->width[i] && asked->height[i] == stored->height[i];
    if (!same)
        return st_bad(e, "the store has other sizes than --size asks for (pack-lmdb ls shows them)");
    if (asked->codec != IMAGE_UNKNOWN && asked->codec != stored->codec)
        return st_bad(e, "the store has another codec than --codec asks for (pack-lmdb ls shows it)");
    if (asked->channels && asked->channels != stored->channels)
        return st_bad(e, "the store has %d channels, not %d", stored->channels, asked->channels);
    r->format = *stored;
    if (asked->quality)
        r->format.quality = asked->quality;
    if (asked->filter)
        r->format.filter = asked->filter;
    if (asked->crop)
        r->format.crop = asked->crop;
    r->filter = (enum image_filter)place_in(IMAGE_FILTERS, r->format.filter, FILTER_LANCZOS);
    r->crop = (enum record_crop)place_in(RECORD_CROPS, r->format.crop, CROP_NONE);
    return ST_OK;
}

/* ---- pictures ---- */

enum status record_probe(const struct sample *s, int *width, int *height, struct error *e) {
    struct image_info info;
    if (!s->picture.size)
        return st_bad(e, "there is no picture in it");
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
    struct image im;
    int box[4];
    if (!s->picture.size)
        return st_bad(e, "there is no picture in it");
    enum status st = image_decode_upright(s->picture.data, s->picture.size, f->channels, &im, &info, e);
    if (st != ST_OK)
        return st;
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
