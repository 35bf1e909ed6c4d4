/* sink.h - where pictures go: a sample stream, a folder, one picture file with a grid, or a video; written by a thread of its own.
 *
 * The caller computes the next pictures while the last ones are encoded, by several threads, and written in the order they came in.
 * The queue is bounded, so memory does not grow with their number (a grid holds its tiles).
 *
 *     struct sink *k;
 *     sink_open(&k, &(struct sink_options){.path = "out", .quality = 95, .depth = 32}, &e);
 *     sink_put(k, &sample, &im, &e) ...
 *     sink_close(k, &e);
 */
#ifndef FACEMILL_SINK_H
#define FACEMILL_SINK_H

#include "common/stream/sample.h"
#include "common/stream/video.h"

struct sink_options {
    const char *path;         /* NULL: sample stream on stdout; a name with a picture's suffix: grid; else a folder */
    enum image_format format; /* IMAGE_UNKNOWN: ppm in a stream (png with alpha), png in a folder, by its name in a file */
    int quality;              /* of jpg and webp */
    const struct video_options *video; /* not NULL: a video, and what is above does not count */
    int columns, rows;        /* of a grid; 0: about square. Only that columns * rows tiles fit is checked */
    int depth;                /* pictures waiting at most */
    int jobs;                 /* threads that encode PNG, JPEG or WebP for a stream or folder; 0: the writing one does it */
};

struct sink;
bool sink_is_grid(const char *path); /* would this path be one file? */
enum status sink_open(struct sink **k, const struct sink_options *o, struct error *e);
/* Queues one picture with its key and JSON; takes the contents of both and leaves them {0}. Waits while the queue is full. Fails
 * with what went wrong in writing an earlier one. */
enum status sink_put(struct sink *k, struct sample *s, struct image *im, struct error *e);
/* Waits until all that was put is written, or writing failed: before leaving over an error that is not the sink's. */
void sink_flush(struct sink *k);
/* For leaving the program after an error: throws away what is not yet written and what has no final name yet, and frees k. On
 * stdout there is nothing to tidy, and the writer might be waiting for its reader: k is left alone. NULL is fine. */
void sink_cancel(struct sink *k);
/* Waits for the queue, ends the stream or writes the grid, frees k. NULL is fine. */
enum status sink_close(struct sink *k, struct error *e);

#endif
