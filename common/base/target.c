/* target.c - see target.h. A program has one to three of these files under way at a time: those beyond the table are only not
 * tidied up after. Whoever takes a name out of the table owns it, so that a handler never reads what another thread frees.
 */
#include "common/base/target.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/mem.h"

static _Atomic(char *) begun[64];
static atomic_bool ending; /* names may have been taken out by target_drop_all */

enum status target_check(const char *path, struct error *e) {
    struct stat st;
    if (stat(path, &st) || S_ISREG(st.st_mode))
        return ST_OK;
    return st_fail(e, "write %s: %s", path, S_ISDIR(st.st_mode) ? "it is a folder" : "it is no regular file, and would be replaced by one");
}

char *target_begin(const char *path) {
    char *temporary = xasprintf("%s.tmp-%ld", path, (long)getpid()), *none = NULL;
    for (size_t i = 0; i < sizeof begun / sizeof *begun; i++, none = NULL)
        if (atomic_compare_exchange_strong(&begun[i], &none, temporary))
            break;
    return temporary;
}

static void forget(char *temporary) {
    char *own = temporary;
    for (size_t i = 0; i < sizeof begun / sizeof *begun; i++, own = temporary)
        if (atomic_compare_exchange_strong(&begun[i], &own, NULL)) {
            free(temporary);
            return;
        }
    if (!atomic_load(&ending)) /* not there because the table was full, and not because a handler has it */
        free(temporary);
}

bool target_keep(char *temporary, const char *path) {
    bool renamed = rename(temporary, path) == 0;
    if (renamed)
        forget(temporary);
    else
        target_drop(temporary);
    return renamed;
}

void target_drop(char *temporary) {
    int saved = errno;
    if (temporary) {
        unlink(temporary);
        forget(temporary);
    }
    errno = saved;
}

void target_drop_all(void) {
    atomic_store(&ending, true);
    for (size_t i = 0; i < sizeof begun / sizeof *begun; i++) {
        char *temporary = atomic_exchange(&begun[i], NULL);
        if (temporary)
            unlink(temporary);
    }
}
