/* installed.c - see installed.h. */
#include "common/base/installed.h"

#include <string.h>
#include <unistd.h>

#include "common/base/mem.h"

char *installed_path(const char *relative) {
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n < 0)
        return xstrdup(relative);
    self[n] = 0;
    char *slash = strrchr(self, '/');
    if (slash)
        *slash = 0;
    return xasprintf("%s/../%s", self, relative);
}
