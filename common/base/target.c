/* target.c - see target.h. */
#include "common/base/target.h"

#include <sys/stat.h>

enum status target_check(const char *path, struct error *e) {
    struct stat st;
    if (stat(path, &st) || S_ISREG(st.st_mode))
        return ST_OK;
    return st_fail(e, "write %s: %s", path, S_ISDIR(st.st_mode) ? "it is a folder" : "it is no regular file, and would be replaced by one");
}
