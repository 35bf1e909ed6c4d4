/* loader.h - shuffled batches out of a picture store, decoded ahead of use.
 *
 * The order is a pure function of (seed, position): epoch e = position / length visits every picture once, in the order of
 * a permutation that Philox makes from (seed, e). Position is the number of pictures handed out so far, so a run that
 * stores it continues exactly where it stopped, whatever was decoded ahead and by how many threads.
 *
 *     struct loader *l;
 *     loader_open(&l, store, &(struct loader_options){.size = 0, .batch = 32, .seed = 1, .position = at}, &e);
 *     while (loader_next(l, &pixels, &labels, &e) == ST_OK) trainer_step(t, pixels, labels, NULL);
 *     loader_close(l);
 *
 * Flips are not made here: they belong to the trainer, whose random numbers are keyed by image index.
 */
#ifndef FACEMILL_LOADER_H
#define FACEMILL_LOADER_H

#include "common/store/store.h"

struct loader_options {
    int size;          /* which of the store's sizes, index into meta.height */
    int batch;
    uint64_t seed;
    int64_t position;  /* pictures handed out before */
    bool labels;       /* deliver class numbers too; every sample must have one below meta.label_dim */
    int threads;       /* decoding threads; 0 = as many as processors, at most 8 */
    bool held;         /* the caller keeps the pictures: each is delivered once, later only its number */
    int64_t cache;     /* keep decoded pictures when all of them fit in this many bytes; -1 = a quarter of the memory */
};

struct loader;
/* The store must outlive the loader. */
enum status loader_open(struct loader **l, struct store *s, const struct loader_options *o, struct error *e);
void loader_close(struct loader *l); /* NULL is fine */

/* The next batch: u8 [batch,height,width,channels] and class numbers [batch] (NULL without labels). Both are valid until the
 * next call. ST_FAIL when a picture cannot be decoded: a training set must be whole (pack-lmdb check says what is wrong). */
enum status loader_next(struct loader *l, const uint8_t **pixels, const int **labels, struct error *e);
/* The numbers in the store [batch] of the batch that loader_next gave last, and, with `held`, which of its pictures are there: those
 * not handed out before by this loader. Valid as long as the batch. */
void loader_numbers(const struct loader *l, const int64_t **numbers, const bool **fresh);
int64_t loader_position(const struct loader *l); /* pictures handed out so far */

/* Samples of each class: counts has meta.label_dim elements. ST_FAIL names a sample without a usable label. */
enum status loader_count_labels(struct store *s, int64_t *counts, struct error *e);

/* Leaves a store n of its samples, drawn with the seed, in the order of the store; n is at most its length, which is at most 2^32 - 1. */
void loader_subset(struct store *s, int64_t n, uint64_t seed);

/* The permutation of 0 .. n-1 that epoch `epoch` uses. */
void loader_permutation(uint64_t seed, uint64_t epoch, uint32_t *order, int64_t n);

#endif
