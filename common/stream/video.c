/* video.c - see video.h. */
#include "common/stream/video.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "common/base/mem.h"
#include "common/base/target.h"
#include "common/image/animation.h"
#include "common/stream/y4m.h"

struct video {
    struct video_options o;
    char *path, *temporary; /* NULL: stdout */
    const char *name;       /* for messages */
    FILE *f;
    struct animation *animation;
    int num, den;
    int width, height; /* of the first frame */
    int64_t frames;
    struct bytes bytes; /* one frame as it is written */
};

bool video_kind_by_name(const char *path, enum video_kind *kind) {
    static const struct {
        const char *suffix;
        enum video_kind kind;
    } kinds[] = {{".y4m", VIDEO_Y4M}, {".apng", VIDEO_PNG}, {".png", VIDEO_PNG}, {".webp", VIDEO_WEBP}};
    const char *slash = strrchr(path, '/'), *dot = strrchr(slash ? slash : path, '.');
    for (size_t i = 0; dot && i < sizeof kinds / sizeof *kinds; i++)
        if (!strcasecmp(dot, kinds[i].suffix)) {
            *kind = kinds[i].kind;
            return true;
        }
    return false;
}

void video_rate(double fps, int *num, int *den) {
    double ntsc = fps * 1.001;
    *num = (int)lround(fps * 1000), *den = 1000;
    if (fabs(ntsc - round(ntsc)) < 0.0006 && fabs(fps - round(fps)) > 0.001)
        *num = (int)lround(ntsc) * 1000, *den = 1001;
    if (*num < 1)
        *num = 1;
    for (int d = 2; d <= 5; d += 3) /* 1000 = 2*2*2*5*5*5 */
        while (*den != 1001 && *num % d == 0 && *den % d == 0)
            *num /= d, *den /= d;
}

enum status video_open(struct video **out, const struct video_options *o, struct error *e) {
    *out = NULL;
    if (o->path && target_check(o->path, e) != ST_OK)
        return ST_FAIL;
    struct video *v = xcalloc(1, sizeof *v);
    v->o = *o;
    v->f = stdout;
    v->name = "stdout";
    video_rate(o->fps, &v->num, &v->den);
    if (o->path) {
        v->name = v->path = xstrdup(o->path);
        v->temporary = target_begin(o->path);
        if (!(v->f = fopen(v->temporary, "wb"))) {
            enum status st = st_fail(e, "make %s: %s", v->path, strerror(errno));
            video_close(v, false, NULL);
            return st;
        }
    }
    if (o->kind == VIDEO_PNG || o->kind == VIDEO_WEBP)
        v->animation = animation_create(v->f, o->kind == VIDEO_PNG ? IMAGE_PNG : IMAGE_WEBP, v->num, v->den, o->quality);
    *out = v;
    return ST_OK;
}

enum status video_add(struct video *v, const struct image *im, struct error *e) {
    enum status st = ST_OK;
    if (v->animation) {
        st = animation_add(v->animation, im, e);
        v->frames += st == ST_OK;
        return st == ST_OK ? st : st_prefix(st, e, "write %s", v->name);
    }
    if (v->frames && (im->width != v->width || im->height != v->height))
        return st_bad(e, "write %s: frame %lld has %dx%d pixels, the first had %dx%d", v->name, (long long)v->frames, im->width,
                      im->height, v->width, v->height);
    v->width = im->width, v->height = im->height;
    enum y4m_chroma chroma = v->o.full_chroma ? Y4M_444 : Y4M_420;
    v->bytes.size = 0;
    if (v->o.kind == VIDEO_PPM)
        st = image_encode(im, IMAGE_PPM, 0, &v->bytes, e);
    else if (v->frames == 0)
        y4m_head(&v->bytes, im->width, im->height, v->num, v->den, chroma);
    if (v->o.kind == VIDEO_Y4M)
        y4m_frame(&v->bytes, im, chroma);
    /* flushed, so that a player shows a frame when it is there */
    if (st == ST_OK && (fwrite(v->bytes.data, 1, v->bytes.size, v->f) != v->bytes.size || fflush(v->f) != 0))
        st = st_fail(e, "write %s: %s", v->name, strerror(errno));
    v->frames += st == ST_OK;
    return st;
}

enum status video_close(struct video *v, bool keep, struct error *e) {
    if (!v)
        return ST_OK;
    enum status st = ST_OK;
    if (keep && !v->frames)
        st = st_bad(e, "write %s: there was no picture", v->name);
    else if (keep && v->animation && (st = animation_finish(v->animation, e)) != ST_OK)
        st_prefix(st, e, "write %s", v->name);
    if (v->path && v->f && fclose(v->f) != 0 && st == ST_OK)
        st = st_fail(e, "write %s: %s", v->name, strerror(errno));
    if (!keep || st != ST_OK)
        target_drop(v->temporary);
    else if (v->temporary && !target_keep(v->temporary, v->path))
        st = st_fail(e, "rename to %s: %s", v->name, strerror(errno));
    animation_free(v->animation);
    bytes_free(&v->bytes);
    free(v->path);
    free(v);
    return st;
}
