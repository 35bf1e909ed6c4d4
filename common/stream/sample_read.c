/* sample_read.c - samples from a tar stream, by libarchive.
 *
 * What libarchive leaves to us: grouping members into samples, limits, names that lead out of a folder, and the end. It takes
 * a stream that stops between two members for whole, but that is just what a killed upstream leaves behind, so we look at how
 * far the reader went beyond the last member: an end mark is two blocks of zeros. Streams one behind the other
 * (cat a.tar b.tar) are read as one.
 *
 * A compressed stream takes two readers, one that unpacks it as "raw" data and one for the tar inside, because positions must
 * count unpacked bytes. One member is in memory at a time beside the sample being put together; members arrive in pieces, so
 * a lying size costs nothing.
 */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/stream/sample.h"
#include "common/stream/sample_internal.h"

#define BLOCK 512
#define PIECE ((size_t)256 << 10)
#define NAME_MAX_BYTES 4096

struct sample_reader {
    char *name;                    /* of the stream, for messages */
    int fd;
    uint8_t *piece, *unpacked;     /* buffers of PIECE bytes */
    size_t ready;                  /* bytes of `piece` read ahead to tell what the stream is */
    struct archive *outer, *inner; /* unpacking, or NULL; the tar */
    struct archive_entry *entry;   /* header read, member not yet; NULL when none */
    char path[NAME_MAX_BYTES];     /* of that member, without leading "./" */
    size_t key_size;               /* the key is this many bytes of path */
    int64_t member_end;            /* position in the tar behind the last member and its padding */
    locale_t utf8;                 /* for libarchive, which turns names from and to the locale's charset */
    enum status over;              /* ST_END or ST_FAIL once reached; repeated by later calls */
    struct error why;
};

enum status sample_reader_open(struct sample_reader **r, int fd, const char *name, struct error *e) {
    (void)e;
    *r = xcalloc(1, sizeof **r);
    (*r)->fd = fd;
    (*r)->name = xstrdup(name);
    (*r)->piece = xmalloc(PIECE);
    (*r)->utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    sample__widen_pipe(fd);
    return ST_OK;
}

void sample_reader_close(struct sample_reader *r) {
    if (!r)
        return;
    archive_read_free(r->inner);
    archive_read_free(r->outer);
    if (r->utf8)
        freelocale(r->utf8);
    free(r->piece);
    free(r->unpacked);
    free(r->name);
    free(r);
}

/* ---- bytes ---- */

static ssize_t read_piece(struct sample_reader *r, size_t from) {
    ssize_t n;
    do
        n = read(r->fd, r->piece + from, PIECE - from);
    while (n < 0 && errno == EINTR);
    return n;
}

static la_ssize_t on_read(struct archive *a, void *context, const void **data) {
    struct sample_reader *r = context;
    *data = r->piece;
    if (r->ready) {
        la_ssize_t n = (la_ssize_t)r->ready;
        r->ready = 0;
        return n;
    }
    ssize_t n = read_piece(r, 0);
    if (n < 0)
        archive_set_error(a, errno, "read: %s", strerror(errno));
    return n;
}

static la_ssize_t on_read_unpacked(struct archive *a, void *context, const void **data) {
    struct sample_reader *r = context;
    *data = r->unpacked;
    la_ssize_t n = archive_read_data(r->outer, r->unpacked, PIECE);
    if (n < 0) {
        archive_set_error(a, EIO, "unpack: %s", archive_error_string(r->outer));
        return -1;
    }
    return n;
}

__attribute__((format(printf, 2, 3))) static enum status over(struct sample_reader *r, const char *format, ...) {
    va_list args;
    va_start(args, format);
    char text[sizeof r->why.text];
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return r->over = st_fail(&r->why, "%s: %s", r->name, text);
}

static const char *reason(struct archive *a) {
    const char *text = archive_error_string(a);
    return text ? text : "unknown error";
}

