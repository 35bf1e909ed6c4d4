/* tick.h - the statistics of a stretch of training: a line for people, one in stats.jsonl, one event for TensorBoard. */
#ifndef FACEMILL_TICK_H
#define FACEMILL_TICK_H

#include "common/run/run.h"
#include "common/stylegan2/trainer.h"

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
