/* sample_write.c - samples into a tar stream, by libarchive: ustar, with pax headers only where a name needs them.
 *
 * Equal samples give equal bytes: times, owners and modes are constants. Blocks of 60 KiB (six of tar's records) keep system
 * calls few while a sample still reaches the next stage soon; what a killed program leaves is a stream without end mark,
 * which our reader and tar tell.
 */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/stream/sample.h"
#include "common/stream/sample_internal.h"

struct sample_writer {
    int fd;
    struct archive *tar;
    struct archive_entry *entry;
    locale_t utf8; /* names are UTF-8 to libarchive whatever the user's locale is, so that no other charset is declared */
    bool failed;
};

static la_ssize_t on_write(struct archive *a, void *context, const void *data, size_t size) {
    struct sample_writer *w = context;
    if (w->failed) /* closing after a failure: libarchive must come to its end to free its buffers, but nothing more is written */
        return (la_ssize_t)size;
    for (;;) {
        ssize_t n = write(w->fd, data, size);
        if (n >= 0)
            return n;
        if (errno == EINTR)
            continue;
        w->failed = true;
        archive_set_error(a, errno, "%s", strerror(errno));
        return -1;
    }
}

static enum status failed(struct sample_writer *w, struct error *e) {
    const char *text = archive_error_string(w->tar);
    w->failed = true;
    return st_fail(e, "write sample stream: %s", text ? text : "failed");
}

enum status sample_writer_open(struct sample_writer **w, int fd, struct error *e) {
    *w = xcalloc(1, sizeof **w);
    (*w)->fd = fd;
    (*w)->tar = archive_write_new();
    (*w)->entry = archive_entry_new();
    (*w)->utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    archive_write_add_filter_none((*w)->tar);
    archive_write_set_format_pax_restricted((*w)->tar);
    archive_write_set_bytes_per_block((*w)->tar, 6 * 10240);
    archive_write_set_bytes_in_last_block((*w)->tar, 10240);
    sample__widen_pipe(fd);
    if (archive_write_open((*w)->tar, *w, NULL, on_write, NULL) < ARCHIVE_WARN) {
        enum status st = failed(*w, e);
        sample_writer_close(*w, NULL);
        *w = NULL;
        return st;
    }
    return ST_OK;
}

static enum status write_member(struct sample_writer *w, const char *key, const char *suffix, const void *data, size_t size,
                                struct error *e) {
    char *path = xasprintf("%s%s", key, suffix);
    archive_entry_clear(w->entry);
    archive_entry_copy_pathname(w->entry, path);
    archive_entry_set_size(w->entry, (la_int64_t)size);
    archive_entry_set_filetype(w->entry, AE_IFREG);
    archive_entry_set_perm(w->entry, 0644);
    archive_entry_set_mtime(w->entry, 0, 0);
    free(path);
    locale_t before = w->utf8 ? uselocale(w->utf8) : (locale_t)0; /* of this thread only */
    int code = archive_write_header(w->tar, w->entry);
    if (w->utf8)
        uselocale(before);
    if (code < ARCHIVE_WARN)
        return failed(w, e);
    if (size && archive_write_data(w->tar, data, size) != (la_ssize_t)size)
        return failed(w, e);
    return ST_OK;
}

enum status sample_write(struct sample_writer *w, const struct sample *s, struct error *e) {
    const char *problem = sample__key_problem(s->key);
    if (problem)
        return st_bad(e, "key \"%s\" %s", s->key, problem);
    enum status st = ST_OK;
    if (s->format != IMAGE_UNKNOWN) {
        char suffix[16];
        snprintf(suffix, sizeof suffix, ".%s", image_format_name(s->format));
        st = write_member(w, s->key, suffix, s->picture.data, s->picture.size, e);
    }
    if (!st && s->json) {
        char *text = sample__json_text(s->json);
        st = write_member(w, s->key, ".json", text, strlen(text), e);
        free(text);
    }
    for (int i = 0; !st && i < s->n_extras; i++)
        st = write_member(w, s->key, s->extras[i].suffix, s->extras[i].bytes.data, s->extras[i].bytes.size, e);
    return st;
}

enum status sample_writer_close(struct sample_writer *w, struct error *e) {
    if (!w)
        return ST_OK;
    enum status st = ST_OK;
    bool broken = w->failed; /* then no end mark follows */
    if (archive_write_close(w->tar) < ARCHIVE_WARN || broken)
        st = broken ? st_fail(e, "write sample stream: broken off") : failed(w, e);
    if (w->utf8)
        freelocale(w->utf8);
    archive_entry_free(w->entry);
    archive_write_free(w->tar);
    free(w);
    return st;
}

void sample_writer_cancel(struct sample_writer *w) {
    if (w)
        w->failed = true;
    sample_writer_close(w, NULL);
}
