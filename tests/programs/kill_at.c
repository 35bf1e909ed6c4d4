/* For LD_PRELOAD: the process kills itself instead of making the KILL_AT-th change of a folder (rename or unlinkat, counted from 1). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>

static void count(void) {
    static int calls;
    const char *at = getenv("KILL_AT");
    if (at && ++calls == atoi(at))
        raise(SIGKILL);
}

int rename(const char *from, const char *to) {
    count();
    return ((int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename"))(from, to);
}

int unlinkat(int folder, const char *name, int flags) {
    count();
    return ((int (*)(int, const char *, int))dlsym(RTLD_NEXT, "unlinkat"))(folder, name, flags);
}