/* Looks at the first bytes and sets up one reader or two. */
static enum status start(struct sample_reader *r) {
    ssize_t n = 1;
    while (r->ready < BLOCK && n > 0)
        if ((n = read_piece(r, r->ready)) > 0)
            r->ready += (size_t)n;
    if (n < 0)
        return over(r, "read: %s", strerror(errno));
    if (!r->ready)
        return over(r, "no tar stream: it is empty");
    bool packed = r->ready >= 4 && (!memcmp(r->piece, "\x1f\x8b", 2) || !memcmp(r->piece, "\x28\xb5\x2f\xfd", 4));
    r->inner = archive_read_new();
    archive_read_support_filter_none(r->inner);
    archive_read_support_format_tar(r->inner);
    archive_read_set_format_option(r->inner, "tar", "read_concatenated_archives", "1");
    if (packed) {
        struct archive_entry *entry;
        r->unpacked = xmalloc(PIECE);
        r->outer = archive_read_new();
        archive_read_support_filter_gzip(r->outer);
        archive_read_support_filter_zstd(r->outer);
        archive_read_support_format_raw(r->outer);
        archive_read_support_format_empty(r->outer);
        int code = archive_read_open(r->outer, r, NULL, on_read, NULL);
        if (code >= ARCHIVE_WARN)
            code = archive_read_next_header(r->outer, &entry);
        if (code < ARCHIVE_WARN)
            return over(r, "no tar stream: %s", reason(r->outer));
    }
    const char *looks = image_looks_like(r->piece, r->ready);
    if (archive_read_open(r->inner, r, NULL, packed ? on_read_unpacked : on_read, NULL) < ARCHIVE_WARN) {
        if (packed)
            return over(r, "no tar stream in %s: %s", looks, reason(r->inner));
        return over(r, "no tar stream but %s", looks);
    }
    return ST_OK;
}

/* ---- members ---- */

static int64_t position(struct sample_reader *r) { return archive_filter_bytes(r->inner, 0); }

/* Reads headers up to the next file; on ST_OK entry, path and key_size are set. */
static enum status next_member(struct sample_reader *r) {
    for (;;) {
        bool first = position(r) == 0;
        if (r->entry) { /* also moves over what is left of the member and its padding; an error shows again below */
            archive_read_data_skip(r->inner);
            r->member_end = position(r);
        }
        int code = archive_read_next_header(r->inner, &r->entry);
        if (code == ARCHIVE_EOF) {
            r->entry = NULL;
            if (position(r) - r->member_end < 2 * BLOCK)
                return over(r, "truncated tar stream: no end mark after %lld bytes; the program that writes it ended early",
                            (long long)position(r));
            return r->over = ST_END;
        }
        if (code < ARCHIVE_WARN) {
            r->entry = NULL;
            if (first)
                return over(r, "no tar stream: %s", reason(r->inner));
            if (strstr(reason(r->inner), "Truncated"))
                return over(r, "truncated tar stream after %lld bytes; the program that writes it ended early", (long long)position(r));
            return over(r, "damaged tar stream near byte %lld: %s", (long long)position(r), reason(r->inner));
        }
        if (archive_entry_filetype(r->entry) == AE_IFDIR)
            continue;
        const char *path = archive_entry_pathname_utf8(r->entry);
        if (!path) /* bytes that are no UTF-8: as they are */
            path = archive_entry_pathname(r->entry);
        if (!path)
            path = "?";
        while (path[0] == '.' && path[1] == '/')
            path += 2;
        const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path, *dot = strchr(base, '.');
        if (dot == base && (base[0] == '.' && strcmp(base, "..")))
            continue; /* hidden files: editors' and file managers' own, no sample */
        snprintf(r->path, sizeof r->path, "%s", path);
        r->key_size = dot ? (size_t)(dot - path) : strlen(path);
        if (r->key_size >= sizeof r->path)
            r->key_size = sizeof r->path - 1;
        return ST_OK;
    }
}

/* The data of the current member, at most `limit` bytes. ST_BAD: too large, and skipped. */
static enum status read_member(struct sample_reader *r, size_t limit, struct bytes *out, struct error *e) {
    int64_t claimed = archive_entry_size(r->entry);
    if (claimed < 0 || (uint64_t)claimed > limit) /* next_member skips it */
        return st_bad(e, "member %s: %lld bytes are over the limit of %zu", r->path, (long long)claimed, limit);
    out->size = 0;
    while (out->size < (size_t)claimed) {
        size_t want = (size_t)claimed - out->size;
        if (want > (size_t)16 << 20)
            want = (size_t)16 << 20; /* the claim is believed in steps */
        bytes_reserve(out, out->size + want);
        la_ssize_t n = archive_read_data(r->inner, out->data + out->size, want);
        if (n <= 0) {
            const char *text = n < 0 ? reason(r->inner) : "ends early";
            if (n == 0 || strstr(text, "Truncated"))
                return over(r, "truncated tar stream in member %s (%zu of %lld bytes); the program that writes it ended early", r->path,
                            out->size, (long long)claimed);
            return over(r, "damaged tar stream in member %s: %s", r->path, text);
        }
        out->size += (size_t)n;
    }
    return ST_OK;
}

/* ---- samples ---- */

