/* target.h - files that are replaced as a whole: written under a temporary name beside them and renamed. */
#ifndef FACEMILL_TARGET_H
#define FACEMILL_TARGET_H

#include "common/base/status.h"

/* ST_OK when there is no such path or a regular file there; anything else (a folder, a device such as /dev/null, which root could
 * replace and no program would find again) fails, before anything is written. */
enum status target_check(const char *path, struct error *e);

#endif
