/* record.h - from one sample to one store record: orientation, crop, resize to each size, encode. Thread-safe.
 *
 * A picture that already has the wanted codec, size, channels and an upright orientation keeps its bytes (JPEG and PNG; raw is
 * written anew, which changes no pixel). It is decoded all the same: what does not decode does not get into a store.
 */
#ifndef FACEMILL_RECORD_H
#define FACEMILL_RECORD_H

#include "common/store/store_write.h"
#include "common/stream/sample.h"

enum record_crop { CROP_NONE, CROP_CENTER };
#define RECORD_CROPS "none|center" /* in enum order, for CLI_CHOICE */
const char *record_crop_name(enum record_crop crop); /* "center"; static */

struct recipe {
    struct store_format format; /* with the names of filter and crop */
    enum image_filter filter;
    enum record_crop crop; /* what to do with pictures of another aspect: refuse, or cut away the sides */
};

/* "128", "256,128", "96x128" (width x height; all of one shape): the highest first. ST_BAD with the reason. */
enum status recipe_parse_sizes(const char *text, struct store_format *f, struct error *e);

/* Takes over the format of a store, to go on with it. What `asked` holds must agree: its sizes unless n_sizes is 0, its codec
 * unless IMAGE_UNKNOWN, its channels unless 0; else ST_BAD. Filter, crop and quality that are not asked for (NULL, 0) are those of
 * the store. */
enum status recipe_adopt(struct recipe *r, const struct store_format *asked, const struct store_format *stored, struct error *e);

/* The size a picture has when upright, from its header. */
enum status record_probe(const struct sample *s, int *width, int *height, struct error *e);

/* Fills r's pictures, key, JSON (with a step when the picture was cropped or resized) and seal; label, hashed and source
 * must be set already. The sample keeps its picture. ST_BAD with the reason. */
enum status record_make(const struct recipe *recipe, struct sample *s, struct store_record *r, struct error *e);

#endif
