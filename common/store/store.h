/* store.h - a picture store: an LMDB environment that the common StyleGAN2 loaders can read (DESIGN section 3).
 *
 * Keys: "SIZE-INDEX" (%d-%05d) -> encoded picture; "length" -> decimal text; and ours beside those: "meta" (JSON: format
 * version, sizes, channels, codec, filter, count, content hash, provenance), "key-%05d" (sample key), "json-%05d" (the sample's
 * JSON), "label-%05d" (decimal text or a JSON array), "hash-HEX" -> decimal index (SHA-256 of the source picture: dedupe, resume).
 * SIZE is the height. For non-square pictures width and height stand in meta.
 *
 * `length` is written in the same transaction as the pictures it counts: whatever kills the writer, the store opens clean and
 * holds samples 0 .. length-1 whole. The map grows by itself. One writer at a time; any number of readers.
 *
 *     struct store *s; struct image im;
 *     if (store_open(&s, "faces.lmdb", &e) != ST_OK) ...
 *     for (int64_t i = 0; i < store_get_meta(s)->length; i++)
 *         if (store_decode(s, 0, i, &im, &e) == ST_OK) { ...; image_free(&im); }
 *     store_close(s);
 *
 * A reader sees the store as it was when opened, whatever is appended meanwhile: all its reads go through one long-lived read
 * transaction. LMDB wants a transaction used by one thread at a time, so a lock is held for each look-up (about a
 * microsecond), not for decoding. The database's structure is checked on opening (lmdb_check.h), so that a damaged or
 * malicious file cannot crash the reader. Close a store in the process that opened it, and do not open one twice in one process
 * (LMDB's file locks are per process).
 */
#ifndef FACEMILL_STORE_H
#define FACEMILL_STORE_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/status.h"
#include "common/image/image.h"

struct store;

/* What a store is made of; from meta, or for foreign stores (no meta) found by looking at the keys. */
struct store_meta {
    int n_sizes;
    int height[8], width[8]; /* largest first */
    int channels;
    enum image_format codec; /* IMAGE_PPM = raw */
    int64_t length;          /* samples */
    int label_dim;           /* 0: no labels; K: class labels 0..K-1 */
    bool foreign;            /* made by another program */
    const char *content_hash; /* hex over all samples in order, "" when unknown (foreign); owned by the store */
};

/* ---- reading ---- */
/* Is there something that looks like a store? Not so when its writer was stopped before the first samples were in. */
bool store_exists(const char *path);
enum status store_open(struct store **s, const char *path, struct error *e); /* read-only; ST_FAIL when it is no store; a folder or a single file */
void store_close(struct store *s);                                          /* NULL is fine */
const struct store_meta *store_get_meta(const struct store *s);
/* Encoded bytes of one picture: *data points into the map and is valid until store_close. Thread-safe. size index i into
 * meta.height. ST_BAD when the record is missing. */
enum status store_picture(struct store *s, int size, int64_t index, const void **data, size_t *bytes, struct error *e);
/* Decoded to meta's size and channels; checked against them. Thread-safe. */
enum status store_decode(struct store *s, int size, int64_t index, struct image *im, struct error *e);
enum status store_label(struct store *s, int64_t index, int *label, struct error *e); /* class number; ST_BAD when none */
/* Sample key and JSON text (pointers into the map, NOT NUL-terminated); missing gives NULL and 0. */
void store_text(struct store *s, const char *prefix, int64_t index, const char **text, size_t *bytes);
/* From now on the store is these n of its samples, in this order: lengths and indices of all functions above count them alone (messages
 * name records as they are in the file). Once, before anything is read by other threads. What follows below is that of the whole. */
void store_keep(struct store *s, const uint32_t *order, int64_t n);
/* The whole of meta, owned by the store; NULL for a foreign store. */
const cJSON *store_meta_json(const struct store *s);
uint64_t store_bytes(const struct store *s); /* of the data file */
/* Calls visit(index, sha256, data) for every "hash-HEX" record, in the order of the digests. */
void store_each_hash(struct store *s, void (*visit)(int64_t index, const uint8_t digest[32], void *data), void *data);

/* ---- writing: see store_write.h ---- */
#endif
