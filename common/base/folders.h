/* folders.h - folders with all that are above them. */
#ifndef FACEMILL_FOLDERS_H
#define FACEMILL_FOLDERS_H

#include "common/base/status.h"

/* Makes the folder and its parents; what is there already is fine, whatever it is. ST_FAIL names the one that cannot be made. */
enum status folders_make(const char *path, struct error *e);
/* Those above a file: all of "a/b" for "a/b/file". */
enum status folders_make_above(const char *path, struct error *e);

#endif
