/* store_write.h - making and extending a picture store (store.h says what one is).
 *
 *     struct store_format f = {.n_sizes = 1, .height = {128}, .width = {128}, .channels = 3, .codec = IMAGE_JPEG};
 *     struct store_record r = {.key = xstrdup("00000"), .label = -1};
 *     image_encode(&im, f.codec, 95, &r.picture[0], &e);
 *     store_create(&w, "faces.lmdb", &f, false, &e);
 *     store_put(w, &r, &e);                       // takes the record's buffers
 *     store_writer_close(w, true, &e);
 *
 * Records are collected and committed in batches (512 samples, 16 MB or 2 seconds, whatever comes first), each batch in one
 * transaction with the new length, and flushed to disk by the commit. A writer that is killed loses the batch in hand and
 * nothing else. When the map is full the transaction is dropped, the map grown, and the batch written again.
 *
 * Content hash: H(0) = 32 zero bytes, H(i+1) = SHA-256(H(i), D(i)); D(i) = SHA-256 over, for each size from the largest,
 * width u32, height u32, bytes u64 (little-endian) and the encoded picture, and then the label as i64 (-1 = none). So equal
 * pictures and labels in equal order have an equal hash, however they came in: keys and JSON do not count.
 */
#ifndef FACEMILL_STORE_WRITE_H
#define FACEMILL_STORE_WRITE_H

#include "common/base/hash.h"
#include "common/store/store.h"

struct store_format {
    int n_sizes;
    int height[8], width[8]; /* heights differ; largest first */
    int channels;
    enum image_format codec; /* IMAGE_JPEG, IMAGE_PNG, or IMAGE_PPM for raw */
    int quality;             /* of JPEG; for the record only */
    const char *filter, *crop; /* for the record only */
};

struct store_record {
    char *key;                   /* owned */
    char *json;                  /* owned, or NULL */
    int label;                   /* -1: none */
    bool hashed;                 /* source is set */
    uint8_t source[SHA256_SIZE]; /* of the picture the sample was made from */
    struct bytes picture[8];     /* encoded, one for each size */
    bool sealed;                 /* digest is set */
    uint8_t digest[SHA256_SIZE];
};

/* Computes the digest; store_put does it where it was not done before (in a worker thread, say). */
void store_record_seal(struct store_record *r, const struct store_format *f);
void store_record_free(struct store_record *r); /* leaves {0} */

struct store_writer;

/* A new store: the folder is made when it is missing and may be empty. With `replace` a store that stands there is removed
 * first. A new store into which nothing was put is removed again on closing. */
enum status store_create(struct store_writer **w, const char *path, const struct store_format *f, bool replace, struct error *e);
/* An existing store, to add to it. Its structure is checked first. Foreign stores are refused. */
enum status store_extend(struct store_writer **w, const char *path, struct error *e);
/* Commits what is in hand, notes whether the session is complete, and closes. Frees w either way; NULL is fine. */
enum status store_writer_close(struct store_writer *w, bool complete, struct error *e);

/* The format, and the meta as of the last commit except that length counts the records in hand too. Owned by w. */
const struct store_format *store_writer_format(const struct store_writer *w);
int64_t store_writer_length(const struct store_writer *w);
int64_t store_writer_committed(const struct store_writer *w);
const cJSON *store_writer_json(const struct store_writer *w);
/* Puts a value into meta with the next commit; takes ownership. */
void store_writer_set(struct store_writer *w, const char *name, cJSON *value);

/* Sessions are the entries of meta's "provenance". Starting one appends it (an object, ownership is taken) with "first" = the
 * present length and "complete" = false; the second returns "first" of the newest and whether it is complete. */
void store_writer_start_session(struct store_writer *w, cJSON *entry);
int64_t store_writer_last_session(const struct store_writer *w, bool *complete);
/* What the newest session's "options" say of this one, or NULL. Owned by w. */
const cJSON *store_writer_last_option(const struct store_writer *w, const char *name);

/* Takes the record's buffers and leaves *r {0}, also on failure. ST_FAIL: the batch could not be written; store_writer_committed
 * says how many samples are safe. */
enum status store_put(struct store_writer *w, struct store_record *r, struct error *e);
enum status store_flush(struct store_writer *w, struct error *e);

/* Is a picture of this source hash in the store (or in hand)? Thread-safe. */
bool store_writer_find(struct store_writer *w, const uint8_t source[SHA256_SIZE], int64_t *index);
/* The key of a committed sample, into a fresh string, or NULL. */
char *store_writer_key(struct store_writer *w, int64_t index);

#endif