static enum status take_picture(struct sample *s, struct bytes *data, const char *suffix, struct error *e) {
    if (s->format != IMAGE_UNKNOWN)
        return st_bad(e, "two pictures: .%s and %s", image_format_name(s->format), suffix);
    s->format = image_detect(data->data, data->size);
    if (s->format == IMAGE_UNKNOWN)
        s->format = image_format_by_name(suffix); /* decoding will say what it is instead */
    s->picture = *data;
    *data = (struct bytes){0};
    return ST_OK;
}

static enum status take_json(struct sample *s, const struct bytes *data, struct error *e) {
    if (s->json)
        return st_bad(e, "two .json members");
    cJSON *json = data->size ? cJSON_ParseWithLength((const char *)data->data, data->size) : NULL;
    if (!cJSON_IsObject(json)) {
        bool parsed = json != NULL;
        cJSON_Delete(json);
        return st_bad(e, parsed ? ".json: not an object" : ".json: not valid JSON");
    }
    s->json = json;
    return ST_OK;
}

static enum status take_extra(struct sample *s, struct bytes *data, const char *suffix, struct error *e) {
    for (int i = 0; i < s->n_extras; i++)
        if (!strcmp(s->extras[i].suffix, suffix))
            return st_bad(e, "two %s members", *suffix ? suffix : "unnamed");
    if (s->n_extras == SAMPLE_EXTRAS_MAX)
        return st_bad(e, "more than %d members beside picture and JSON", SAMPLE_EXTRAS_MAX);
    s->extras = xrealloc(s->extras, (size_t)(s->n_extras + 1) * sizeof *s->extras);
    s->extras[s->n_extras++] = (struct sample_member){xstrdup(suffix), *data};
    *data = (struct bytes){0};
    return ST_OK;
}

static bool is_picture_suffix(const char *suffix) {
    return *suffix == '.' && !strchr(suffix + 1, '.') && image_format_by_name(suffix) != IMAGE_UNKNOWN;
}

/* Reads the current member into the sample. left: how much the sample may still take in. */
static enum status take_member(struct sample_reader *r, struct sample *s, size_t *left, struct error *e) {
    const char *suffix = r->path + r->key_size;
    if (archive_entry_filetype(r->entry) != AE_IFREG || archive_entry_hardlink(r->entry))
        return st_bad(e, "member %s is a link or a device, not a file", r->path);
    bool json = !strcmp(suffix, ".json");
    struct bytes data = {0};
    enum status st = read_member(r, json && *left > SAMPLE_JSON_MAX ? SAMPLE_JSON_MAX : *left, &data, e);
    if (!st) {
        *left -= data.size;
        st = is_picture_suffix(suffix) ? take_picture(s, &data, suffix, e)
             : json                    ? take_json(s, &data, e)
                                       : take_extra(s, &data, suffix, e);
    }
    bytes_free(&data);
    return st;
}

static enum status give_over(const struct sample_reader *r, struct error *e) {
    if (r->over == ST_FAIL && e)
        *e = r->why;
    return r->over;
}

static enum status read_sample(struct sample_reader *r, struct sample *s, struct error *e) {
    sample_free(s);
    if (!r->over && !r->inner && start(r))
        return give_over(r, e);
    if (!r->over && !r->entry)
        next_member(r);
    if (r->over)
        return give_over(r, e);

    struct error first = {""}; /* of the things wrong with this sample */
    enum status st = ST_OK;
    char *key = strndup(r->path, r->key_size);
    const char *problem = sample__key_problem(key);
    if (problem)
        st = st_bad(&first, "key %s", problem);
    else if (r->key_size >= SAMPLE_KEY_MAX)
        st = st_bad(&first, "key of %zu bytes is over the limit of %d", r->key_size, SAMPLE_KEY_MAX - 1);
    snprintf(s->key, sizeof s->key, "%s", key);
    size_t left = IMAGE_MAX_FILE;
    while (!r->over && strlen(key) == r->key_size && !memcmp(key, r->path, r->key_size)) {
        struct error why = {""};
        enum status member = take_member(r, s, &left, &why);
        if (member && !st) {
            st = member;
            first = why;
        }
        if (!r->over)
            next_member(r);
    }
    free(key);
    if (r->over == ST_FAIL) /* nobody knows whether this sample had more members: do not hand out half of it */
        return give_over(r, e);
    if (st == ST_BAD && e)
        *e = first;
    return st;
}

enum status sample_read(struct sample_reader *r, struct sample *s, struct error *e) {
    locale_t before = r->utf8 ? uselocale(r->utf8) : (locale_t)0; /* of this thread only */
    enum status st = read_sample(r, s, e);
    if (r->utf8)
        uselocale(before);
    return st;
}
