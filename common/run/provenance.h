/* provenance.h - what a run was made of, as JSON for its artefacts. The caller frees the texts. */
#ifndef FACEMILL_PROVENANCE_H
#define FACEMILL_PROVENANCE_H

#include "common/store/store.h"
#include "common/stylegan2/trainer.h"

/* The data, without its path: a moved store is the same store, and equal runs have equal bytes. */
char *provenance_data(const struct store *s, int size, int classes);
/* config.json and --dry-run: program, device, length in images, data (as above), trainer_config, and every option. */
char *provenance_settings(const struct trainer_config *c, const struct device *d, int64_t images, const char *data);

#endif
