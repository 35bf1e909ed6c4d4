/* statistics.c - see statistics.h. Zip by libarchive; members are stored, not deflated: covariances do not compress. */
#include "common/metrics/statistics.h"

#include <archive.h>
#include <archive_entry.h>
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/image/image.h"
#include "common/stream/npy.h"

#define MAX_FILE ((size_t)1 << 30)
#define MAX_SMALL ((size_t)1 << 20) /* bytes of a member other than sigma */

void statistics_free(struct statistics *s) {
    free(s->mu);
    free(s->sigma);
    *s = (struct statistics){0};
}

/* ---- reading ---- */

static enum status read_member(struct archive *a, size_t limit, struct bytes *out, struct error *e) {
    const void *block;
    size_t size;
    la_int64_t offset;
    int r;
    while ((r = archive_read_data_block(a, &block, &size, &offset)) == ARCHIVE_OK) {
        if (offset != (la_int64_t)out->size || size > limit - out->size)
            return st_bad(e, "%s is larger than %zu bytes", "a member", limit);
        bytes_append(out, block, size);
    }
    return r == ARCHIVE_EOF ? ST_OK : st_bad(e, "%s", archive_error_string(a) ? archive_error_string(a) : "damaged archive");
}

static void copy_text(char *to, size_t room, const cJSON *object, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (cJSON_IsString(item))
        snprintf(to, room, "%s", item->valuestring);
}

/* The payload of `facemill`: uint8 .npy whose data is JSON. npy_parse would widen it; the text follows the header. */
static void read_description(struct statistics *s, const struct bytes *b) {
    for (size_t at = 0; at + 1 < b->size; at++)
        if (b->data[at] == '\n') {
            cJSON *o = cJSON_ParseWithLength((const char *)b->data + at + 1, b->size - at - 1);
            copy_text(s->features, sizeof s->features, o, "features");
            copy_text(s->extractor_hash, sizeof s->extractor_hash, o, "extractor_sha256");
            copy_text(s->preprocessing, sizeof s->preprocessing, o, "preprocessing");
            copy_text(s->content_hash, sizeof s->content_hash, o, "content_sha256");
            copy_text(s->source, sizeof s->source, o, "source");
            copy_text(s->pictures, sizeof s->pictures, o, "pictures");
            copy_text(s->precision, sizeof s->precision, o, "precision");
            copy_text(s->sizes, sizeof s->sizes, o, "sizes");
            copy_text(s->codecs, sizeof s->codecs, o, "codecs");
            copy_text(s->filters, sizeof s->filters, o, "filters");
            const cJSON *divisor = cJSON_GetObjectItemCaseSensitive(o, "covariance");
            s->biased = cJSON_IsString(divisor) && !strcmp(divisor->valuestring, "n");
            cJSON_Delete(o);
            return;
        }
}

static enum status take_array(const struct bytes *b, int ndim, int *dim, double **out, const char *name, struct error *e) {
    struct npy a = {0};
    enum status st = npy_parse(b->data, b->size, NPY_F64, &a, e);
    if (st != ST_OK)
        return st_prefix(st, e, "%s", name);
    bool shape = a.ndim == ndim && a.dim[0] >= 1 && a.dim[0] <= STATISTICS_MAX_DIM && (ndim == 1 || a.dim[0] == a.dim[1]);
    for (int64_t i = 0; shape && i < a.count; i++)
        if (!isfinite(a.f64[i])) {
            npy_free(&a);
            return st_bad(e, "%s holds a number that is not finite", name);
        }
    if (shape) {
        *dim = (int)a.dim[0];
        free(*out);
        *out = a.f64;
        a.f64 = NULL;
    }
    npy_free(&a);
    return shape ? ST_OK : st_bad(e, "%s has another shape than %s of at most %d", name, ndim == 1 ? "[d]" : "[d,d]", STATISTICS_MAX_DIM);
}

static enum status take_member(struct statistics *s, struct archive *a, const char *name, int dims[2], struct error *e) {
    struct bytes b = {0};
    bool large = !strcmp(name, "sigma.npy");
    enum status st = read_member(a, large ? (size_t)STATISTICS_MAX_DIM * STATISTICS_MAX_DIM * 8 + 4096 : MAX_SMALL, &b, e);
    if (st != ST_OK)
        st = st_prefix(st, e, "%s", name);
    else if (large)
        st = take_array(&b, 2, &dims[1], &s->sigma, "sigma", e);
    else if (!strcmp(name, "mu.npy"))
        st = take_array(&b, 1, &dims[0], &s->mu, "mu", e);
    else if (!strcmp(name, "count.npy")) {
        struct npy n = {0};
        if ((st = npy_parse(b.data, b.size, NPY_F64, &n, e)) == ST_OK && n.count == 1 && n.f64[0] >= 0 && n.f64[0] < 1e15)
            s->count = (int64_t)n.f64[0];
        npy_free(&n);
    } else
        read_description(s, &b);
    bytes_free(&b);
    return st;
}

