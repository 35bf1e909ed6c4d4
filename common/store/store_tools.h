/* store_tools.h - whole stores: checking one, joining several, taking samples out one by one or as a data set. Nothing is printed here. */
#ifndef FACEMILL_STORE_TOOLS_H
#define FACEMILL_STORE_TOOLS_H

#include "common/store/store_write.h"
#include "common/stream/sample.h"

/* Decodes every picture with `jobs` threads, and checks sizes, channels, codec, keys, JSON, labels, the index of source hashes
 * and the content hash. report is called for each thing wrong, in order, with a line that names the record. tick is called
 * after each sample. Returns the number of things wrong. */
int64_t store_check(struct store *s, int jobs, void (*report)(const char *line, void *data), void (*tick)(void *data), void *data);

/* Meta, or for foreign stores what was found out in the same form, and "bytes", the size of the data file. Caller frees. */
cJSON *store_describe(const struct store *s);

/* Which of the store's sizes is meant by "128" or "96x128". ST_BAD when none. */
enum status store_pick_size(const struct store_meta *m, const char *text, int *size, struct error *e);

/* One sample as it was packed: key, picture of the given size as it is stored, JSON, and the label as a .cls member. Frees what
 * was in *sample. ST_BAD when the record is broken; the key is set all the same. */
enum status store_sample(struct store *s, int size, int64_t index, struct sample *sample, struct error *e);

/* A new folder for store_unpack, or one that stands there and is empty. ST_FAIL when there is something in it. */
enum status store_unpack_folder(const char *path, struct error *e);

/* The first n samples as a sample stream on stdout, or as files of a folder: pictures as they are stored, raw ones as PNG. reject is called
 * for a record that is broken, and for one whose file is in the folder already (keys of merged stores may be equal). Returns how many were
 * written in *out, also on ST_FAIL, when the rest cannot be written. */
struct unpack_options {
    int size;           /* which of the store's */
    int64_t n;
    const char *folder; /* NULL: stdout */
    void (*reject)(const char *key, const char *reason, void *data);
    void (*tick)(void *data); /* after each sample */
    void *data;
};
enum status store_unpack(struct store *s, const struct unpack_options *o, int64_t *out, struct error *e);

/* Joins stores of equal sizes, channels and codec, in the order given, into a new one. Pictures are copied as they are, so the
 * content hash is that of packing the same samples one after the other. Class names are united; stores with and without labels
 * do not mix. With dedupe a sample whose source picture is in the new store already is left out. It is built beside `out`
 * (OUT.tmp-PID) and renamed when it is whole. A copy of settings goes into the provenance, together with the inputs' hashes. */
struct merge_options {
    bool dedupe, replace;
    const cJSON *settings; /* or NULL */
    void (*tick)(void *data);
    void *data;
};
struct merge_count {
    int64_t in, out;
};
enum status store_merge(const char *out, char **inputs, int n, const struct merge_options *o, struct merge_count *count,
                        struct error *e);

/* A new zip archive as stylegan2-ada-pytorch and stylegan3 train on: 00000/img00000000.png ... and dataset.json with the class numbers
 * (null unless every picture has one). The pictures are those of one size, without loss. Written beside `path` and renamed when whole.
 * ST_BAD when the store's pictures are not square, or not of 1 or 3 channels. reject is called for a record that is broken. */
struct zip_options {
    int size;  /* which of the store's */
    int64_t n; /* the first n samples */
    int jobs;
    void (*reject)(int64_t index, const char *reason, void *data);
    void (*tick)(void *data);
    void *data;
};
struct zip_count {
    int64_t out, labelled;
};
enum status store_write_zip(struct store *s, const char *path, const struct zip_options *o, struct zip_count *count, struct error *e);

#endif
