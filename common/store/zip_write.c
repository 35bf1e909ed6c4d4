/* zip_write.c - see zip_write.h. By libarchive, which goes over to zip64 by itself. */
#include "common/store/zip_write.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/mem.h"
#include "common/base/target.h"

#define ZIP_EPOCH 315532800 /* 1980-01-01 */

struct zip_writer {
    struct archive *archive;
    char *path, *temporary;
    int fd;
};

enum status zip_create(struct zip_writer **out, const char *path, struct error *e) {
    *out = NULL;
    if (target_check(path, e) != ST_OK)
        return ST_FAIL;
    struct zip_writer *z = xcalloc(1, sizeof *z);
    z->path = xstrdup(path);
    z->temporary = target_begin(path);
    z->fd = open(z->temporary, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (z->fd < 0) {
        enum status st = st_fail(e, "make %s: %s", path, strerror(errno));
        zip_discard(z);
        return st;
    }
    z->archive = archive_write_new();
    archive_write_set_format_zip(z->archive);
    archive_write_zip_set_compression_store(z->archive);
    archive_write_set_bytes_in_last_block(z->archive, 1);
    if (archive_write_open_fd(z->archive, z->fd) != ARCHIVE_OK) {
        enum status st = st_fail(e, "write %s: %s", path, archive_error_string(z->archive));
        zip_discard(z);
        return st;
    }
    *out = z;
    return ST_OK;
}

enum status zip_add_two(struct zip_writer *z, const char *name, const void *first, size_t first_size, const void *second, size_t second_size,
                        struct error *e) {
    struct archive_entry *entry = archive_entry_new();
    archive_entry_set_pathname(entry, name);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_mtime(entry, ZIP_EPOCH, 0);
    archive_entry_set_size(entry, (la_int64_t)(first_size + second_size));
    bool ok = archive_write_header(z->archive, entry) == ARCHIVE_OK &&
              (!first_size || archive_write_data(z->archive, first, first_size) == (la_ssize_t)first_size) &&
              (!second_size || archive_write_data(z->archive, second, second_size) == (la_ssize_t)second_size);
    archive_entry_free(entry);
    return ok ? ST_OK : st_fail(e, "write %s: %s", z->path, archive_error_string(z->archive));
}

enum status zip_add(struct zip_writer *z, const char *name, const void *data, size_t size, struct error *e) {
    return zip_add_two(z, name, data, size, NULL, 0, e);
}

enum status zip_close(struct zip_writer *z, struct error *e) {
    enum status st = ST_OK;
    if (archive_write_close(z->archive) != ARCHIVE_OK)
        st = st_fail(e, "write %s: %s", z->path, archive_error_string(z->archive));
    else if (fsync(z->fd))
        st = st_fail(e, "write %s: %s", z->path, strerror(errno));
    if (st == ST_OK) {
        if (!target_keep(z->temporary, z->path))
            st = st_fail(e, "write %s: %s", z->path, strerror(errno));
        z->temporary = NULL;
    }
    zip_discard(z);
    return st;
}

void zip_discard(struct zip_writer *z) {
    if (!z)
        return;
    if (z->archive)
        archive_write_free(z->archive); /* may still write: before the file goes */
    if (z->fd >= 0)
        close(z->fd);
    target_drop(z->temporary);
    free(z->path);
    free(z);
}
