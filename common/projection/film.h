/* film.h - a projection's search as a video: frame by frame the first picture of a batch and, beside it, what the search draws by then.
 *
 *     struct film *f;
 *     film_open(&f, "search.y4m", VIDEO_Y4M, &config, &e);
 *     film_frame(f, projector, targets, n, &e) ...          // in between steps
 *     film_end(f, projector, targets, n, &e);
 *
 * A frame is [res,2*res] pixels, in colour whatever the network draws. Taking one waits for the device.
 */
#ifndef FACEMILL_FILM_H
#define FACEMILL_FILM_H

#include "common/stream/video.h"
#include "common/stylegan2/projector.h"

struct film;
/* The file appears under its name when the film has ended. config: of the network whose search it is. */
enum status film_open(struct film **f, const char *path, enum video_kind kind, const struct sg2_config *config, struct error *e);
/* Where the search is now. targets u8 [n,res,res,C]: all pictures that the projector works on; the first is shown. Messages do not name
 * the film. */
enum status film_frame(struct film *f, struct projector *p, const uint8_t *targets, int n, struct error *e);
/* Where it has ended, for a second; then the file gets its name, or is gone when something failed. Frees f either way. */
enum status film_end(struct film *f, struct projector *p, const uint8_t *targets, int n, struct error *e);
/* Before the end: what was written is removed, f freed. NULL is fine. Where the program exits, target.h sees to the file. */
void film_cancel(struct film *f);

#endif
