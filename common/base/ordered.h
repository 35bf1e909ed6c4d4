/* ordered.h - work done by several threads, results taken in the order in which the work was given.
 *
 * A ring of equal slots that belong to the caller: the owning thread fills them, workers run work(slot) on them, the owning
 * thread takes them back in order. Memory is bounded by the ring, and what comes out does not depend on the number of threads.
 *
 *     struct ordered *o = ordered_start(jobs, 64, sizeof(struct item), work, context);
 *     for (;;) {
 *         struct item *item;
 *         while (more && (item = ordered_room(o))) { more = fill(item); if (more) ordered_give(o); }
 *         if (!(item = ordered_take(o))) break;       // waits for the oldest; NULL: none is under way
 *         use(item); ordered_done(o);
 *     }
 *     ordered_stop(o);
 */
#ifndef FACEMILL_ORDERED_H
#define FACEMILL_ORDERED_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ordered;

/* Starts the threads (as many as the system lets us have, possibly none: then ordered_take does the work itself). Slots begin
 * zeroed and are not touched between uses. */
struct ordered *ordered_start(int threads, int slots, size_t slot_size, void (*work)(void *slot, void *context), void *context);
void *ordered_room(struct ordered *o); /* a slot to fill, or NULL when the ring is full */
void ordered_give(struct ordered *o);  /* hands the slot of the last ordered_room to the workers */
void *ordered_take(struct ordered *o); /* the oldest slot, its work done; NULL when none is under way */
void ordered_done(struct ordered *o);  /* the slot of the last ordered_take may be filled again */
int ordered_busy(const struct ordered *o); /* slots given and not yet done */
/* Ends the threads (what they have begun is finished, the rest dropped), then calls free_slot (may be NULL) on every slot of the ring. */
void ordered_stop(struct ordered *o, void (*free_slot)(void *slot));

#ifdef __cplusplus
}
#endif
#endif
