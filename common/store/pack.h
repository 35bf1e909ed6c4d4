/* pack.h - samples from an input into a store, by several threads, in the order of the input: what pack-lmdb does.
 *
 * The calling thread reads and writes; workers hash, decode, crop, resize and encode. Memory is bounded by the ring. Samples,
 * their order and their bytes do not depend on the number of threads.
 *
 * Resuming: samples of the newest session of the store (provenance) are expected at the beginning of the input, in their order.
 * Each is recognised by key and SHA-256 without being decoded; samples that were rejected are rejected again. An input that
 * does not fit is an error, never a store with something twice or missing.
 */
#ifndef FACEMILL_PACK_H
#define FACEMILL_PACK_H

#include "common/store/input.h"
#include "common/store/record.h"

struct pack_options {
    const char *path;      /* of the store */
    struct recipe recipe;  /* n_sizes 0: the size of the first picture */
    struct store_writer *writer; /* of the store to go on with; NULL: a new one is made when the first sample is ready. pack_run
                                    closes it. */
    bool replace, dedupe, resume;
    int jobs;
    int64_t limit;          /* samples to pack, counting those already in when resuming; 0: all */
    struct label_names *names; /* of the classes, shared with the input; may grow while it is read */
    cJSON *session;         /* provenance entry; taken */
    /* a sample was rejected; duplicate: because of dedupe */
    void (*reject)(const char *source, const char *reason, bool duplicate, void *data);
    void (*tick)(void *data); /* after each sample */
    void *data;
};

struct pack_result {
    int64_t in, out, known, rejected; /* in = out + rejected; known: of out, those that were in already */
    int64_t length;                   /* of the store */
    bool made;                        /* there is a store */
};

enum status pack_run(struct input *in, struct pack_options *o, struct pack_result *result, struct error *e);

#endif
