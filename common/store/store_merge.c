/* store_merge.c - see store_tools.h. Memory does not grow with the stores: source hashes, which lie sorted by hash but are
 * wanted by index, take the way over an unnamed temporary file of 33 bytes a sample.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/store/labels.h"
#include "common/store/store_tools.h"

#define ROW (1 + SHA256_SIZE) /* 1 and the hash, or zeros */

struct merge {
    const struct merge_options *o;
    struct merge_count *count;
    struct store_writer *writer;
    bool labelled;
    struct label_names names;
};

/* ---- source hashes of one input by index ---- */

struct rows {
    FILE *file;
    bool failed;
};

static void put_row(int64_t index, const uint8_t digest[32], void *data) {
    struct rows *rows = data;
    uint8_t row[ROW] = {1};
    memcpy(row + 1, digest, SHA256_SIZE);
    if (fseeko(rows->file, index * ROW, SEEK_SET) || fwrite(row, ROW, 1, rows->file) != 1)
        rows->failed = true;
}

static enum status sort_hashes(struct store *s, struct rows *rows, struct error *e) {
    *rows = (struct rows){.file = tmpfile()};
    if (!rows->file)
        return st_fail(e, "temporary file: %s", strerror(errno));
    store_each_hash(s, put_row, rows);
    if (rows->failed || fflush(rows->file) || ftruncate(fileno(rows->file), store_get_meta(s)->length * ROW) ||
        fseeko(rows->file, 0, SEEK_SET))
        return st_fail(e, "temporary file: %s", strerror(errno));
    return ST_OK;
}

/* ---- labels ---- */

static const char *class_name(const cJSON *classes, int label) {
    const cJSON *item = cJSON_GetArrayItem(classes, label);
    return cJSON_IsString(item) ? item->valuestring : NULL;
}

/* The label of sample i in the new store: by name where the classes have names. */
static enum status map_label(struct merge *m, struct store *s, const cJSON *classes, int64_t i, int *label, struct error *e) {
    *label = LABEL_NONE;
    if (!m->labelled)
        return ST_OK;
    enum status st = store_label(s, i, label, e);
    if (st != ST_OK || !classes)
        return st;
    const char *name = class_name(classes, *label);
    if (!name)
        return st_bad(e, "sample %lld: class %d has no name", (long long)i, *label);
    *label = label_names_number(&m->names, name);
    return *label == LABEL_NONE ? st_bad(e, "more than 65536 classes") : ST_OK;
}

static const cJSON *classes_of(const struct store *s) {
    const cJSON *classes = cJSON_GetObjectItemCaseSensitive(store_meta_json(s), "classes");
    return cJSON_IsArray(classes) && cJSON_GetArraySize(classes) ? classes : NULL;
}

/* ---- one input ---- */

static bool same_format(const struct store_format *f, const struct store_meta *m) {
    bool same = f->n_sizes == m->n_sizes && f->channels == m->channels && f->codec == m->codec;
    for (int i = 0; i < m->n_sizes && same; i++)
        same = f->width[i] == m->width[i] && f->height[i] == m->height[i];
    return same;
}

static char *copy_text(struct store *s, const char *prefix, int64_t i) {
    const char *text;
    size_t size;
    store_text(s, prefix, i, &text, &size);
    if (!text || size > SAMPLE_JSON_MAX || memchr(text, 0, size))
        return NULL;
    return strndup(text, size);
}

static enum status copy_sample(struct merge *m, struct store *s, const cJSON *classes, int64_t i, const uint8_t row[ROW],
                               struct error *e) {
    const struct store_meta *meta = store_get_meta(s);
    struct store_record r = {.hashed = row[0] == 1};
    memcpy(r.source, row + 1, SHA256_SIZE);
    enum status st = map_label(m, s, classes, i, &r.label, e);
    for (int k = 0; k < meta->n_sizes && st == ST_OK; k++) {
        const void *data;
        size_t bytes;
        struct image_info info;
        st = store_picture(s, k, i, &data, &bytes, e);
        if (st == ST_OK)
            st = image_probe(data, bytes, &info, e);
        if (st == ST_OK && (info.format != meta->codec || info.width != meta->width[k] || info.height != meta->height[k] ||
                            info.channels != meta->channels))
            st = st_bad(e, "sample %lld is not what the store says (pack-lmdb check)", (long long)i);
        if (st == ST_OK)
            bytes_append(&r.picture[k], data, bytes);
    }
    if (st == ST_OK && meta->foreign) {
        sha256(r.picture[0].data, r.picture[0].size, r.source);
        r.hashed = true;
    }
    int64_t index;
    /* in our stores the second sample of a source picture has no row of its own */
    bool twice = !r.hashed || store_writer_find(m->writer, r.source, &index);
    if (st == ST_OK && !(m->o->dedupe && twice)) {
        r.key = copy_text(s, "key", i);
        r.json = copy_text(s, "json", i);
        if (!r.key)
            r.key = xasprintf("%05lld", (long long)i);
        m->count->out++;
        return store_put(m->writer, &r, e);
    }
    store_record_free(&r);
    return st;
}

