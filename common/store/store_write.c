/* store_write.c - see store_write.h. */
#include "common/store/store_write.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <nettle/sha2.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/store/lmdb_check.h"
#include "common/store/store_impl.h"

#define BATCH_RECORDS 512
#define BATCH_BYTES ((size_t)16 << 20)
#define BATCH_SECONDS 2
#define MAP_STEP ((size_t)64 << 20)

struct store_writer {
    char *path;
    struct store_place place;
    int folder; /* open and locked while we write */
    bool created, folder_made;
    MDB_env *env;
    MDB_dbi dbi;
    size_t map_size;
    struct store_format format;
    cJSON *json; /* meta */
    int label_dim;
    uint8_t chain[SHA256_SIZE]; /* content hash up to `committed` */
    int64_t committed;
    bool dirty; /* meta changed since the last commit */
    bool session; /* this writer started one, at sample session_first */
    int64_t session_first;

    struct store_record *batch; /* [BATCH_RECORDS], n used */
    int n;
    size_t bytes;
    double since;

    pthread_mutex_t lock; /* guards `reader` and the contents and number of the batch, for store_writer_find */
    MDB_txn *reader;
};

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- records ---- */

static void put_le(uint8_t *p, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++)
        p[i] = (uint8_t)(value >> 8 * i);
}

void store_record_seal(struct store_record *r, const struct store_format *f) {
    struct sha256_ctx ctx;
    uint8_t head[16];
    sha256_init(&ctx);
    for (int i = 0; i < f->n_sizes; i++) {
        put_le(head, (uint64_t)f->width[i], 4);
        put_le(head + 4, (uint64_t)f->height[i], 4);
        put_le(head + 8, r->picture[i].size, 8);
        sha256_update(&ctx, sizeof head, head);
        sha256_update(&ctx, r->picture[i].size, r->picture[i].data);
    }
    put_le(head, (uint64_t)(int64_t)r->label, 8);
    sha256_update(&ctx, 8, head);
    sha256_digest(&ctx, SHA256_SIZE, r->digest);
    r->sealed = true;
}

void store_record_free(struct store_record *r) {
    free(r->key);
    free(r->json);
    for (int i = 0; i < STORE_MAX_SIZES; i++)
        bytes_free(&r->picture[i]);
    *r = (struct store_record){0};
}

/* ---- meta ---- */

static void set(cJSON *object, const char *name, cJSON *value) {
    if (cJSON_GetObjectItemCaseSensitive(object, name))
        cJSON_ReplaceItemInObjectCaseSensitive(object, name, value);
    else
        cJSON_AddItemToObject(object, name, value);
}

static cJSON *new_meta(const struct store_format *f) {
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "format", STORE_FORMAT);
    cJSON_AddNumberToObject(json, "version", STORE_VERSION);
    cJSON *sizes = cJSON_AddArrayToObject(json, "sizes");
    for (int i = 0; i < f->n_sizes; i++) {
        cJSON *size = cJSON_CreateObject();
        cJSON_AddNumberToObject(size, "width", f->width[i]);
        cJSON_AddNumberToObject(size, "height", f->height[i]);
        cJSON_AddItemToArray(sizes, size);
    }
    cJSON_AddNumberToObject(json, "channels", f->channels);
    cJSON_AddStringToObject(json, "codec", f->codec == IMAGE_PPM ? "raw" : image_format_name(f->codec));
    if (f->codec == IMAGE_JPEG)
        cJSON_AddNumberToObject(json, "quality", f->quality);
    if (f->filter)
        cJSON_AddStringToObject(json, "filter", f->filter);
    if (f->crop)
        cJSON_AddStringToObject(json, "crop", f->crop);
    cJSON_AddNumberToObject(json, "length", 0);
    cJSON_AddNumberToObject(json, "label_dim", 0);
    cJSON_AddStringToObject(json, "content_hash", "");
    cJSON_AddArrayToObject(json, "provenance");
    return json;
}