static enum status parse(struct statistics *s, struct archive *a, struct error *e) {
    struct archive_entry *entry;
    int r, dims[2] = {0};
    while ((r = archive_read_next_header(a, &entry)) != ARCHIVE_EOF) {
        if (r < ARCHIVE_WARN)
            return st_bad(e, "%s", archive_error_string(a) ? archive_error_string(a) : "damaged archive");
        const char *name = archive_entry_pathname(entry);
        if (!name || (strcmp(name, "mu.npy") && strcmp(name, "sigma.npy") && strcmp(name, "count.npy") && strcmp(name, "facemill.npy")))
            continue;
        enum status st = take_member(s, a, name, dims, e);
        if (st != ST_OK)
            return st;
    }
    if (!s->mu || !s->sigma)
        return st_bad(e, "no statistics: the arrays mu and sigma are missing");
    if (dims[0] != dims[1])
        return st_bad(e, "mu has %d numbers, sigma is %d x %d", dims[0], dims[1], dims[1]);
    s->dim = dims[0];
    return ST_OK;
}

enum status statistics_parse(struct statistics *s, const void *bytes, size_t size, const char *name, struct error *e) {
    *s = (struct statistics){0};
    struct archive *a = archive_read_new();
    enum status st;
    archive_read_support_format_zip_seekable(a);
    if (archive_read_open_memory(a, bytes, size) != ARCHIVE_OK)
        st = st_bad(e, "%s", archive_error_string(a) ? archive_error_string(a) : "no .npz file");
    else
        st = parse(s, a, e);
    archive_read_free(a);
    if (st == ST_OK) {
        if (!s->source[0])
            snprintf(s->source, sizeof s->source, "%s", name);
        return ST_OK;
    }
    statistics_free(s);
    return st_prefix(st, e, "%s", name);
}

enum status statistics_read(struct statistics *s, const char *path, struct error *e) {
    struct bytes b = {0};
    *s = (struct statistics){0};
    enum status st = file_read(path, MAX_FILE, &b, e);
    if (st == ST_OK)
        st = statistics_parse(s, b.data, b.size, path, e);
    bytes_free(&b);
    return st;
}

/* ---- writing ---- */

/* One .npy member: header padded so that the data starts at a multiple of 64. */
static bool add_member(struct archive *a, const char *name, const char *descr, const char *shape, const void *data, size_t size) {
    char header[128];
    int n = snprintf(header + 10, 118, "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", descr, shape);
    memcpy(header, "\x93NUMPY\1\0\x76\0", 10);
    memset(header + 10 + n, ' ', 128 - 10 - n);
    header[127] = '\n';

    struct archive_entry *entry = archive_entry_new();
    archive_entry_set_pathname(entry, name);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_mtime(entry, 315532800, 0); /* 1980, the zip epoch: equal statistics are equal bytes */
    archive_entry_set_size(entry, (la_int64_t)(128 + size));
    bool ok = archive_write_header(a, entry) == ARCHIVE_OK && archive_write_data(a, header, 128) == 128 &&
              archive_write_data(a, data, size) == (la_ssize_t)size;
    archive_entry_free(entry);
    return ok;
}

static la_ssize_t to_bytes(struct archive *a, void *out, const void *data, size_t size) {
    (void)a;
    bytes_append(out, data, size);
    return (la_ssize_t)size;
}

static char *describe(const struct statistics *s) {
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "features", s->features);
    cJSON_AddStringToObject(o, "extractor_sha256", s->extractor_hash);
    cJSON_AddStringToObject(o, "preprocessing", s->preprocessing);
    cJSON_AddStringToObject(o, "covariance", s->biased ? "n" : "n-1");
    cJSON_AddNumberToObject(o, "count", (double)s->count);
    cJSON_AddStringToObject(o, "content_sha256", s->content_hash);
    cJSON_AddStringToObject(o, "source", s->source);
    cJSON_AddStringToObject(o, "pictures", s->pictures);
    cJSON_AddStringToObject(o, "precision", s->precision);
    cJSON_AddStringToObject(o, "sizes", s->sizes);
    cJSON_AddStringToObject(o, "codecs", s->codecs);
    cJSON_AddStringToObject(o, "filters", s->filters);
    cJSON_AddStringToObject(o, "program", "facemill " FACEMILL_VERSION);
    char *text = cJSON_PrintUnformatted(o);
    cJSON_Delete(o);
    return text;
}

enum status statistics_write(const struct statistics *s, const char *path, struct error *e) {
    struct bytes out = {0};
    char vector[32], square[48], length[32], *text = describe(s);
    snprintf(vector, sizeof vector, "%d,", s->dim);
    snprintf(square, sizeof square, "%d, %d", s->dim, s->dim);
    snprintf(length, sizeof length, "%zu,", strlen(text));
    struct archive *a = archive_write_new();
    archive_write_set_format_zip(a);
    archive_write_zip_set_compression_store(a);
    archive_write_set_bytes_in_last_block(a, 1);
    bool ok = archive_write_open(a, &out, NULL, to_bytes, NULL) == ARCHIVE_OK &&
              add_member(a, "mu.npy", "<f8", vector, s->mu, (size_t)s->dim * 8) &&
              add_member(a, "sigma.npy", "<f8", square, s->sigma, (size_t)s->dim * s->dim * 8) &&
              add_member(a, "count.npy", "<i8", "", &s->count, 8) &&
              add_member(a, "facemill.npy", "|u1", length, text, strlen(text)) && archive_write_close(a) == ARCHIVE_OK;
    enum status st = ok ? file_write_atomic(path, out.data, out.size, e) : st_fail(e, "%s: %s", path, archive_error_string(a));
    archive_write_free(a);
    bytes_free(&out);
    cJSON_free(text);
    return st;
}
