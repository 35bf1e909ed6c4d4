/* safetensors.c - see safetensors.h. The JSON comes from cJSON; what it says is believed only after check_tensor() and
 * check_layout(). Nothing is copied but the header: a network of 100 MB opens in about a millisecond.
 */
#include "common/store/safetensors.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/mem.h"
#include "common/base/target.h"

#define METADATA "__metadata__"
#define MAX_NODES (8 << 20) /* JSON values in a header: cJSON takes 64 bytes for each, and a tensor needs seven or more */
#define MAX_EXACT 9007199254740992.0 /* 2^53: integers up to here are exact in JSON numbers as cJSON keeps them */

struct safetensors {
    void *map; /* NULL when the bytes are the caller's */
    uint64_t size;
    cJSON *json; /* owns every name and the metadata */
    int n;
    struct st_tensor *tensor;        /* [n], in the order of the data */
    const struct st_tensor **sorted; /* [n], by name */
};

/* ---- reading ---- */

static bool get_integer(const cJSON *item, uint64_t *value) {
    double d = item && cJSON_IsNumber(item) ? item->valuedouble : -1;
    if (!(d >= 0 && d <= MAX_EXACT) || d != floor(d))
        return false;
    *value = (uint64_t)d;
    return true;
}

/* One entry of the header. begin and end are returned beside t, data is still to be set. */
static enum status check_tensor(const cJSON *item, struct st_tensor *t, uint64_t *begin, uint64_t *end, struct error *e) {
    t->name = item->string;
    const cJSON *dt = cJSON_GetObjectItemCaseSensitive(item, "dtype");
    const cJSON *shape = cJSON_GetObjectItemCaseSensitive(item, "shape");
    const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(item, "data_offsets");
    if (!cJSON_IsObject(item) || !cJSON_IsString(dt) || !cJSON_IsArray(shape) || !cJSON_IsArray(offsets) ||
        cJSON_GetArraySize(item) != 3)
        return st_bad(e, "tensor %s: its header entry is not {dtype, shape, data_offsets}", t->name);
    if (!dtype_by_name(dt->valuestring, &t->dtype))
        return st_bad(e, "tensor %s: element type %.32s is not one that is read here", t->name, dt->valuestring);

    uint64_t bytes = (uint64_t)dtype_size(t->dtype), dim;
    bool empty = false;
    const cJSON *d;
    cJSON_ArrayForEach(d, shape) {
        if (t->ndim == ST_MAX_DIM)
            return st_bad(e, "tensor %s: more than %d dimensions", t->name, ST_MAX_DIM);
        if (!get_integer(d, &dim))
            return st_bad(e, "tensor %s: dimension %d is no whole number from 0 to 2^53", t->name, t->ndim);
        t->dim[t->ndim++] = (int64_t)dim;
        empty |= dim == 0;
        /* the product must not overflow even where a zero dimension makes it 0 in the end */
        if (dim && __builtin_mul_overflow(bytes, dim, &bytes))
            return st_bad(e, "tensor %s: its shape overflows 64 bits", t->name);
    }
    if (empty)
        bytes = 0;
    t->count = (int64_t)(bytes / (uint64_t)dtype_size(t->dtype));

    if (cJSON_GetArraySize(offsets) != 2 || !get_integer(cJSON_GetArrayItem(offsets, 0), begin) ||
        !get_integer(cJSON_GetArrayItem(offsets, 1), end) || *begin > *end)
        return st_bad(e, "tensor %s: data_offsets are not [begin, end]", t->name);
    if (*end - *begin != bytes)
        return st_bad(e, "tensor %s: data_offsets span %llu bytes but its shape needs %llu", t->name,
                      (unsigned long long)(*end - *begin), (unsigned long long)bytes);
    return ST_OK;
}

struct placed {
    uint64_t begin, end;
    struct st_tensor tensor;
};

static int by_offset(const void *a, const void *b) {
    const struct placed *p = a, *q = b;
    if (p->begin != q->begin)
        return p->begin < q->begin ? -1 : 1;
    return (p->end > q->end) - (p->end < q->end); /* empty tensors before the one that starts at the same place */
}

static int by_name(const void *a, const void *b) {
    const struct st_tensor *const *p = a, *const *q = b;
    return strcmp((*p)->name, (*q)->name);
}

