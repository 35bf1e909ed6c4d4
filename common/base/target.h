/* target.h - files that are replaced as a whole: written under a temporary name beside them and renamed.
 *
 *     char *temporary = target_begin(path);                 // "PATH.tmp-PID"; the caller makes that file, writes and closes it
 *     if (written)
 *         renamed = target_keep(temporary, path);           // now it is PATH
 *     else
 *         target_drop(temporary);                           // now it is gone
 *
 * A program that ends in between leaves none of them: cli_start sees to it that target_drop_all is called at exit() and by the signals
 * that end a program. Only SIGKILL and a power cut leave one. All of this is thread-safe.
 */
#ifndef FACEMILL_TARGET_H
#define FACEMILL_TARGET_H

#include <stdbool.h>

#include "common/base/status.h"

/* ST_OK when there is no such path or a regular file there; anything else (a folder, a device such as /dev/null, which root could
 * replace and no program would find again) fails, before anything is written. */
enum status target_check(const char *path, struct error *e);

/* The temporary name for a file that is to become `path`; it belongs to the one of the two below that is called for it. */
char *target_begin(const char *path);
/* Renames the file, which is complete and closed (or at least flushed). False with errno set when that fails: then it is removed. */
bool target_keep(char *temporary, const char *path);
/* Removes it, made or not. errno stays; NULL is fine. */
void target_drop(char *temporary);
/* Removes every file that was begun and is neither kept nor dropped. Fit for a signal handler; frees nothing. */
void target_drop_all(void);

#endif
