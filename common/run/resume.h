/* resume.h - going on from a checkpoint: exactly, or with its networks only. */
#ifndef FACEMILL_RESUME_H
#define FACEMILL_RESUME_H

#include "common/stylegan2/trainer.h"

/* The whole state. ST_BAD when the checkpoint was made with other settings (the message names them) or is not whole. *data is
 * what the training was made on, as given to checkpoint_write; the caller frees it. */
enum status resume_exactly(const char *path, struct trainer *t, const struct trainer_config *c, int64_t *sampler_position,
                           char **data, struct error *e);

struct resume_count {
    int copied, shape, missing; /* tensors of G, D and G_ema */
};
/* The networks of a checkpoint or network file, whatever fits. PATH may be a run folder. report: a file of one line a tensor
 * ("copied|shape|missing NAME DETAIL"), or NULL. ST_BAD when nothing fits. */
enum status resume_transfer(const char *path, struct trainer *t, const char *report, struct resume_count *count, struct error *e);

/* "batch is 16, was 32; r1_gamma is ..." for two JSON objects; NULL when they are equal. The caller frees it. */
char *resume_differences(const char *was, const char *is);

#endif