/* Tensors must tile the data from its first to its last byte, as the format demands: no hole, no overlap, nothing behind. */
static enum status check_layout(struct placed *p, int n, uint64_t data_size, struct error *e) {
    qsort(p, (size_t)n, sizeof *p, by_offset); /* glibc's is a merge sort: n log n whatever the file says */
    uint64_t at = 0;
    for (int i = 0; i < n; at = p[i++].end) {
        if (p[i].end > data_size)
            return st_bad(e, "tensor %s lies outside the file: its data ends at byte %llu of %llu (is the file truncated?)",
                          p[i].tensor.name, (unsigned long long)p[i].end, (unsigned long long)data_size);
        if (p[i].begin < at)
            return st_bad(e, "tensors %s and %s overlap", p[i - 1].tensor.name, p[i].tensor.name);
        if (p[i].begin > at)
            return st_bad(e, "%llu bytes before tensor %s belong to no tensor", (unsigned long long)(p[i].begin - at),
                          p[i].tensor.name);
    }
    if (at != data_size)
        return st_bad(e, "%llu bytes after the last tensor belong to none", (unsigned long long)(data_size - at));
    return ST_OK;
}

static enum status parse_json(struct safetensors *s, const uint8_t *text, uint64_t size, struct error *e) {
    if (text[0] != '{' || memchr(text, 0, size))
        return st_bad(e, "no safetensors file: its header is not JSON");
    uint64_t nodes = 0;
    for (uint64_t i = 0; i < size; i++)
        nodes += text[i] == ',' || text[i] == '[' || text[i] == '{';
    if (nodes > MAX_NODES)
        return st_bad(e, "its header has over %d values", MAX_NODES);
    char *copy = xmalloc(size + 1);
    memcpy(copy, text, size);
    copy[size] = 0;
    s->json = cJSON_ParseWithLengthOpts(copy, size + 1, NULL, true);
    free(copy);
    if (!s->json || !cJSON_IsObject(s->json))
        return st_bad(e, "its header is not one JSON object");
    return ST_OK;
}

static enum status check_metadata(const cJSON *item, bool *seen, struct error *e) {
    if (*seen || !cJSON_IsObject(item))
        return st_bad(e, "%s", *seen ? METADATA " appears twice" : METADATA " is not an object");
    *seen = true;
    const cJSON *m;
    cJSON_ArrayForEach(m, item) {
        if (!cJSON_IsString(m))
            return st_bad(e, METADATA ": the value of %s is not text", m->string);
    }
    return ST_OK;
}

static enum status parse(struct safetensors *s, const uint8_t *bytes, uint64_t size, struct error *e) {
    if (size == 0)
        return st_bad(e, "the file is empty");
    if (size >= 4 && !memcmp(bytes, "PK\3\4", 4))
        return st_bad(e, "this is a zip archive (PyTorch's own format?), not a safetensors file");
    if (size < 10)
        return st_bad(e, "no safetensors file: only %llu bytes", (unsigned long long)size);
    uint64_t header;
    memcpy(&header, bytes, 8);
    if (header > ST_MAX_HEADER)
        return st_bad(e, "no safetensors file: it claims a header of %llu bytes", (unsigned long long)header);
    if (header < 2 || header > size - 8)
        return st_bad(e, "its header of %llu bytes does not fit into the file of %llu", (unsigned long long)header,
                      (unsigned long long)size);
    enum status st = parse_json(s, bytes + 8, header, e);
    if (st != ST_OK)
        return st;

    const uint8_t *data = bytes + 8 + header;
    uint64_t data_size = size - 8 - header;
    struct placed *placed = xcalloc((size_t)cJSON_GetArraySize(s->json), sizeof *placed);
    bool metadata = false;
    const cJSON *item;
    cJSON_ArrayForEach(item, s->json) {
        struct placed *p = &placed[s->n];
        if (!strcmp(item->string, METADATA))
            st = check_metadata(item, &metadata, e);
        else {
            st = check_tensor(item, &p->tensor, &p->begin, &p->end, e);
            s->n++;
        }
        if (st != ST_OK)
            goto out;
    }
    st = check_layout(placed, s->n, data_size, e);
    if (st != ST_OK)
        goto out;

    s->tensor = xcalloc((size_t)s->n, sizeof *s->tensor);
    s->sorted = xcalloc((size_t)s->n, sizeof *s->sorted);
    for (int i = 0; i < s->n; i++) {
        s->tensor[i] = placed[i].tensor;
        s->tensor[i].data = data + placed[i].begin;
        s->sorted[i] = &s->tensor[i];
    }
    qsort(s->sorted, (size_t)s->n, sizeof *s->sorted, by_name);
    for (int i = 1; i < s->n; i++)
        if (!strcmp(s->sorted[i - 1]->name, s->sorted[i]->name)) {
            st = st_bad(e, "tensor %s appears twice", s->sorted[i]->name);
            break;
        }
out:
    free(placed);
    return st;
}

