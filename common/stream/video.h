/* video.h - pictures as the frames of one video: raw video for a pipe into ffmpeg, or an animation that browsers show.
 *
 *     struct video *v;
 *     video_open(&v, &(struct video_options){.path = NULL, .kind = VIDEO_Y4M, .fps = 24}, &e);     // stdout
 *     video_add(v, &frame, &e) ...
 *     video_close(v, true, &e);
 *
 * A frame is written when it comes; nothing but one frame is held, however long the video.
 */
#ifndef FACEMILL_VIDEO_H
#define FACEMILL_VIDEO_H

#include <stdbool.h>

#include "common/image/image.h"

enum video_kind {
    VIDEO_Y4M,  /* YUV4MPEG2, see y4m.h */
    VIDEO_PPM,  /* PPM pictures one after another, "ffmpeg -f image2pipe" */
    VIDEO_PNG,  /* animated PNG, into a file */
    VIDEO_WEBP, /* animated WebP, into a file */
};

struct video_options {
    const char *path;   /* NULL: stdout, for Y4M and PPM; a file appears under its name when it is whole */
    enum video_kind kind;
    double fps;         /* frames a second, 0.01 .. 1000; PPM cannot say */
    bool full_chroma;   /* Y4M in 4:4:4 rather than 4:2:0 */
    int quality;        /* of WebP */
};

struct video;
/* "walk.y4m", ".apng", ".png", ".webp": false when the name says nothing of the kind. */
bool video_kind_by_name(const char *path, enum video_kind *kind);
/* fps as a fraction, 29.97 as 30000/1001. */
void video_rate(double fps, int *num, int *den);

enum status video_open(struct video **v, const struct video_options *o, struct error *e);
enum status video_add(struct video *v, const struct image *im, struct error *e); /* all frames of one size */
/* keep false: what was written to a file is removed. Frees v either way; NULL is fine. ST_BAD when there was no frame to keep. */
enum status video_close(struct video *v, bool keep, struct error *e);

#endif