static const char *text_of(const cJSON *json, const char *name) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, name);
    return cJSON_IsString(item) ? item->valuestring : NULL;
}

static bool parse_digest(const char *hex, uint8_t digest[SHA256_SIZE]) {
    for (int i = 0; i < SHA256_SIZE; i++) {
        unsigned byte;
        if (strspn(hex + 2 * i, "0123456789abcdef") < 2 || sscanf(hex + 2 * i, "%2x", &byte) != 1)
            return false;
        digest[i] = (uint8_t)byte;
    }
    return hex[2 * SHA256_SIZE] == 0;
}

/* ---- opening ---- */

/* The folder is held under an exclusive lock of our own, since LMDB would make a second writer wait without a word. */
static enum status lock_folder(struct store_writer *w, struct error *e) {
    w->folder = open(w->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (w->folder < 0)
        return st_fail(e, "%s", errno == ENOTDIR ? "a single file: such stores can only be read" : strerror(errno));
    if (flock(w->folder, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK)
        return st_fail(e, "another program is writing to it");
    return ST_OK;
}

static bool is_ours(const char *name) {
    return !strcmp(name, ".") || !strcmp(name, "..") || !strcmp(name, "data.mdb") || !strcmp(name, "lock.mdb");
}

static enum status prepare_folder(struct store_writer *w, bool replace, struct error *e) {
    if (!mkdir(w->path, 0777))
        w->folder_made = true;
    else if (errno != EEXIST)
        return st_fail(e, "cannot make the folder: %s", strerror(errno));
    enum status st = lock_folder(w, e);
    if (st != ST_OK)
        return st;
    DIR *d = opendir(w->path);
    if (!d)
        return st_fail(e, "%s", strerror(errno));
    bool store = false;
    for (struct dirent *f; st == ST_OK && (f = readdir(d));) {
        store |= !strcmp(f->d_name, "data.mdb");
        if (!is_ours(f->d_name))
            st = st_fail(e, "is a folder with other things in it (%s)", f->d_name);
    }
    closedir(d);
    if (st != ST_OK)
        return st;
    char *file = xasprintf("%s/data.mdb", w->path);
    bool unborn = store && lmdb_is_unborn(file);
    free(file);
    if (store && !replace && !unborn)
        return st_fail(e, "there is a store already");
    if (store && (unlinkat(w->folder, "data.mdb", 0) || (unlinkat(w->folder, "lock.mdb", 0) && errno != ENOENT)))
        return st_fail(e, "cannot remove the old store: %s", strerror(errno));
    w->created = true;
    w->place.file = xasprintf("%s/data.mdb", w->path);
    w->place.lock = xasprintf("%s/lock.mdb", w->path);
    return ST_OK;
}

static enum status open_env(struct store_writer *w, size_t map_size, struct error *e) {
    if (!store_prepare_lock(&w->place))
        return st_fail(e, "cannot make its lock file: %s", strerror(errno ? errno : ENOSPC));
    w->map_size = map_size;
    int rc = mdb_env_create(&w->env);
    if (!rc)
        rc = mdb_env_set_mapsize(w->env, map_size);
    if (!rc)
        rc = mdb_env_open(w->env, w->path, MDB_NOTLS, 0666);
    return rc ? st_fail(e, "cannot open the database: %s", mdb_strerror(rc)) : ST_OK;
}

static struct store_writer *new_writer(const char *path) {
    struct store_writer *w = xcalloc(1, sizeof *w);
    w->path = xstrdup(path);
    w->folder = -1;
    w->batch = xcalloc(BATCH_RECORDS, sizeof *w->batch);
    pthread_mutex_init(&w->lock, NULL);
    return w;
}

static enum status begin_reader(struct store_writer *w, struct error *e) {
    int rc = mdb_txn_begin(w->env, NULL, MDB_RDONLY, &w->reader);
    return rc ? st_fail(e, "%s: %s", w->path, mdb_strerror(rc)) : ST_OK;
}

static void free_writer(struct store_writer *w) {
    if (w->reader)
        mdb_txn_abort(w->reader);
    if (w->env)
        mdb_env_close(w->env);
    if (w->created && !w->committed) { /* leave nothing behind that was not there */
        unlinkat(w->folder, "data.mdb", 0);
        unlinkat(w->folder, "lock.mdb", 0);
    }
    if (w->folder_made && !w->committed)
        rmdir(w->path);
    if (w->folder >= 0)
        close(w->folder);
    for (int i = 0; i < w->n; i++)
        store_record_free(&w->batch[i]);
    free(w->batch);
    cJSON_Delete(w->json);
    store_free_place(&w->place);
    pthread_mutex_destroy(&w->lock);
    free(w->path);
    free(w);
}

/* Everything of f must be storable: the one place where this is decided. */
static enum status check_format(const struct store_format *f, struct error *e) {
    if (f->n_sizes < 1 || f->n_sizes > STORE_MAX_SIZES)
        return st_fail(e, "a store has 1 to %d sizes", STORE_MAX_SIZES);
    for (int i = 0; i < f->n_sizes; i++) {
        if (f->width[i] < 1 || f->height[i] < 1 || f->width[i] > IMAGE_MAX_SIDE || f->height[i] > IMAGE_MAX_SIDE ||
            (int64_t)f->width[i] * f->height[i] > IMAGE_MAX_PIXELS)
            return st_fail(e, "size %dx%d is not possible", f->width[i], f->height[i]);
        if (i && f->height[i] >= f->height[i - 1])
            return st_fail(e, "the heights of a store's sizes must differ (%d and %d)", f->height[i - 1], f->height[i]);
    }
    return ST_OK;
}

enum status store_create(struct store_writer **out, const char *path, const struct store_format *f, bool replace, struct error *e) {
    *out = NULL;
    struct store_writer *w = new_writer(path);
    w->format = *f;
    enum status st = check_format(f, e);
    if (st == ST_OK)
        st = prepare_folder(w, replace, e);
    if (st == ST_OK)
        st = open_env(w, MAP_STEP, e);
    if (st != ST_OK) {
        free_writer(w);
        return st_prefix(st, e, "%s", path);
    }
    w->json = new_meta(f);
    w->format.filter = text_of(w->json, "filter");
    w->format.crop = text_of(w->json, "crop");
    MDB_txn *txn; /* only to get the handle: nothing is written before the first batch */
    int rc = mdb_txn_begin(w->env, NULL, 0, &txn);
    if (!rc)
        rc = mdb_dbi_open(txn, NULL, 0, &w->dbi);
    if (!rc)
        rc = mdb_txn_commit(txn);
    if (rc)
        st = st_fail(e, "%s: %s", path, mdb_strerror(rc));
    else
        st = begin_reader(w, e);
    if (st != ST_OK) {
        free_writer(w);
        return st;
    }
    *out = w;
    return ST_OK;
}

static enum status load(struct store_writer *w, struct error *e) {
    struct store_meta m;
    int key_size[STORE_MAX_SIZES];
    enum status st = store_begin_checked(w->env, w->place.file, &w->reader, &w->dbi, e);
    if (st == ST_OK)
        st = store_load_meta(w->reader, w->dbi, &m, key_size, &w->json, e);
    if (st != ST_OK)
        return st;
    if (m.foreign)
        return st_fail(e, "made by another program: copy it with `pack-lmdb unpack STORE | pack-lmdb NEW`");
    if (!parse_digest(m.content_hash, w->chain))
        return st_fail(e, "damaged: its content hash is none");
    w->format = (struct store_format){.n_sizes = m.n_sizes, .channels = m.channels, .codec = m.codec,
                                      .filter = text_of(w->json, "filter"), .crop = text_of(w->json, "crop")};
    memcpy(w->format.height, m.height, sizeof m.height);
    memcpy(w->format.width, m.width, sizeof m.width);
    const cJSON *quality = cJSON_GetObjectItemCaseSensitive(w->json, "quality");
    w->format.quality = cJSON_IsNumber(quality) ? quality->valueint : 0;
    if (!cJSON_IsArray(cJSON_GetObjectItemCaseSensitive(w->json, "provenance")))
        set(w->json, "provenance", cJSON_CreateArray());
    w->committed = m.length;
    w->label_dim = m.label_dim;
    return ST_OK;
}

enum status store_extend(struct store_writer **out, const char *path, struct error *e) {
    *out = NULL;
    struct store_writer *w = new_writer(path);
    enum status st = store_find_place(&w->place, path, e);
    struct stat sb;
    if (st == ST_OK)
        st = lock_folder(w, e);
    if (st == ST_OK && (access(w->place.file, R_OK | W_OK) || stat(w->place.file, &sb)))
        st = st_fail(e, "cannot write to it: %s", strerror(errno));
    if (st == ST_OK)
        st = lmdb_check_header(w->place.file, e);
    if (st == ST_OK)
        st = open_env(w, ((size_t)sb.st_size / MAP_STEP + 2) * MAP_STEP, e);
    if (st == ST_OK)
        st = load(w, e);
    if (st != ST_OK) {
        free_writer(w);
        return st_prefix(ST_FAIL, e, "%s", path);
    }
    *out = w;
    return ST_OK;
}

/* ---- writing ---- */

static int put(struct store_writer *w, MDB_txn *txn, MDB_val key, const void *data, size_t size) {
    MDB_val value = {size, (void *)data};
    return mdb_put(txn, w->dbi, &key, &value, 0);
}

static int put_record(struct store_writer *w, MDB_txn *txn, const struct store_record *r, int64_t index) {
    char room[STORE_KEY_ROOM], text[32];
    int rc = 0;
    for (int i = 0; i < w->format.n_sizes && !rc; i++)
        rc = put(w, txn, store_picture_key(room, w->format.height[i], index), r->picture[i].data, r->picture[i].size);
    if (!rc)
        rc = put(w, txn, store_text_key(room, "key", index), r->key, strlen(r->key));
    if (!rc && r->json)
        rc = put(w, txn, store_text_key(room, "json", index), r->json, strlen(r->json));
    if (!rc && r->label >= 0)
        rc = put(w, txn, store_text_key(room, "label", index), text, (size_t)snprintf(text, sizeof text, "%d", r->label));
    if (!rc && r->hashed) { /* the first sample of a picture keeps it */
        MDB_val key = store_hash_key(room, r->source);
        MDB_val value = {(size_t)snprintf(text, sizeof text, "%lld", (long long)index), text};
        rc = mdb_put(txn, w->dbi, &key, &value, MDB_NOOVERWRITE);
        rc = rc == MDB_KEYEXIST ? 0 : rc;
    }
    return rc;
}

static int put_meta(struct store_writer *w, MDB_txn *txn, const uint8_t chain[SHA256_SIZE], int label_dim, int64_t length) {
    char hex[SHA256_HEX], number[32];
    sha256_to_hex(chain, hex);
    set(w->json, "length", cJSON_CreateNumber((double)length));
    set(w->json, "label_dim", cJSON_CreateNumber(label_dim));
    set(w->json, "content_hash", cJSON_CreateString(hex));
    char *text = cJSON_PrintUnformatted(w->json);
    int rc = put(w, txn, (MDB_val){4, "meta"}, text, strlen(text));
    free(text);
    if (!rc)
        rc = put(w, txn, (MDB_val){6, "length"}, number, (size_t)snprintf(number, sizeof number, "%lld", (long long)length));
    return rc;
}

/* The whole batch in one transaction; MDB_MAP_FULL leaves the database as it was. */
static int write_batch(struct store_writer *w, const uint8_t chain[SHA256_SIZE], int label_dim) {
    MDB_txn *txn;
    int rc = mdb_txn_begin(w->env, NULL, 0, &txn);
    if (rc)
        return rc;
    for (int i = 0; i < w->n && !rc; i++)
        rc = put_record(w, txn, &w->batch[i], w->committed + i);
    if (!rc)
        rc = put_meta(w, txn, chain, label_dim, w->committed + w->n);
    if (!rc)
        return mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    return rc;
}

/* The map may change its size only while no transaction is open in this process. */
static int grow_map(struct store_writer *w) {
    if (w->reader)
        mdb_txn_abort(w->reader);
    w->reader = NULL;
    w->map_size += w->map_size / 2 > w->bytes * 2 ? w->map_size / 2 : w->bytes * 2;
    w->map_size = (w->map_size / MAP_STEP + 1) * MAP_STEP;
    return mdb_env_set_mapsize(w->env, w->map_size);
}

enum status store_flush(struct store_writer *w, struct error *e) {
    if (!w->n && !w->dirty)
        return ST_OK;
    uint8_t chain[SHA256_SIZE], both[2 * SHA256_SIZE];
    int label_dim = w->label_dim;
    memcpy(chain, w->chain, sizeof chain);
    for (int i = 0; i < w->n; i++) {
        memcpy(both, chain, SHA256_SIZE);
        memcpy(both + SHA256_SIZE, w->batch[i].digest, SHA256_SIZE);
        sha256(both, sizeof both, chain);
        if (w->batch[i].label >= label_dim)
            label_dim = w->batch[i].label + 1;
    }
    int rc = write_batch(w, chain, label_dim);
    if (rc == MDB_MAP_FULL) {
        pthread_mutex_lock(&w->lock);
        while (rc == MDB_MAP_FULL) {
            rc = grow_map(w);
            if (!rc)
                rc = write_batch(w, chain, label_dim);
        }
        pthread_mutex_unlock(&w->lock);
    }
    if (rc) /* LMDB makes EIO of a short write, which is what a disk that fills up gives first */
        return st_fail(e, "write %s: %s", w->path, rc == EIO ? "could not be written whole (is the disk full?)" : mdb_strerror(rc));
    if (!w->committed && w->created)
        fsync(w->folder);
    pthread_mutex_lock(&w->lock);
    memcpy(w->chain, chain, sizeof chain);
    w->label_dim = label_dim;
    w->committed += w->n;
    for (int i = 0; i < w->n; i++)
        store_record_free(&w->batch[i]);
    w->n = 0;
    w->bytes = 0;
    w->dirty = false;
    if (w->reader)
        mdb_txn_abort(w->reader);
    w->reader = NULL;
    enum status st = begin_reader(w, e);
    pthread_mutex_unlock(&w->lock);
    return st;
}

enum status store_put(struct store_writer *w, struct store_record *r, struct error *e) {
    if (store_writer_length(w) >= STORE_MAX_LENGTH) {
        store_record_free(r);
        return st_fail(e, "%s: a store holds at most %lld samples", w->path, STORE_MAX_LENGTH);
    }
    if (!r->sealed)
        store_record_seal(r, &w->format);
    if (!w->n)
        w->since = seconds();
    for (int i = 0; i < w->format.n_sizes; i++)
        w->bytes += r->picture[i].size;
    w->bytes += r->json ? strlen(r->json) : 0;
    pthread_mutex_lock(&w->lock);
    w->batch[w->n++] = *r;
    pthread_mutex_unlock(&w->lock);
    *r = (struct store_record){0};
    if (w->n == BATCH_RECORDS || w->bytes >= BATCH_BYTES || seconds() - w->since >= BATCH_SECONDS)
        return store_flush(w, e);
    return ST_OK;
}

enum status store_writer_close(struct store_writer *w, bool complete, struct error *e) {
    if (!w)
        return ST_OK;
    cJSON *provenance = cJSON_GetObjectItemCaseSensitive(w->json, "provenance");
    cJSON *last = cJSON_GetArrayItem(provenance, cJSON_GetArraySize(provenance) - 1);
    if (w->session && w->session_first == store_writer_length(w)) { /* a session that added nothing leaves no trace */
        cJSON_DeleteItemFromArray(provenance, cJSON_GetArraySize(provenance) - 1);
        w->dirty = false;
    } else if (complete && last && !cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(last, "complete"))) {
        set(last, "complete", cJSON_CreateTrue());
        w->dirty = true;
    }
    enum status st = w->n || (w->dirty && w->committed) ? store_flush(w, e) : ST_OK;
    free_writer(w);
    return st;
}

/* ---- asking ---- */

const struct store_format *store_writer_format(const struct store_writer *w) { return &w->format; }
int64_t store_writer_length(const struct store_writer *w) { return w->committed + w->n; }
int64_t store_writer_committed(const struct store_writer *w) { return w->committed; }
const cJSON *store_writer_json(const struct store_writer *w) { return w->json; }

void store_writer_set(struct store_writer *w, const char *name, cJSON *value) {
    set(w->json, name, value);
    w->dirty = true;
}

void store_writer_start_session(struct store_writer *w, cJSON *entry) {
    set(entry, "first", cJSON_CreateNumber((double)store_writer_length(w)));
    set(entry, "complete", cJSON_CreateFalse());
    cJSON_AddItemToArray(cJSON_GetObjectItemCaseSensitive(w->json, "provenance"), entry);
    w->session = true;
    w->session_first = store_writer_length(w);
    w->dirty = true;
}

static const cJSON *last_session(const struct store_writer *w) {
    const cJSON *provenance = cJSON_GetObjectItemCaseSensitive(w->json, "provenance");
    return cJSON_GetArrayItem(provenance, cJSON_GetArraySize(provenance) - 1);
}

int64_t store_writer_last_session(const struct store_writer *w, bool *complete) {
    const cJSON *last = last_session(w);
    const cJSON *first = last ? cJSON_GetObjectItemCaseSensitive(last, "first") : NULL;
    *complete = last && cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(last, "complete"));
    return cJSON_IsNumber(first) && first->valuedouble > 0 && first->valuedouble <= (double)w->committed
               ? (int64_t)first->valuedouble
               : 0;
}

