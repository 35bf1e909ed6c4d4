/* tally.c - see tally.h. */
#include "common/metrics/tally.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/metrics/source.h"

static void count(struct tally_names *t, const char *name) {
    int i = 0;
    while (i < t->n && strcmp(t->kind[i].name, name))
        i++;
    if (i == t->n) {
        if (i > TALLY_KINDS)
            i = TALLY_KINDS;
        else {
            snprintf(t->kind[i].name, sizeof t->kind[i].name, "%s", i < TALLY_KINDS ? name : "others");
            t->n++;
        }
    }
    t->kind[i].count++;
}

/* A WebP file is lossless when its first chunk, or in the extended layout some chunk, is VP8L. */
static const char *codec_name(const void *data, size_t size) {
    enum image_format f = image_detect(data, size);
    if (f == IMAGE_WEBP && size >= 16)
        return memcmp((const char *)data + 12, "VP8L", 4) ? "webp" : "webp lossless";
    return f == IMAGE_PPM ? "raw" : f == IMAGE_UNKNOWN ? "unknown" : image_format_name(f);
}

void tally_add(struct tally *t, const struct image *im, unsigned rules, const void *data, size_t size, const char *filter) {
    int w = im->width, h = im->height;
    if (!t->pictures++) {
        t->width = t->min_width = t->max_width = w;
        t->height = t->min_height = t->max_height = h;
    }
    t->other_sizes += w != t->width || h != t->height;
    t->min_width = w < t->min_width ? w : t->min_width;
    t->max_width = w > t->max_width ? w : t->max_width;
    t->min_height = h < t->min_height ? h : t->min_height;
    t->max_height = h > t->max_height ? h : t->max_height;
    t->grey += (rules & SOURCE_GREY) != 0;
    t->alpha += (rules & SOURCE_ALPHA) != 0;
    t->rotated += (rules & SOURCE_ROTATED) != 0;
    count(&t->codecs, codec_name(data, size));
    if (*filter)
        count(&t->filters, filter);
}

void tally_sizes(const struct tally *t, char *text, size_t room) {
    if (!t->other_sizes)
        snprintf(text, room, "%dx%d", t->width, t->height);
    else
        snprintf(text, room, "%dx%d to %dx%d", t->min_width, t->min_height, t->max_width, t->max_height);
}

void tally_pictures(const struct tally *t, char *text, size_t room) {
    tally_sizes(t, text, room);
    size_t n = strlen(text);
    const int64_t number[] = {t->other_sizes, t->grey, t->alpha, t->rotated};
    static const char *const what[] = {"of another size than the first", "grey repeated", "with alpha over white", "rotated as EXIF says"};
    for (int i = 0; i < 4; i++)
        if (number[i] && n < room)
            n += (size_t)snprintf(text + n, room - n, ", %lld %s", (long long)number[i], what[i]);
}

void tally_list(const struct tally_names *t, char *text, size_t room) {
    size_t n = 0;
    *text = 0;
    if (t->n == 1)
        snprintf(text, room, "%s", t->kind[0].name);
    for (int i = 0; t->n > 1 && i < t->n && n < room; i++)
        n += (size_t)snprintf(text + n, room - n, "%s%s %lld", i ? ", " : "", t->kind[i].name, (long long)t->kind[i].count);
}

/* Bits for the lossy codecs of a list. */
static unsigned lossy(const char *list) {
    unsigned found = 0;
    while (*list) {
        size_t n = strcspn(list, ",");
        if (!strncmp(list, "jpg", 3))
            found |= 1;
        if (!strncmp(list, "webp", 4) && strncmp(list, "webp lossless", 13))
            found |= 2;
        list += n + (list[n] == ',') + (list[n] == ',' && list[n + 1] == ' ');
    }
    return found;
}

bool tally_codecs_differ(const char *a, const char *b) {
    return *a && *b && lossy(a) != lossy(b);
}