enum status safetensors_parse(struct safetensors **out, const void *bytes, uint64_t size, const char *name, struct error *e) {
    struct safetensors *s = xcalloc(1, sizeof *s);
    s->size = size;
    *out = NULL;
    enum status st = parse(s, bytes, size, e);
    if (st != ST_OK) {
        safetensors_close(s);
        return st_prefix(st, e, "%s", name);
    }
    *out = s;
    return ST_OK;
}

enum status safetensors_open(struct safetensors **out, const char *path, struct error *e) {
    *out = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* O_NONBLOCK: a named pipe without a writer must not hang us */
    if (fd < 0)
        return st_fail(e, "%s: %s", path, strerror(errno));
    struct stat sb;
    enum status st = ST_OK;
    void *map = NULL;
    if (fstat(fd, &sb))
        st = st_fail(e, "%s: %s", path, strerror(errno));
    else if (!S_ISREG(sb.st_mode))
        st = st_fail(e, "%s: not a regular file", path);
    else if (sb.st_size == 0)
        st = st_bad(e, "%s: the file is empty", path);
    else if ((map = mmap(NULL, (size_t)sb.st_size, PROT_READ, MAP_PRIVATE, fd, 0)) == MAP_FAILED)
        st = st_fail(e, "%s: cannot map: %s", path, strerror(errno));
    close(fd);
    if (st != ST_OK)
        return st;
    st = safetensors_parse(out, map, (uint64_t)sb.st_size, path, e);
    if (st == ST_OK)
        (*out)->map = map;
    else
        munmap(map, (size_t)sb.st_size);
    return st;
}

void safetensors_close(struct safetensors *s) {
    if (!s)
        return;
    if (s->map)
        munmap(s->map, s->size);
    cJSON_Delete(s->json);
    free(s->tensor);
    free(s->sorted);
    free(s);
}

int safetensors_count(const struct safetensors *s) { return s->n; }

const struct st_tensor *safetensors_at(const struct safetensors *s, int i) { return &s->tensor[i]; }

const struct st_tensor *safetensors_find(const struct safetensors *s, const char *name) {
    struct st_tensor key = {.name = name};
    const struct st_tensor *k = &key, **hit;
    hit = s->n ? bsearch(&k, s->sorted, (size_t)s->n, sizeof *s->sorted, by_name) : NULL;
    return hit ? *hit : NULL;
}

const char *safetensors_metadata(const struct safetensors *s, const char *key) {
    const cJSON *meta = cJSON_GetObjectItemCaseSensitive(s->json, METADATA);
    const cJSON *item = meta ? cJSON_GetObjectItemCaseSensitive(meta, key) : NULL;
    return item ? item->valuestring : NULL;
}

void st_to_f32(const struct st_tensor *t, float *out) {
#define CONVERT(type, expression)                                                 \
    for (int64_t i = 0; i < t->count; i++) {                                      \
        type v;                                                                   \
        memcpy(&v, (const uint8_t *)t->data + (size_t)i * sizeof v, sizeof v);    \
        out[i] = (expression);                                                    \
    }                                                                             \
    break
    switch (t->dtype) {
    case DT_F32:
        if (t->count)
            memcpy(out, t->data, (size_t)t->count * 4);
        break;
    case DT_F16: CONVERT(uint16_t, f32_from_f16(v));
    case DT_BF16: CONVERT(uint16_t, f32_from_bf16(v));
    case DT_F64: CONVERT(double, (float)v);
    case DT_U8: CONVERT(uint8_t, (float)v);
    case DT_I32: CONVERT(int32_t, (float)v);
    case DT_I64: CONVERT(int64_t, (float)v);
    case DT_U64: CONVERT(uint64_t, (float)v);
    case DT_COUNT: break;
    }
#undef CONVERT
}

/* ---- writing ---- */

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static enum status check_entries(const struct st_entry *t, int n, struct error *e) {
    enum status st = ST_OK;
    const char **names = xcalloc((size_t)n, sizeof *names);
    for (int i = 0; i < n && st == ST_OK; i++) {
        names[i] = t[i].name;
        if (t[i].ndim < 0 || t[i].ndim > ST_MAX_DIM || !strcmp(t[i].name, METADATA))
            st = st_fail(e, "tensor %s cannot be written: %d dimensions, or a reserved name", t[i].name, t[i].ndim);
    }
    if (st == ST_OK)
        qsort(names, (size_t)n, sizeof *names, by_text);
    for (int i = 1; i < n && st == ST_OK; i++)
        if (!strcmp(names[i - 1], names[i]))
            st = st_fail(e, "two tensors are named %s", names[i]);
    free(names);
    return st;
}

