/* tick.h - stretches of training: where they end, and their statistics as a line for people, one in stats.jsonl and an event for
 * TensorBoard. */
#ifndef FACEMILL_TICK_H
#define FACEMILL_TICK_H

#include "common/run/run.h"
#include "common/stylegan2/trainer.h"

/* Where ticks and snapshots fall, in images. */
struct tick_plan {
    int64_t total;  /* of the run */
    int64_t length; /* of a tick, at least 1 */
    int64_t snap;   /* ticks from snapshot to snapshot; 0 = at the end only */
};
struct tick_due {
    bool end, tick, snap; /* the run is over; a tick is full; a snapshot is due, as it is at the end */
    int64_t number;       /* of the tick that is full or, at the end, cut short; from 1 */
};
/* What a batch that brought the images from `before` to `now` has crossed. It depends on these counts alone: whenever a run is interrupted,
 * ticks and snapshots fall on the same images. */
struct tick_due tick_crossed(const struct tick_plan *p, int64_t before, int64_t now);

struct tick {
    double number;
    int64_t from, to, total;  /* images at its start, its end, and at the end of the run */
    double seconds;           /* spent training in it */
    double maintenance;       /* spent on snapshots and checkpoints before it */
    double all_seconds;       /* since the run began, over all its processes */
    double peak_gpu_bytes;
};
/* Writes the logs; `line` gets the text in the manner of the field: "tick 3 kimg 12.0 time 1m 05s sec/tick ...". */
enum status tick_write(struct run *r, const struct tick *t, const struct trainer_stats *s, char *line, size_t room, struct error *e);

#endif
