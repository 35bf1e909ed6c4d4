/* folders.c - see folders.h. */
#include "common/base/folders.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/mem.h"

static enum status make(const char *path, struct error *e) {
    return mkdir(path, 0777) != 0 && errno != EEXIST ? st_fail(e, "make folder %s: %s", path, strerror(errno)) : ST_OK;
}

enum status folders_make_above(const char *path, struct error *e) {
    char *part = xstrdup(path);
    enum status st = ST_OK;
    for (char *p = part; st == ST_OK && *p; p++)
        if (*p == '/' && p > part) {
            *p = '\0';
            st = make(part, e);
            *p = '/';
        }
    free(part);
    return st;
}

enum status folders_make(const char *path, struct error *e) {
    enum status st = folders_make_above(path, e);
    return st == ST_OK ? make(path, e) : st;
}
