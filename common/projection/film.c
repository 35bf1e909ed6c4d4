/* film.c - see film.h. */
#include "common/projection/film.h"

#include <stdlib.h>

#include "common/base/mem.h"

#define FPS 24
#define QUALITY 90 /* of WebP */

struct film {
    struct video *video;
    struct sg2_config config;
};

enum status film_open(struct film **out, const char *path, enum video_kind kind, const struct sg2_config *config, struct error *e) {
    struct video *video;
    *out = NULL;
    enum status st = video_open(&video, &(struct video_options){.path = path, .kind = kind, .fps = FPS, .quality = QUALITY}, e);
    if (st != ST_OK)
        return st;
    struct film *f = xcalloc(1, sizeof *f);
    f->video = video;
    f->config = *config;
    *out = f;
    return ST_OK;
}

/* The present frame, `times` times over. */
static enum status show(struct film *f, struct projector *p, const uint8_t *targets, int n, int times, struct error *e) {
    const struct sg2_config *k = &f->config;
    uint8_t *own = xmalloc((size_t)n * (size_t)k->res * (size_t)k->res * (size_t)k->img_channels);
    projector_pictures(p, own, NULL);
    const struct image pair[2] = {{k->res, k->res, k->img_channels, (uint8_t *)targets}, /* borrowed */
                                  {k->res, k->res, k->img_channels, own}};
    struct image frame;
    image_grid(pair, 2, 2, &frame);
    image_to_channels(&frame, 3);
    enum status st = ST_OK;
    for (int i = 0; i < times && st == ST_OK; i++)
        st = video_add(f->video, &frame, e);
    image_free(&frame);
    free(own);
    return st;
}

enum status film_frame(struct film *f, struct projector *p, const uint8_t *targets, int n, struct error *e) {
    return show(f, p, targets, n, 1, e);
}

enum status film_end(struct film *f, struct projector *p, const uint8_t *targets, int n, struct error *e) {
    enum status st = show(f, p, targets, n, FPS, e);
    if (st != ST_OK) {
        film_cancel(f);
        return st;
    }
    st = video_close(f->video, true, e);
    free(f);
    return st;
}

void film_cancel(struct film *f) {
    if (!f)
        return;
    video_close(f->video, false, NULL);
    free(f);
}
