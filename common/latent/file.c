/* file.c - see file.h. Zip by libarchive. A projection of a 1024x1024 network is 37 KB, and floats hardly shrink: an archive that unpacks
 * to very much more than itself (all zeros shrink a thousandfold) was made to fill disks. */
#include "common/latent/file.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/stream/npy.h"

#define LATENT_ZIP_SLACK ((int64_t)64 << 20)
#define LATENT_ZIP_RATIO 100

static const char *reason(struct archive *a) { return archive_error_string(a) ? archive_error_string(a) : "damaged archive"; }

/* The member under way replaces what is in f. */
static enum status unpack(struct archive *a, int64_t most, FILE *f, struct error *e) {
    const void *block;
    size_t size;
    la_int64_t offset, at = 0;
    int r;
    if (fseek(f, 0, SEEK_SET) || ftruncate(fileno(f), 0))
        return st_fail(e, "temporary file: %s", strerror(errno));
    while ((r = archive_read_data_block(a, &block, &size, &offset)) == ARCHIVE_OK) {
        if (offset != at || (la_int64_t)size > most - at)
            return st_fail(e, "an array is larger than %lld bytes", (long long)most);
        if (size && fwrite(block, 1, size, f) != size) /* an empty block is at no address */
            return st_fail(e, "temporary file: %s", strerror(errno));
        at += (la_int64_t)size;
    }
    if (r != ARCHIVE_EOF)
        return st_fail(e, "%s", reason(a));
    return fflush(f) ? st_fail(e, "temporary file: %s", strerror(errno)) : ST_OK;
}

static enum status find_array(struct archive *a, int64_t most, FILE *f, struct error *e) {
    struct archive_entry *entry;
    bool found = false;
    int arrays = 0, r = ARCHIVE_OK;
    enum status st = ST_OK;
    while (st == ST_OK && !found && (r = archive_read_next_header(a, &entry)) >= ARCHIVE_WARN && r != ARCHIVE_EOF) {
        const char *name = archive_entry_pathname(entry);
        size_t n = name ? strlen(name) : 0;
        if (n <= 4 || strcmp(name + n - 4, ".npy"))
            continue;
        found = !strcmp(name, "w.npy");
        if (found || !arrays++)
            st = unpack(a, most, f, e);
    }
    if (st != ST_OK || found || arrays == 1)
        return st;
    if (r != ARCHIVE_EOF)
        return st_fail(e, "%s", reason(a));
    return st_fail(e, arrays ? "%d arrays, and none of them is w" : "an archive without arrays", arrays);
}

enum status latent_open(FILE **out, const char *path, struct error *e) {
    FILE *f = fopen(path, "rb"), *array = NULL;
    struct stat info;
    char head[4];
    *out = NULL;
    if (!f)
        return st_fail(e, "%s: %s", path, strerror(errno));
    bool file = !fstat(fileno(f), &info) && S_ISREG(info.st_mode); /* a pipe cannot give back what was looked at */
    bool zip = file && fread(head, 1, 4, f) == 4 && !memcmp(head, "PK\3\4", 4);
    if (!zip) {
        if (file)
            rewind(f);
        *out = f;
        return ST_OK;
    }
    fclose(f);
    struct archive *a = archive_read_new();
    archive_read_support_format_zip_seekable(a);
    enum status st = archive_read_open_filename(a, path, 1 << 16) != ARCHIVE_OK ? st_fail(e, "%s", reason(a)) : ST_OK;
    if (st == ST_OK && !(array = tmpfile()))
        st = st_fail(e, "temporary file: %s", strerror(errno));
    if (st == ST_OK) {
        int64_t most = LATENT_ZIP_SLACK + LATENT_ZIP_RATIO * (int64_t)info.st_size;
        st = find_array(a, most < NPY_MAX_BYTES ? most : NPY_MAX_BYTES, array, e);
    }
    archive_read_free(a);
    if (st != ST_OK) {
        if (array)
            fclose(array);
        return st_prefix(st, e, "%s", path);
    }
    rewind(array);
    *out = array;
    return ST_OK;
}

enum status latent_open_stream(FILE **f, const char *path, struct error *e) {
    *f = stdin;
    return strcmp(path, "-") ? latent_open(f, path, e) : ST_OK;
}

const char *latent_stream_name(const char *path) { return strcmp(path, "-") ? path : "stdin"; }

void latent_close_stream(FILE *f) {
    if (f && f != stdin)
        fclose(f);
}
