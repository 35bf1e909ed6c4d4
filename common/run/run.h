/* run.h - the run folder: what a training leaves on disk, and how it comes back to it.
 *
 *     config.json                      how it was started (program, options, data)
 *     stats.jsonl                      one line a tick; names as in the field: "Loss/G/loss" ...
 *     events.out.tfevents.facemill     the same for TensorBoard, step = kimg
 *     reals.png, fakes<kimg>.png       grids
 *     snapshot-<kimg>.safetensors      networks for sg2-gen (G_ema)
 *     network-final.safetensors        the last of them once more, when the run is done
 *     checkpoint.safetensors           the newest whole state, replaced each time
 *
 * One process at a time: the folder is locked while it is open. A run that goes back to its checkpoint cuts the logs back to
 * that image count, so that the folder reads as if nothing had happened.
 */
#ifndef FACEMILL_RUN_H
#define FACEMILL_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/status.h"
#include "common/run/events.h"

#define RUN_CHECKPOINT "checkpoint.safetensors"

struct run;
/* Makes the folder (and its parents) when it is not there, locks it, removes temporary files of a killed process. */
enum status run_open(struct run **r, const char *dir, struct error *e);
/* Could run_open and writing work there? Makes nothing. */
enum status run_check_writable(const char *dir, struct error *e);
enum status run_close(struct run *r, struct error *e); /* NULL is fine */

bool run_has_checkpoint(const struct run *r);
/* DIR/name, name formatted; the caller frees it. */
char *run_path(const struct run *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* "000012" for 12000 images; with tick lengths that are no whole kimg "000012.500". Static, until the next call. */
const char *run_kimg_text(int64_t images, bool fraction);

/* Opens the logs, cut back to what had happened at `images` images. *seconds: the training time logged up to there. */
enum status run_start_logs(struct run *r, int64_t images, double *seconds, struct error *e);
/* One line of stats.jsonl and one event record, synced to disk. Must hold "Progress/kimg". NaN is written as null. */
enum status run_log(struct run *r, double kimg, const struct event_scalar *scalars, int n, struct error *e);

/* Removes all but the newest `keep` snapshots; 0 keeps all. */
void run_prune_snapshots(const struct run *r, int keep);

#endif
