/* zip_write.h - zip archives written member by member, whole or not at all: under a temporary name, synced, renamed when closed.
 *
 * Members are stored as they are: what goes in here (pictures, weights) does not compress. Their time is 1980, the zip epoch, so that
 * equal contents are equal bytes. Memory does not grow with the archive but for its table of members.
 */
#ifndef FACEMILL_ZIP_WRITE_H
#define FACEMILL_ZIP_WRITE_H

#include <stddef.h>

#include "common/base/status.h"

struct zip_writer;

enum status zip_create(struct zip_writer **z, const char *path, struct error *e);
enum status zip_add(struct zip_writer *z, const char *name, const void *data, size_t size, struct error *e);
/* The same in two pieces, one behind the other. */
enum status zip_add_two(struct zip_writer *z, const char *name, const void *first, size_t first_size, const void *second, size_t second_size,
                        struct error *e);
enum status zip_close(struct zip_writer *z, struct error *e); /* frees z in any case */
void zip_discard(struct zip_writer *z);                       /* nothing remains; NULL is fine */

#endif
