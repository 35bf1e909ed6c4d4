/* source.h - where the pictures of one side of a comparison come from: a sample stream, a folder, a store, or the zip
 * archive of a dataset tool.
 *
 *     struct source *s; struct source_item item;
 *     source_open(&s, "faces.lmdb", 0, &e);
 *     while ((st = source_next(s, &item, &e)) != ST_END) { ... source_item_free(&item); }
 *
 * Memory does not grow with the number of pictures (a folder keeps the names of one directory at a time).
 *
 * The content hash of a side is H(n), H(0) = 32 zero bytes, H(i) = SHA-256(H(i-1) || SHA-256(encoded picture i)): the same pictures
 * in the same order and encoding, whatever they are called and wherever they lie.
 */
#ifndef FACEMILL_SOURCE_H
#define FACEMILL_SOURCE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/base/status.h"
#include "common/image/image.h"

enum source_kind { SOURCE_STREAM, SOURCE_FOLDER, SOURCE_STORE, SOURCE_ZIP, SOURCE_STATISTICS, SOURCE_FEATURES };
const char *source_kind_name(enum source_kind k);

struct source;

struct source_item {
    char *name;       /* "faces.lmdb: sample 17", for messages; owned */
    const void *data; /* encoded picture: in `owned`, or in the store's map until source_close */
    size_t size;
    struct bytes owned;
    int64_t index;    /* in order of reading, from 0 */
    char filter[24];  /* that resized it, as its store or its sample's JSON says; "" = unknown */
};
void source_item_free(struct source_item *i); /* leaves {0} */

/* What an operand is: "-" is a stream, a directory with data.mdb or a file *.lmdb a store, another directory a folder, a zip archive
 * a statistics file when its first member is an .npy and else a zip of pictures, a file that begins as .npy does features, anything else a
 * stream. ST_FAIL when it does not exist. */
enum status source_detect(const char *operand, enum source_kind *kind, struct error *e);

/* size: height of the pictures to take from a store with several, 0 = the largest. Statistics files are read by statistics.h,
 * features by side.h. */
enum status source_open(struct source **s, const char *operand, enum source_kind kind, int size, struct error *e);
void source_close(struct source *s); /* NULL is fine */
int64_t source_count(const struct source *s); /* 0 = not known beforehand */

/* ST_END at the end; ST_BAD: this sample is unusable (item->name says which; go on); ST_FAIL: nothing more can be read. */
enum status source_next(struct source *s, struct source_item *item, struct error *e);

/* Decodes to RGB. Thread-safe. *rules gets what had to be decided: grey is repeated in three channels, alpha is composited over
 * white, an EXIF orientation is applied. ST_BAD when the picture is broken. */
enum { SOURCE_GREY = 1, SOURCE_ALPHA = 2, SOURCE_ROTATED = 4 };
enum status source_decode(struct source *s, const struct source_item *item, struct image *im, unsigned *rules, struct error *e);

/* One pass over a folder or store: its content hash and number of items, before anything is decoded. Rewinds. ST_END for a stream, which
 * can be read once only. Unreadable items count as empty ones. */
enum status source_hash(struct source *s, int threads, char hex[SHA256_HEX], int64_t *count, struct error *e);

/* The running form of the same hash. */
struct content_hash {
    uint8_t state[SHA256_SIZE];
};
void content_hash_add(struct content_hash *h, const uint8_t digest[SHA256_SIZE]);

#endif
