/* snapshot.h - what a training writes into its run folder on the way, in the order that lets it be killed at any moment.
 *
 * A snapshot is the grid of fakes, then the network, at the end of the run the network once more under its final name, and then the
 * checkpoint, each replaced as a whole. The checkpoint says how far the run has come: what is interrupted before it is in place is done
 * again by the next start, which begins at the checkpoint before, and comes out the same. Older snapshots go last of all, so that there
 * is always one; a start that finds a checkpoint prunes too (run_prune_snapshots), for the one that was killed in between.
 *
 *     const struct snapshot s = {.run = run, .trainer = trainer, ...};
 *     snapshot_write(&s, loader_position(loader), &e);         // when one is due
 *     snapshot_checkpoint(&s, loader_position(loader), &e);    // in between
 */
#ifndef FACEMILL_SNAPSHOT_H
#define FACEMILL_SNAPSHOT_H

#include "common/run/grid.h"
#include "common/run/run.h"
#include "common/stylegan2/trainer.h"

/* What snapshots of one run are made of. Nothing is owned. */
struct snapshot {
    const struct run *run;
    struct trainer *trainer;
    const struct trainer_config *config; /* what the trainer was made with */
    struct grid *grid;
    const char *data;   /* JSON of what it is trained on, for the artefacts */
    int64_t total;      /* images of the whole run: from there on the network gets its final name, too */
    bool fraction;      /* names count images to the thousandth of a kimg: ticks are no whole kimg */
    bool full;          /* whole checkpoints instead of networks */
    int keep;           /* the newest so many snapshots; 0 = all */
};

/* fakes<kimg>.png, snapshot-<kimg>.safetensors, network-final.safetensors, checkpoint.safetensors. position: of the sampler. At the first
 * that cannot be written it stops, with the path in the message. */
enum status snapshot_write(const struct snapshot *s, int64_t position, struct error *e);

/* checkpoint.safetensors alone. */
enum status snapshot_checkpoint(const struct snapshot *s, int64_t position, struct error *e);

#endif