static enum status copy_store(struct merge *m, struct store *s, struct error *e) {
    const struct store_meta *meta = store_get_meta(s);
    const cJSON *classes = classes_of(s);
    if (!same_format(store_writer_format(m->writer), meta))
        return st_fail(e, "its sizes, channels or codec are not those of the first store");
    if (meta->length && (meta->label_dim > 0) != m->labelled)
        return st_fail(e, m->labelled ? "it has no labels, but the first store has" : "it has labels, but the first store has none");
    if (meta->length && m->labelled && (classes != NULL) != (m->names.n > 0))
        return st_fail(e, "its classes have %s, but those of the first store have %s", classes ? "names" : "no names",
                       classes ? "none" : "names");
    struct rows rows = {0};
    enum status st = sort_hashes(s, &rows, e);
    for (int64_t i = 0; i < meta->length && st == ST_OK; i++) {
        uint8_t row[ROW];
        if (fread(row, ROW, 1, rows.file) != 1)
            st = st_fail(e, "temporary file: %s", strerror(errno));
        else
            st = copy_sample(m, s, classes, i, row, e);
        m->count->in++;
        m->o->tick(m->o->data);
    }
    if (rows.file)
        fclose(rows.file);
    return st;
}

/* ---- all ---- */

/* What the new store is like; the first input's meta says it. */
static enum status start(struct merge *m, struct store *s, const char *path, struct error *e) {
    const struct store_meta *meta = store_get_meta(s);
    const cJSON *json = store_meta_json(s), *classes = classes_of(s), *item;
    struct store_format f = {.n_sizes = meta->n_sizes, .channels = meta->channels, .codec = meta->codec};
    memcpy(f.height, meta->height, sizeof f.height);
    memcpy(f.width, meta->width, sizeof f.width);
    item = cJSON_GetObjectItemCaseSensitive(json, "quality");
    f.quality = cJSON_IsNumber(item) ? item->valueint : 0;
    item = cJSON_GetObjectItemCaseSensitive(json, "filter");
    f.filter = cJSON_IsString(item) ? item->valuestring : NULL;
    item = cJSON_GetObjectItemCaseSensitive(json, "crop");
    f.crop = cJSON_IsString(item) ? item->valuestring : NULL;
    m->labelled = meta->label_dim > 0;
    for (int i = 0; i < cJSON_GetArraySize(classes); i++)
        if (class_name(classes, i))
            label_names_number(&m->names, class_name(classes, i));
    return store_create(&m->writer, path, &f, false, e);
}

static enum status merge_into(struct merge *m, const char *path, char **inputs, int n, struct error *e) {
    cJSON *merged = NULL; /* in the writer's meta */
    enum status st = ST_OK;
    for (int i = 0; i < n && st == ST_OK; i++) {
        struct store *s;
        st = store_open(&s, inputs[i], e);
        if (st != ST_OK)
            break;
        if (!m->writer && (st = start(m, s, path, e)) == ST_OK) {
            cJSON *session = m->o->settings ? cJSON_Duplicate(m->o->settings, true) : cJSON_CreateObject();
            merged = cJSON_AddArrayToObject(session, "merged");
            store_writer_start_session(m->writer, session);
        }
        if (st == ST_OK)
            st = copy_store(m, s, e);
        if (st != ST_OK)
            st = st_prefix(ST_FAIL, e, "%s", inputs[i]);
        else {
            cJSON *entry = cJSON_CreateObject();
            cJSON_AddStringToObject(entry, "store", inputs[i]);
            cJSON_AddNumberToObject(entry, "length", (double)store_get_meta(s)->length);
            cJSON_AddStringToObject(entry, "content_hash", store_get_meta(s)->content_hash);
            cJSON_AddItemToArray(merged, entry);
        }
        store_close(s);
    }
    if (st != ST_OK || !store_writer_length(m->writer))
        return st != ST_OK ? st : st_fail(e, "the stores are empty: nothing to merge");
    if (m->names.n)
        store_writer_set(m->writer, "classes", cJSON_CreateStringArray((const char *const *)m->names.name, m->names.n));
    st = store_flush(m->writer, e);
    if (st == ST_OK) {
        st = store_writer_close(m->writer, true, e);
        m->writer = NULL;
    }
    return st;
}

static void remove_store(const char *path) {
    static const char *const files[] = {"data.mdb", "lock.mdb"};
    for (int i = 0; i < 2; i++) {
        char *file = xasprintf("%s/%s", path, files[i]);
        unlink(file);
        free(file);
    }
    rmdir(path);
}

enum status store_merge(const char *out, char **inputs, int n, const struct merge_options *o, struct merge_count *count,
                        struct error *e) {
    struct merge m = {.o = o, .count = count};
    *count = (struct merge_count){0};
    struct stat sb;
    char *file = xasprintf("%s/data.mdb", out);
    bool there = !stat(file, &sb);
    free(file);
    if (there && !o->replace)
        return st_fail(e, "%s: there is a store already (--force replaces it)", out);
    size_t size = strlen(out);
    while (size > 1 && out[size - 1] == '/')
        size--;
    char *temporary = xasprintf("%.*s.tmp-%ld", (int)size, out, (long)getpid());
    enum status st = merge_into(&m, temporary, inputs, n, e);
    if (m.writer)
        store_writer_close(m.writer, false, NULL);
    if (st == ST_OK && there)
        remove_store(out);
    if (st == ST_OK && rename(temporary, out))
        st = st_fail(e, "%s: cannot put the new store there: %s", out, strerror(errno));
    if (st != ST_OK)
        remove_store(temporary);
    free(temporary);
    label_names_free(&m.names);
    return st;
}