const cJSON *store_writer_last_option(const struct store_writer *w, const char *name) {
    return cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(last_session(w), "options"), name);
}

bool store_writer_find(struct store_writer *w, const uint8_t source[SHA256_SIZE], int64_t *index) {
    char room[STORE_KEY_ROOM];
    MDB_val key = store_hash_key(room, source), value;
    bool found = false;
    pthread_mutex_lock(&w->lock);
    if (w->reader && !mdb_get(w->reader, w->dbi, &key, &value))
        found = store_parse_decimal(&value, STORE_MAX_LENGTH, index);
    for (int i = 0; i < w->n && !found; i++)
        if (w->batch[i].hashed && !memcmp(w->batch[i].source, source, SHA256_SIZE)) {
            *index = w->committed + i;
            found = true;
        }
    pthread_mutex_unlock(&w->lock);
    return found;
}

char *store_writer_key(struct store_writer *w, int64_t index) {
    char room[STORE_KEY_ROOM], *text = NULL;
    MDB_val key = store_text_key(room, "key", index), value;
    pthread_mutex_lock(&w->lock);
    if (w->reader && !mdb_get(w->reader, w->dbi, &key, &value)) {
        text = xmalloc(value.mv_size + 1);
        memcpy(text, value.mv_data, value.mv_size);
        text[value.mv_size] = 0;
    }
    pthread_mutex_unlock(&w->lock);
    return text;
}
