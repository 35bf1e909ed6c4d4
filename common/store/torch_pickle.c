/* torch_pickle.c - the file layouts around a pickle, storages, tensors; the stack machine is in pickle_machine.c. */
#include "common/store/torch_pickle.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/mem.h"
#include "common/store/pickle_machine.h"

#define MAX_TENSORS 100000
#define MAX_DEPTH 24 /* a module takes two levels */
#define MAX_NAME 1024
#define MAX_ENTRIES 20000
#define MAX_VISITS (2 << 20) /* items looked at for tensors: containers may share and nest */
#define MAX_PICKLE ((size_t)64 << 20) /* bytes of data.pkl in a zip */

struct torch_file {
    void *map; /* of the whole file, or NULL when parsed from memory */
    size_t map_size;
    const uint8_t *bytes;
    uint64_t size;
    struct pickle *pickle; /* owns all values */
    struct bytes pkl;      /* zip: data.pkl */
    struct zip_entry {
        char *key;
        struct bytes bytes;
    } *entries; /* zip: data/KEY */
    int n_entries;
    const struct torch_value *root;
    struct st_tensor *tensors;
    int n_tensors;
    struct index {
        uint64_t hash;
        int tensor;
    } *index; /* open addressing, a power of two, tensor -1 = empty */
    int index_size;
    void **owned; /* copies of non-contiguous tensors */
    int n_owned;
    struct torch_file **inner; /* zip archives inside the pickle, whose storages are in use */
    int n_inner;
};

enum torch_layout { NO_LAYOUT, ZIP, LEGACY, PLAIN };

/* Plain: PROTO 2..5. A safetensors file may begin with those two bytes, a length, but then bytes 4 to 8 are "\0\0\0\0{". */
static enum torch_layout layout_of(const uint8_t *bytes, uint64_t size) {
    static const uint8_t legacy[] = {0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};
    if (size < sizeof legacy)
        return NO_LAYOUT;
    if (!memcmp(bytes, "PK\3\4", 4))
        return ZIP;
    if (!memcmp(bytes, legacy, sizeof legacy))
        return LEGACY;
    return bytes[0] == 0x80 && bytes[1] >= 2 && bytes[1] <= 5 && memcmp(bytes + 4, "\0\0\0\0{", 5) ? PLAIN : NO_LAYOUT;
}

/* ---- storages ---- */

