/* feed.h - pictures out of a store into a trainer, batch by batch, in the loader's order.
 *
 *     int size;
 *     feed_choose_size(store, 0, &size, &e);
 *     ...                                          // make a trainer for pictures of that size
 *     struct feed *f = feed_create(store, size, trainer, &config);
 *     feed_hold(f, &e);                            // if they are to stay on the device
 *     feed_open(f, position, threads, &e);
 *     while (feed_step(f, &e) == ST_OK) ...        // one step of training each
 *     feed_close(f);
 *
 * Held or not, the trainer sees the same bits: a picture that is held travels to the device when it is first shown and is a number from
 * then on, one that is not travels each time. No message names the store.
 */
#ifndef FACEMILL_FEED_H
#define FACEMILL_FEED_H

#include "common/store/loader.h"
#include "common/stylegan2/trainer.h"

/* Index of the store's size with this height, 0 = the largest. ST_FAIL when the store is empty, holds no such size, or one that no
 * network draws: squares of 8, 16 ... 1024 pixels. */
enum status feed_choose_size(const struct store *s, int height, int *size, struct error *e);

/* Classes will be drawn for the generator as often as the data has them. For conditional trainers; ST_FAIL names a sample without a
 * label. */
enum status feed_count_labels(struct store *s, struct trainer *t, const struct trainer_config *c, struct error *e);

struct feed;
/* Store, trainer and config (what the trainer was made with) must outlive it. */
struct feed *feed_create(struct store *s, int size, struct trainer *t, const struct trainer_config *c);
void feed_close(struct feed *f); /* NULL is fine */

int64_t feed_pictures(const struct feed *f);
int64_t feed_bytes(const struct feed *f); /* of all of them, decoded */
/* Is this a GPU with room for all of them beside the training: in half of the memory that is free now? */
bool feed_fits(const struct feed *f, const struct device *d);
/* Makes room on the device; from here on pictures stay there. Before feed_open, once a trainer. ST_FAIL when there is not enough. */
enum status feed_hold(struct feed *f, struct error *e);

/* Starts decoding, behind the first `position` pictures of the sampler's order. threads: 0 = as many as processors. */
enum status feed_open(struct feed *f, int64_t position, int threads, struct error *e);
/* trainer_step with the next batch. ST_FAIL when a picture cannot be decoded. */
enum status feed_step(struct feed *f, struct error *e);
int64_t feed_position(const struct feed *f); /* pictures handed out so far: where another feed goes on */

#endif