static uint64_t entry_bytes(const struct st_entry *t) {
    uint64_t bytes = (uint64_t)dtype_size(t->dtype);
    for (int i = 0; i < t->ndim; i++)
        bytes *= (uint64_t)t->dim[i];
    return bytes;
}

/* Length word and JSON, padded with spaces so that the data starts at a multiple of 8. */
static void build_header(const struct st_entry *t, const int *order, int n, const struct st_meta *meta, int n_meta,
                         struct bytes *out) {
    cJSON *json = cJSON_CreateObject();
    if (n_meta) {
        cJSON *m = cJSON_AddObjectToObject(json, METADATA);
        for (int i = 0; i < n_meta; i++)
            cJSON_AddStringToObject(m, meta[i].key, meta[i].value);
    }
    uint64_t at = 0;
    for (int k = 0; k < n; k++) {
        const struct st_entry *x = &t[order[k]];
        cJSON *item = cJSON_AddObjectToObject(json, x->name);
        cJSON_AddStringToObject(item, "dtype", dtype_name(x->dtype));
        cJSON *shape = cJSON_AddArrayToObject(item, "shape");
        for (int i = 0; i < x->ndim; i++)
            cJSON_AddItemToArray(shape, cJSON_CreateNumber((double)x->dim[i]));
        cJSON *offsets = cJSON_AddArrayToObject(item, "data_offsets");
        cJSON_AddItemToArray(offsets, cJSON_CreateNumber((double)at));
        at += entry_bytes(x);
        cJSON_AddItemToArray(offsets, cJSON_CreateNumber((double)at));
    }
    char *text = cJSON_PrintUnformatted(json);
    cJSON_Delete(json);
    uint64_t length = strlen(text), padded = (length + 7) / 8 * 8;
    bytes_append(out, &padded, 8);
    bytes_append(out, text, length);
    bytes_append(out, "       ", padded - length);
    free(text);
}

static bool write_all(int fd, const void *data, uint64_t size) {
    const uint8_t *p = data;
    while (size) {
        ssize_t n = write(fd, p, size < 1 << 30 ? size : 1 << 30);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        p += n;
        size -= (uint64_t)n;
    }
    return true;
}

/* The rename is on disk only when the folder is. Best effort: some file systems refuse to sync a folder. */
static void sync_folder(const char *path) {
    char *copy = xstrdup(path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    free(copy);
}

enum status safetensors_write(const char *path, const struct st_entry *t, int n, const struct st_meta *meta, int n_meta,
                              struct error *e) {
    enum status st = check_entries(t, n, e);
    if (st != ST_OK)
        return st_prefix(st, e, "%s", path);
    if ((st = target_check(path, e)) != ST_OK)
        return st;

    /* Wide elements first (otherwise in the order given): then each tensor is aligned for its type without holes. */
    int *order = xcalloc((size_t)n, sizeof *order), k = 0;
    for (int width = 8; width; width /= 2)
        for (int i = 0; i < n; i++)
            if (dtype_size(t[i].dtype) == width)
                order[k++] = i;
    struct bytes header = {0};
    build_header(t, order, n, meta, n_meta, &header);

    char *temporary = target_begin(path);
    int fd = -1;
    if (header.size - 8 > ST_MAX_HEADER) {
        st = st_fail(e, "%s: its header would be over %llu bytes", path, (unsigned long long)ST_MAX_HEADER);
        goto out;
    }
    fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        st = st_fail(e, "create %s: %s", temporary, strerror(errno));
        goto out;
    }
    bool ok = write_all(fd, header.data, header.size);
    for (int i = 0; i < n && ok; i++)
        ok = write_all(fd, t[order[i]].data, entry_bytes(&t[order[i]]));
    ok = ok && fsync(fd) == 0;
    int why = errno;
    if (close(fd) && ok) {
        ok = false;
        why = errno;
    }
    if (ok) {
        ok = target_keep(temporary, path);
        why = errno;
        temporary = NULL;
    }
    if (ok)
        sync_folder(path);
    else
        st = st_fail(e, "write %s: %s", path, strerror(why));
out:
    target_drop(temporary);
    free(order);
    bytes_free(&header);
    return st;
}
