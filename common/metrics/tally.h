/* tally.h - what the pictures of a side are: sizes, codecs, the filters that resized them, and the rules that made them RGB. All of
 * it moves scores, so it is counted, reported, and compared between the sides. */
#ifndef FACEMILL_TALLY_H
#define FACEMILL_TALLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/image/image.h"

#define TALLY_KINDS 8 /* different names told apart; what comes after them counts as "others" */

struct tally_names {
    struct {
        char name[24];
        int64_t count;
    } kind[TALLY_KINDS + 1];
    int n;
};

struct tally {
    int64_t pictures, grey, alpha, rotated;
    int64_t other_sizes;              /* pictures of another size than the first */
    int width, height;                /* of the first */
    int min_width, max_width, min_height, max_height;
    struct tally_names codecs, filters;
};

/* One picture, decoded and turned upright: rules as source_decode gives them; data: its encoded bytes; filter: what resized it, "" =
 * unknown. */
void tally_add(struct tally *t, const struct image *im, unsigned rules, const void *data, size_t size, const char *filter);

/* "128x128", or "40x40 to 300x200". */
void tally_sizes(const struct tally *t, char *text, size_t room);
/* Sizes and rules applied: "128x128, 3 grey repeated". */
void tally_pictures(const struct tally *t, char *text, size_t room);
/* "jpg", or "jpg 4, png 2"; "" when nothing was named. */
void tally_list(const struct tally_names *n, char *text, size_t room);

/* Do two such lists name different lossy codecs? Raw, PNG and lossless WebP pictures are the same pixels. False when one is "". */
bool tally_codecs_differ(const char *a, const char *b);

#endif
