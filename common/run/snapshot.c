/* snapshot.c - see snapshot.h. */
#include "common/run/snapshot.h"

#include <stdlib.h>

#include "common/store/checkpoint.h"

enum status snapshot_checkpoint(const struct snapshot *s, int64_t position, struct error *e) {
    char *path = run_path(s->run, RUN_CHECKPOINT);
    enum status st = checkpoint_write(path, s->trainer, s->config, position, s->data, e);
    free(path);
    return st;
}

enum status snapshot_write(const struct snapshot *s, int64_t position, struct error *e) {
    const struct sg2_net *net = trainer_g_ema(s->trainer);
    int64_t images = trainer_images(s->trainer);
    const char *at = run_kimg_text(images, s->fraction);
    char *fakes = run_path(s->run, "fakes%s.png", at), *network = run_path(s->run, "snapshot-%s.safetensors", at);
    char *final = run_path(s->run, "network-final.safetensors"); /* of one name in every run, for makefiles */
    enum status st = grid_write_fakes(s->grid, fakes, e);
    if (st == ST_OK && s->full)
        st = checkpoint_write(network, s->trainer, s->config, position, s->data, e);
    else if (st == ST_OK)
        st = checkpoint_write_network(network, net, images, s->data, e);
    if (st == ST_OK && images >= s->total)
        st = checkpoint_write_network(final, net, images, s->data, e);
    if (st == ST_OK)
        st = snapshot_checkpoint(s, position, e);
    if (st == ST_OK)
        run_prune_snapshots(s->run, s->keep);
    free(fakes);
    free(network);
    free(final);
    return st;
}