static uint64_t read_le64(const uint8_t *p) {
    uint64_t v = 0;
    for (int i = 7; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

/* Legacy: after the pickles come, in the order of the last one's list, element count and raw data of each storage. */
static enum status place_legacy(struct torch_file *f, uint64_t at, const struct torch_value *keys, struct error *e) {
    if (keys->type != TORCH_LIST || keys->n > pickle_storage_count(f->pickle))
        return st_bad(e, "the list of storages is missing or too long");
    for (int64_t i = 0; i < keys->n; i++) {
        if (keys->item[i]->type != TORCH_TEXT)
            return st_bad(e, "storage key %lld is no text", (long long)i);
        struct pickle_storage *s = pickle_find_storage(f->pickle, keys->item[i]->text);
        if (!s)
            return st_bad(e, "storage \"%.64s\" is listed but no tensor refers to it", keys->item[i]->text);
        if (f->size - at < 8)
            return st_bad(e, "the file ends before storage \"%.64s\"", s->key);
        uint64_t count = read_le64(f->bytes + at);
        at += 8;
        uint64_t room = (f->size - at) / dtype_size(s->dtype);
        if (count > room || (int64_t)count != s->count)
            return st_bad(e, "storage \"%.64s\" claims %llu elements, the tensors expect %lld and the file holds %llu", s->key,
                          (unsigned long long)count, (long long)s->count, (unsigned long long)room);
        s->data = f->bytes + at;
        at += count * dtype_size(s->dtype);
    }
    return ST_OK;
}

static enum status place_zip(struct torch_file *f, struct error *e) {
    for (int k = 0; k < f->n_entries; k++) {
        const struct bytes *b = &f->entries[k].bytes;
        struct pickle_storage *s = pickle_find_storage(f->pickle, f->entries[k].key);
        if (!s || s->data)
            continue;
        if (b->size / (size_t)dtype_size(s->dtype) < (uint64_t)s->count)
            return st_bad(e, "storage \"%.64s\" has %zu bytes, the tensors expect %lld elements of %d", s->key, b->size,
                          (long long)s->count, dtype_size(s->dtype));
        s->data = b->data ? b->data : (const uint8_t *)"";
    }
    return ST_OK;
}

/* ---- layouts ---- */

static enum status read_legacy(struct torch_file *f, struct error *e) {
    uint64_t at = 0;
    const struct torch_value *part[5];
    static const char *const what[5] = {"magic number", "protocol number", "system description", "object", "list of storages"};
    for (int i = 0; i < 5; i++) {
        enum status st = pickle_run(f->pickle, f->bytes + at, f->size - at, &part[i], e);
        if (st != ST_OK)
            return st_prefix(st, e, "%s", what[i]);
        at += pickle_consumed(f->pickle);
        if (i == 1 && (part[1]->type != TORCH_INT || part[1]->integer != 1001))
            return st_bad(e, "protocol number is not 1001: no torch.save file");
        if (i == 2 && part[2]->type == TORCH_DICT)
            for (int64_t k = 0; k < part[2]->n; k++) {
                const struct torch_value *key = part[2]->item[2 * k], *value = part[2]->item[2 * k + 1];
                if (key->type == TORCH_TEXT && !strcmp(key->text, "little_endian") && value->type == TORCH_BOOL && !value->integer)
                    return st_bad(e, "written on a big-endian machine");
            }
    }
    f->root = part[3];
    return place_legacy(f, at, part[4], e);
}

static enum status read_entry(struct archive *a, struct bytes *out, size_t limit, struct error *e) {
    const void *block;
    size_t size;
    la_int64_t offset;
    int r;
    while ((r = archive_read_data_block(a, &block, &size, &offset)) == ARCHIVE_OK) {
        if (offset != (la_int64_t)out->size || size > limit - out->size)
            return st_bad(e, "an archive member is larger than the file allows");
        bytes_append(out, block, size);
    }
    return r == ARCHIVE_EOF ? ST_OK : st_bad(e, "%s", archive_error_string(a) ? archive_error_string(a) : "damaged archive");
}

/* A zip of stored (never compressed) members PREFIX/data.pkl and PREFIX/data/KEY; together they cannot exceed the file. */
static enum status read_zip(struct torch_file *f, struct error *e) {
    struct archive *a = archive_read_new();
    struct archive_entry *entry;
    enum status st = ST_OK;
    size_t left = f->size;
    int room = 0, r;
    archive_read_support_format_zip_seekable(a);
    if (archive_read_open_memory(a, f->bytes, f->size) != ARCHIVE_OK)
        st = st_bad(e, "%s", archive_error_string(a));
    while (st == ST_OK && (r = archive_read_next_header(a, &entry)) != ARCHIVE_EOF) {
        if (r < ARCHIVE_WARN) {
            st = st_bad(e, "%s", archive_error_string(a) ? archive_error_string(a) : "damaged archive");
            break;
        }
        const char *name = archive_entry_pathname(entry), *slash = name ? strchr(name, '/') : NULL;
        if (!slash)
            continue;
        if (!strcmp(slash, "/data.pkl") && !f->pkl.size) {
            st = read_entry(a, &f->pkl, left < MAX_PICKLE ? left : MAX_PICKLE, e);
            left -= f->pkl.size;
        } else if (!strcmp(slash, "/byteorder")) {
            struct bytes order = {0};
            st = read_entry(a, &order, 16, e);
            if (st == ST_OK && order.size >= 3 && !memcmp(order.data, "big", 3))
                st = st_bad(e, "written on a big-endian machine");
            bytes_free(&order);
        } else if (!strncmp(slash, "/data/", 6)) {
            if (f->n_entries == MAX_ENTRIES) {
                st = st_bad(e, "more than %d storages", MAX_ENTRIES);
                break;
            }
            if (f->n_entries == room)
                f->entries = xrealloc(f->entries, (room = room ? 2 * room : 64) * sizeof *f->entries);
            struct zip_entry *z = &f->entries[f->n_entries++];
            *z = (struct zip_entry){.key = xstrdup(slash + 6)};
            st = read_entry(a, &z->bytes, left, e);
            left -= z->bytes.size;
        }
    }
    archive_read_free(a);
    if (st != ST_OK)
        return st;
    if (!f->pkl.size)
        return st_bad(e, "the archive has no data.pkl: not written by torch.save");
    st = pickle_run(f->pickle, f->pkl.data, f->pkl.size, &f->root, e);
    return st == ST_OK ? place_zip(f, e) : st;
}

/* ---- files inside a plain pickle ---- */

/* One storage, as torch.save writes it by itself. Data of the legacy layout is used where it lies. */
static enum status read_blob(void *context, const uint8_t *bytes, uint64_t size, struct pickle_storage *out, struct error *e) {
    struct torch_file *f = context, *inner = xcalloc(1, sizeof *inner);
    inner->bytes = bytes;
    inner->size = size;
    inner->pickle = pickle_create(size, NULL, NULL);
    enum torch_layout layout = layout_of(bytes, size);
    enum status st = layout == ZIP ? read_zip(inner, e) : layout == LEGACY ? read_legacy(inner, e) : st_bad(e, "not a file of torch.save");
    const struct pickle_storage *s = st == ST_OK ? pickle_storage_of(inner->pickle, inner->root) : NULL;
    if (st == ST_OK && (!s || !s->data))
        st = st_bad(e, "it is no single storage");
    if (st == ST_OK) {
        out->dtype = s->dtype;
        out->count = s->count;
        out->data = s->data;
    }
    if (st == ST_OK && layout == ZIP) {
        f->inner = xrealloc(f->inner, ((size_t)f->n_inner + 1) * sizeof *f->inner);
        f->inner[f->n_inner++] = inner;
    } else {
        torch_close(inner);
    }
    return st;
}

/* ---- tensors under names ---- */

/* Elements from `offset` on with the given strides, made dense. Sizes were checked against the storage by the machine. */
static const void *dense(struct torch_file *f, const struct pickle_tensor *p) {
    int size = dtype_size(p->storage->dtype);
    const uint8_t *from = p->storage->data + p->offset * size;
    int64_t expected = 1;
    bool contiguous = true;
    for (int i = p->ndim - 1; i >= 0; i--) {
        contiguous &= p->dim[i] == 1 || p->stride[i] == expected;
        expected *= p->dim[i];
    }
    if (contiguous || p->count == 0)
        return from;
    uint8_t *copy = xmalloc((size_t)p->count * size);
    int64_t at[ST_MAX_DIM] = {0};
    for (int64_t i = 0; i < p->count; i++) {
        int64_t offset = 0;
        for (int k = 0; k < p->ndim; k++)
            offset += at[k] * p->stride[k];
        memcpy(copy + i * size, from + offset * size, size);
        for (int k = p->ndim - 1; k >= 0 && ++at[k] == p->dim[k]; k--)
            at[k] = 0;
    }
    f->owned = xrealloc(f->owned, (f->n_owned + 1) * sizeof *f->owned);
    return f->owned[f->n_owned++] = copy;
}

/* Gives every tensor of the machine its data, so that values carry whole st_tensors. Copies of tensors that are not contiguous
 * may together take no more than the file itself. */
static enum status finish_tensors(struct torch_file *f, struct error *e) {
    uint64_t copied = 0;
    for (int i = 0; i < pickle_tensor_count(f->pickle); i++) {
        struct pickle_tensor *p = pickle_tensor_at(f->pickle, i);
        struct st_tensor *t = p->value->tensor;
        if (!p->storage->data)
            return st_bad(e, "the data of storage \"%.64s\" is missing", p->storage->key);
        int owned = f->n_owned;
        *t = (struct st_tensor){.name = "", .dtype = p->storage->dtype, .ndim = p->ndim, .count = p->count};
        memcpy(t->dim, p->dim, sizeof t->dim);
        t->data = dense(f, p);
        if (f->n_owned > owned && (copied += (uint64_t)p->count * dtype_size(t->dtype)) > f->size)
            return st_bad(e, "tensors that are not contiguous take more room than the file");
    }
    return ST_OK;
}

static uint64_t hash_name(const char *s) {
    uint64_t h = 0xcbf29ce484222325u;
    for (; *s; s++)
        h = (h ^ (uint8_t)*s) * 0x100000001b3u;
    return h;
}

static enum status collect(struct torch_file *f, const struct torch_value *v, char *name, size_t used, int depth, int64_t *budget,
                           struct error *e) {
    if (v->type == TORCH_TENSOR) {
        if (f->n_tensors == MAX_TENSORS)
            return st_bad(e, "more than %d tensors", MAX_TENSORS);
        if ((f->n_tensors & (f->n_tensors - 1)) == 0)
            f->tensors = xrealloc(f->tensors, (f->n_tensors ? 2 * f->n_tensors : 1) * sizeof *f->tensors);
        struct st_tensor *t = &f->tensors[f->n_tensors++];
        *t = *v->tensor;
        t->name = pickle_keep_text(f->pickle, name, used);
        return ST_OK;
    }
    if (v->type == TORCH_OBJECT) {
        static const char *const parts[] = {"_parameters", "_buffers", "_modules"};
        for (int i = 0; i < 3; i++) {
            const struct torch_value *part = torch_item(v, parts[i]);
            enum status st = part && part->type == TORCH_DICT ? collect(f, part, name, used, depth + 1, budget, e) : ST_OK;
            if (st != ST_OK)
                return st;
        }
        return ST_OK;
    }
    if (v->type != TORCH_DICT && v->type != TORCH_LIST && v->type != TORCH_TUPLE)
        return ST_OK;
    for (int64_t i = 0; i < v->n; i++) {
        if (--*budget < 0 || depth >= MAX_DEPTH)
            return st_bad(e, "containers are nested too deeply or share too much");
        bool dict = v->type == TORCH_DICT;
        const struct torch_value *key = dict ? v->item[2 * i] : NULL, *value = dict ? v->item[2 * i + 1] : v->item[i];
        char number[24];
        if (key && key->type != TORCH_TEXT && key->type != TORCH_INT)
            continue;
        snprintf(number, sizeof number, "%lld", (long long)(key ? key->integer : i));
        const char *part = key && key->type == TORCH_TEXT ? key->text : number;
        size_t length = strlen(part), start = used + (used > 0);
        if (start + length >= MAX_NAME)
            return st_bad(e, "a tensor's name is longer than %d bytes", MAX_NAME);
        if (used)
            name[used] = '.';
        memcpy(name + start, part, length + 1);
        enum status st = collect(f, value, name, start + length, depth + 1, budget, e);
        if (st != ST_OK)
            return st;
    }
    return ST_OK;
}

static enum status collect_all(struct torch_file *f, struct error *e) {
    char name[MAX_NAME + 1] = "";
    int64_t budget = MAX_VISITS;
    enum status st = collect(f, f->root, name, 0, 0, &budget, e);
    if (st != ST_OK)
        return st;
    for (f->index_size = 16; f->index_size < 2 * f->n_tensors; f->index_size *= 2)
        ;
    f->index = xmalloc((size_t)f->index_size * sizeof *f->index);
    for (int i = 0; i < f->index_size; i++)
        f->index[i].tensor = -1;
    for (int i = 0; i < f->n_tensors; i++) {
        uint64_t h = hash_name(f->tensors[i].name);
        int at = (int)(h & (f->index_size - 1));
        for (; f->index[at].tensor >= 0; at = (at + 1) & (f->index_size - 1))
            if (f->index[at].hash == h && !strcmp(f->tensors[f->index[at].tensor].name, f->tensors[i].name))
                return st_bad(e, "tensor \"%.128s\" appears twice", f->tensors[i].name);
        f->index[at] = (struct index){h, i};
    }
    return ST_OK;
}

/* ---- open, close, find ---- */

bool torch_detect(const void *bytes, uint64_t size) {
    return layout_of(bytes, size) != NO_LAYOUT;
}

static enum status parse(struct torch_file *f, const char *name, struct error *e) {
    enum torch_layout layout = layout_of(f->bytes, f->size);
    if (layout == NO_LAYOUT)
        return st_bad(e, "%s: not a file of torch.save, nor a pickle", name);
    f->pickle = pickle_create(f->size, read_blob, f);
    enum status st = layout == ZIP      ? read_zip(f, e)
                     : layout == LEGACY ? read_legacy(f, e)
                                        : pickle_run(f->pickle, f->bytes, f->size, &f->root, e);
    if (st == ST_OK)
        st = finish_tensors(f, e);
    if (st == ST_OK)
        st = collect_all(f, e);
    return st == ST_OK ? st : st_prefix(st, e, "%s", name);
}

enum status torch_parse(struct torch_file **out, const void *bytes, uint64_t size, const char *name, struct error *e) {
    struct torch_file *f = xcalloc(1, sizeof *f);
    f->bytes = bytes;
    f->size = size;
    enum status st = parse(f, name, e);
    if (st != ST_OK) {
        torch_close(f);
        f = NULL;
    }
    *out = f;
    return st;
}

enum status torch_open(struct torch_file **out, const char *path, struct error *e) {
    struct torch_file *f = NULL;
    struct stat info;
    void *map = MAP_FAILED;
    *out = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return st_fail(e, "%s: %s", path, strerror(errno));
    enum status st = ST_OK;
    if (fstat(fd, &info) != 0)
        st = st_fail(e, "%s: %s", path, strerror(errno));
    else if (!S_ISREG(info.st_mode) || info.st_size < 16)
        st = st_bad(e, "%s: not a file of torch.save", path);
    else if ((map = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0)) == MAP_FAILED)
        st = st_fail(e, "%s: %s", path, strerror(errno));
    close(fd);
    if (st != ST_OK)
        return st;
    st = torch_parse(&f, map, (uint64_t)info.st_size, path, e);
    if (st != ST_OK) {
        munmap(map, (size_t)info.st_size);
        return st;
    }
    f->map = map;
    f->map_size = (size_t)info.st_size;
    *out = f;
    return ST_OK;
}

void torch_close(struct torch_file *f) {
    if (!f)
        return;
    pickle_free(f->pickle);
    bytes_free(&f->pkl);
    for (int i = 0; i < f->n_entries; i++) {
        free(f->entries[i].key);
        bytes_free(&f->entries[i].bytes);
    }
    for (int i = 0; i < f->n_owned; i++)
        free(f->owned[i]);
    for (int i = 0; i < f->n_inner; i++)
        torch_close(f->inner[i]);
    free(f->inner);
    free(f->entries);
    free(f->owned);
    free(f->tensors);
    free(f->index);
    if (f->map)
        munmap(f->map, f->map_size);
    free(f);
}

const struct torch_value *torch_root(const struct torch_file *f) {
    return f->root;
}

const struct torch_value *torch_item(const struct torch_value *dict, const char *key) {
    if (dict && (dict->type == TORCH_DICT || dict->type == TORCH_OBJECT))
        for (int64_t i = 0; i < dict->n; i++)
            if (dict->item[2 * i]->type == TORCH_TEXT && !strcmp(dict->item[2 * i]->text, key))
                return dict->item[2 * i + 1];
    return NULL;
}

const struct torch_value *torch_module(const struct torch_value *from, const char *name) {
    while (from && *name) {
        char part[64];
        size_t n = strcspn(name, ".");
        if (n >= sizeof part)
            return NULL;
        memcpy(part, name, n);
        part[n] = 0;
        name += n + (name[n] == '.');
        from = torch_item(from->type == TORCH_OBJECT ? torch_item(from, "_modules") : from, part);
    }
    return from && from->type == TORCH_OBJECT ? from : NULL;
}

int torch_count(const struct torch_file *f) {
    return f->n_tensors;
}

const struct st_tensor *torch_at(const struct torch_file *f, int i) {
    return &f->tensors[i];
}

const struct st_tensor *torch_find(const struct torch_file *f, const char *name) {
    uint64_t h = hash_name(name);
    for (int at = (int)(h & (f->index_size - 1)); f->index[at].tensor >= 0; at = (at + 1) & (f->index_size - 1))
        if (f->index[at].hash == h && !strcmp(f->tensors[f->index[at].tensor].name, name))
            return &f->tensors[f->index[at].tensor];
    return NULL;
}
