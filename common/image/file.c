/* file.c - whole files in and out of memory; what is written has its name only when it is complete. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/target.h"
#include "common/image/image.h"

enum status file_read(const char *path, size_t limit, struct bytes *out, struct error *e) {
    struct stat st;
    out->size = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return st_bad(e, "open: %s", strerror(errno));
    enum status result = ST_OK;
    if (!fstat(fd, &st) && S_ISDIR(st.st_mode)) {
        result = st_bad(e, "is a folder");
        goto done;
    }
    if (S_ISREG(st.st_mode) && (uint64_t)st.st_size > limit) {
        result = st_bad(e, "%lld bytes are over the limit of %zu", (long long)st.st_size, limit);
        goto done;
    }
    size_t piece = S_ISREG(st.st_mode) && st.st_size > 0 ? (size_t)st.st_size + 1 : 1 << 16; /* + 1: the end is seen at once */
    for (;;) {
        if (out->room - out->size < piece)
            bytes_reserve(out, out->size + piece);
        ssize_t n = read(fd, out->data + out->size, out->room - out->size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            result = st_bad(e, "read: %s", strerror(errno));
            break;
        }
        if (n == 0)
            break;
        out->size += (size_t)n;
        if (out->size > limit) { /* a pipe, or a file that grows */
            result = st_bad(e, "more than the limit of %zu bytes", limit);
            break;
        }
        piece = 1;
        if (out->size == out->room)
            piece = out->size < 1 << 16 ? 1 << 16 : out->size;
    }
done:
    close(fd);
    return result;
}

static bool write_all(int fd, const uint8_t *p, size_t n) {
    while (n) {
        ssize_t w = write(fd, p, n > 1 << 30 ? 1 << 30 : n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0)
            return false;
        p += w, n -= (size_t)w;
    }
    return true;
}

enum status file_write_renamed(const char *path, const void *data, size_t size, bool sync, struct error *e) {
    enum status st = target_check(path, e);
    if (st != ST_OK)
        return st;
    char *temporary = target_begin(path);
    const char *what = "make";
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    bool ok = fd >= 0;
    if (ok) {
        what = "write";
        ok = write_all(fd, data, size) && (!sync || fsync(fd) == 0);
        int saved = errno;
        if (close(fd) && ok)
            ok = false;
        else if (!ok)
            errno = saved;
    }
    if (ok) {
        what = "rename to";
        ok = target_keep(temporary, path);
    } else {
        target_drop(temporary);
    }
    return ok ? ST_OK : st_fail(e, "%s %s: %s", what, path, strerror(errno));
}

enum status file_write_atomic(const char *path, const void *data, size_t size, struct error *e) {
    return file_write_renamed(path, data, size, true, e);
}
