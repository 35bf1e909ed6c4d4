/* store.c - see store.h: opening and reading. Typical: 70,000 samples of 5 KB, read at random by two to eight threads. */
#include "common/store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/hash.h"
#include "common/store/lmdb_check.h"
#include "common/store/store_impl.h"

#define FOREIGN_TRIES 64 /* keys that begin with a digit looked at in search of SIZE-INDEX ones */

struct store {
    struct store_place place;
    uint64_t file_bytes;
    MDB_env *env;
    MDB_txn *txn; /* one for the life of the store, used under `lock` */
    MDB_dbi dbi;
    pthread_mutex_t lock;
    struct store_meta meta;
    int key_size[STORE_MAX_SIZES];
    cJSON *json;
    uint32_t *kept; /* [length] samples of the file, after store_keep; NULL: all, as they are */
};

/* ---- keys and small values ---- */

MDB_val store_picture_key(char room[STORE_KEY_ROOM], int size, int64_t index) {
    return (MDB_val){(size_t)snprintf(room, STORE_KEY_ROOM, "%d-%05lld", size, (long long)index), room};
}

MDB_val store_text_key(char room[STORE_KEY_ROOM], const char *prefix, int64_t index) {
    return (MDB_val){(size_t)snprintf(room, STORE_KEY_ROOM, "%.16s-%05lld", prefix, (long long)index), room};
}

MDB_val store_hash_key(char room[STORE_KEY_ROOM], const uint8_t digest[32]) {
    memcpy(room, "hash-", 5);
    sha256_to_hex(digest, room + 5);
    return (MDB_val){5 + 64, room};
}

bool store_parse_decimal(const MDB_val *v, int64_t max, int64_t *value) {
    const char *p = v->mv_data;
    int64_t n = 0;
    if (v->mv_size < 1 || v->mv_size > 18)
        return false;
    for (size_t i = 0; i < v->mv_size; i++) {
        if (p[i] < '0' || p[i] > '9')
            return false;
        n = n * 10 + (p[i] - '0');
    }
    *value = n;
    return n <= max;
}

/* ---- opening ---- */

enum status store_find_place(struct store_place *p, const char *path, struct error *e) {
    struct stat sb;
    *p = (struct store_place){0};
    if (stat(path, &sb))
        return st_fail(e, "%s", errno == ENOENT ? "there is no such store" : strerror(errno));
    if (S_ISDIR(sb.st_mode)) {
        p->file = xasprintf("%s/data.mdb", path);
        p->lock = xasprintf("%s/lock.mdb", path);
        if (stat(p->file, &sb)) {
            enum status st = st_fail(e, "%s", errno == ENOENT ? "no picture store: a folder without data.mdb (pack-lmdb makes one of pictures)" : strerror(errno));
            store_free_place(p);
            return st;
        }
    } else {
        p->file = xstrdup(path);
        p->lock = xasprintf("%s-lock", path);
        p->flags = MDB_NOSUBDIR;
    }
    return ST_OK;
}

bool store_exists(const char *path) {
    struct store_place p;
    bool yes = store_find_place(&p, path, NULL) == ST_OK && !lmdb_is_unborn(p.file);
    store_free_place(&p);
    return yes;
}

void store_free_place(struct store_place *p) {
    free(p->file);
    free(p->lock);
    *p = (struct store_place){0};
}

bool store_prepare_lock(const struct store_place *p) {
    struct stat sb;
    if (!stat(p->lock, &sb) && sb.st_size >= STORE_LOCK_BYTES)
        return !access(p->lock, R_OK | W_OK); /* not opened here: closing it would drop LMDB's locks in this process */
    int fd = open(p->lock, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0)
        return false;
    int rc = posix_fallocate(fd, 0, STORE_LOCK_BYTES);
    close(fd);
    errno = rc;
    return !rc;
}

enum status store_begin_checked(MDB_env *env, const char *file, MDB_txn **txn, MDB_dbi *dbi, struct error *e) {
    for (int tries = 0; tries < 100; tries++) {
        int rc = mdb_txn_begin(env, NULL, MDB_RDONLY, txn);
        if (rc == MDB_MAP_RESIZED) { /* somebody appended since the file was measured */
            rc = mdb_env_set_mapsize(env, 0);
            if (!rc)
                continue;
        }
        if (!rc)
            rc = mdb_dbi_open(*txn, NULL, 0, dbi);
        if (rc)
            return st_fail(e, "%s", mdb_strerror(rc));
        enum status st = lmdb_check_tree(file, mdb_txn_id(*txn), e);
        if (st != ST_END)
            return st;
        mdb_txn_abort(*txn);
        *txn = NULL;
    }
    return st_fail(e, "it is being written too fast to be read");
}

/* Opens for reading. Without permission to take part in the locking (read-only media, somebody else's folder) it goes on
 * without, as Python loaders do with lock=False: then nobody may append at the same time. */
static enum status open_env(struct store *s, struct error *e) {
    struct stat sb;
    if (access(s->place.file, R_OK) || stat(s->place.file, &sb))
        return st_fail(e, "%s", strerror(errno));
    enum status st = lmdb_check_header(s->place.file, e);
    if (st != ST_OK)
        return st;
    s->file_bytes = (uint64_t)sb.st_size;
    unsigned flags = MDB_RDONLY | MDB_NOTLS | s->place.flags;
    if (!store_prepare_lock(&s->place))
        flags |= MDB_NOLOCK;
    uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    if (s->file_bytes > memory / 2)
        flags |= MDB_NORDAHEAD; /* reads are random: what would be read ahead is lost before it is used */

    char *path = xstrdup(s->place.file);
    if (!(flags & MDB_NOSUBDIR))
        path[strlen(path) - strlen("/data.mdb")] = 0;
    int rc = mdb_env_create(&s->env);
    if (!rc) /* as large as the file, whatever map size it names */
        rc = mdb_env_set_mapsize(s->env, (s->file_bytes + 65535) / 65536 * 65536);
    if (!rc)
        rc = mdb_env_open(s->env, *path ? path : "/", flags, 0666);
    free(path);
    if (rc)
        return st_fail(e, "cannot open the database: %s", mdb_strerror(rc));
    return store_begin_checked(s->env, s->place.file, &s->txn, &s->dbi, e);
}

enum status store_open(struct store **out, const char *path, struct error *e) {
    *out = NULL;
    struct store *s = xcalloc(1, sizeof *s);
    pthread_mutex_init(&s->lock, NULL);
    enum status st = store_find_place(&s->place, path, e);
    if (st == ST_OK)
        st = open_env(s, e);
    if (st == ST_OK)
        st = store_load_meta(s->txn, s->dbi, &s->meta, s->key_size, &s->json, e);
    if (st != ST_OK) {
        store_close(s);
        return st_prefix(ST_FAIL, e, "%s", path);
    }
    *out = s;
    return ST_OK;
}

void store_close(struct store *s) {
    if (!s)
        return;
    if (s->txn)
        mdb_txn_abort(s->txn);
    if (s->env)
        mdb_env_close(s->env);
    cJSON_Delete(s->json);
    free(s->kept);
    store_free_place(&s->place);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* ---- meta ---- */

static bool get_int(const cJSON *object, const char *name, int64_t min, int64_t max, int64_t *value) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= (double)min && item->valuedouble <= (double)max))
        return false;
    *value = (int64_t)item->valuedouble;
    return (double)*value == item->valuedouble;
}

static const char *get_text(const cJSON *object, const char *name) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsString(item) ? item->valuestring : "";
}

static enum status parse_meta(const cJSON *json, struct store_meta *m, int key_size[STORE_MAX_SIZES], struct error *e) {
    int64_t version, length, channels, labels;
    if (strcmp(get_text(json, "format"), STORE_FORMAT) || !get_int(json, "version", 1, INT32_MAX, &version))
        return st_fail(e, "its meta record is not ours");
    if (version > STORE_VERSION)
        return st_fail(e, "made by a newer version (format %lld, this program reads up to %d)", (long long)version,
                       STORE_VERSION);
    if (!get_int(json, "length", 0, STORE_MAX_LENGTH, &length) || length != m->length)
        return st_fail(e, "damaged: meta and length disagree about the number of samples");
    if (!get_int(json, "channels", 1, 4, &channels) || channels == 2 || !get_int(json, "label_dim", 0, STORE_MAX_LABEL, &labels))
        return st_fail(e, "damaged: meta has no usable channels or label_dim");
    m->channels = (int)channels;
    m->label_dim = (int)labels;
    const char *codec = get_text(json, "codec");
    m->codec = !strcmp(codec, "raw") ? IMAGE_PPM : image_format_by_name(codec);
    if (m->codec == IMAGE_UNKNOWN)
        return st_fail(e, "its codec \"%.20s\" is not known here", codec);
    m->content_hash = get_text(json, "content_hash");

    const cJSON *size;
    cJSON_ArrayForEach(size, cJSON_GetObjectItemCaseSensitive(json, "sizes")) {
        int64_t width, height;
        if (m->n_sizes == STORE_MAX_SIZES || !get_int(size, "width", 1, IMAGE_MAX_SIDE, &width) ||
            !get_int(size, "height", 1, IMAGE_MAX_SIDE, &height) || width * height > IMAGE_MAX_PIXELS ||
            (m->n_sizes && height >= m->height[m->n_sizes - 1]))
            return st_fail(e, "damaged: meta lists impossible sizes");
        m->width[m->n_sizes] = (int)width;
        m->height[m->n_sizes] = key_size[m->n_sizes] = (int)height;
        m->n_sizes++;
    }
    return m->n_sizes ? ST_OK : st_fail(e, "damaged: meta lists no sizes");
}

/* "SIZE-..." at the start of a key; 0 when it is none. */
static int size_of_key(const MDB_val *key) {
    const char *p = key->mv_data;
    int size = 0;
    size_t i = 0;
    while (i < key->mv_size && i < 5 && p[i] >= '0' && p[i] <= '9')
        size = size * 10 + (p[i++] - '0');
    return i && i < key->mv_size && p[i] == '-' && p[0] != '0' && size <= IMAGE_MAX_SIDE ? size : 0;
}

static int larger_first(const void *a, const void *b) { return *(const int *)b - *(const int *)a; }

/* The sizes of a store without meta: jumps from one "SIZE-" to the next, so it costs a few look-ups. */
static enum status find_sizes(MDB_txn *txn, MDB_dbi dbi, int key_size[STORE_MAX_SIZES], int *n, struct error *e) {
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, dbi, &cursor);
    if (rc)
        return st_fail(e, "%s", mdb_strerror(rc));
    enum status st = ST_OK;
    char room[STORE_KEY_ROOM] = "0";
    MDB_val key = {1, room}, value;
    *n = 0;
    for (int tries = 0; tries < FOREIGN_TRIES && !mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE); tries++) {
        if (*(const char *)key.mv_data > '9')
            break;
        int size = size_of_key(&key);
        if (size && *n == STORE_MAX_SIZES) {
            st = st_fail(e, "no picture store: more than %d sizes", STORE_MAX_SIZES);
            break;
        }
        if (size)
            key_size[(*n)++] = size;
        /* '.' follows '-': the first key that can be of another size; or the very next key when this one is none of ours */
        size_t used = key.mv_size < STORE_KEY_ROOM - 1 ? key.mv_size : STORE_KEY_ROOM - 1;
        if (size)
            used = (size_t)snprintf(room, sizeof room, "%d.", size);
        else {
            memcpy(room, key.mv_data, used);
            room[used++] = 0;
        }
        key = (MDB_val){used, room};
    }
    mdb_cursor_close(cursor);
    qsort(key_size, (size_t)*n, sizeof *key_size, larger_first);
    return st;
}

static enum status look_at_foreign(MDB_txn *txn, MDB_dbi dbi, struct store_meta *m, int key_size[STORE_MAX_SIZES],
                                   struct error *e) {
    m->foreign = true;
    m->content_hash = "";
    enum status st = find_sizes(txn, dbi, key_size, &m->n_sizes, e);
    if (st != ST_OK)
        return st;
    if (!m->n_sizes)
        return st_fail(e, "no picture store: it has no keys of the form SIZE-INDEX");
    for (int i = 0; i < m->n_sizes; i++) {
        char room[STORE_KEY_ROOM];
        MDB_val key = store_picture_key(room, key_size[i], 0), value;
        struct image_info info;
        if (mdb_get(txn, dbi, &key, &value))
            return st_fail(e, "no picture store: record %s is missing", room);
        st = image_probe(value.mv_data, value.mv_size, &info, e);
        if (st != ST_OK)
            return st_prefix(ST_FAIL, e, "no picture store: record %s", room);
        m->width[i] = info.width;
        m->height[i] = info.height;
        if (i == 0) {
            m->channels = info.channels;
            m->codec = info.format;
        }
    }
    return ST_OK;
}

enum status store_load_meta(MDB_txn *txn, MDB_dbi dbi, struct store_meta *m, int key_size[STORE_MAX_SIZES], cJSON **json,
                            struct error *e) {
    *m = (struct store_meta){0};
    *json = NULL;
    MDB_val key = {6, "length"}, value;
    if (mdb_get(txn, dbi, &key, &value)) {
        MDB_stat stat;
        bool empty = !mdb_stat(txn, dbi, &stat) && !stat.ms_entries;
        return st_fail(e, empty ? "empty: its writer was stopped before the first samples were in; pack again"
                                : "no picture store: it has no key \"length\"");
    }
    if (!store_parse_decimal(&value, STORE_MAX_LENGTH, &m->length))
        return st_fail(e, "no picture store: its key \"length\" is not a number up to %lld", STORE_MAX_LENGTH);
    key = (MDB_val){4, "meta"};
    enum status st;
    if (mdb_get(txn, dbi, &key, &value))
        st = look_at_foreign(txn, dbi, m, key_size, e);
    else {
        *json = value.mv_size < (1 << 26) ? cJSON_ParseWithLength(value.mv_data, value.mv_size) : NULL;
        st = *json ? parse_meta(*json, m, key_size, e) : st_fail(e, "damaged: its meta record is not JSON");
    }
    if (st != ST_OK)
        return st;
    for (int i = 0; i < m->n_sizes && m->length; i++) {
        char room[STORE_KEY_ROOM];
        key = store_picture_key(room, key_size[i], m->length - 1);
        if (mdb_get(txn, dbi, &key, &value))
            return st_fail(e, "it claims %lld samples, but record %s is missing", (long long)m->length, room);
    }
    return ST_OK;
}

/* ---- reading ---- */

const struct store_meta *store_get_meta(const struct store *s) { return &s->meta; }
const cJSON *store_meta_json(const struct store *s) { return s->json; }
uint64_t store_bytes(const struct store *s) { return s->file_bytes; }

static int get(struct store *s, MDB_val key, MDB_val *value) {
    pthread_mutex_lock(&s->lock);
    int rc = mdb_get(s->txn, s->dbi, &key, value);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

void store_keep(struct store *s, const uint32_t *order, int64_t n) {
    free(s->kept);
    s->kept = xmalloc((size_t)n * sizeof *s->kept);
    memcpy(s->kept, order, (size_t)n * sizeof *s->kept);
    s->meta.length = n;
}

static int64_t in_file(const struct store *s, int64_t index) {
    return s->kept && index >= 0 && index < s->meta.length ? s->kept[index] : index;
}

enum status store_picture(struct store *s, int size, int64_t index, const void **data, size_t *bytes, struct error *e) {
    char room[STORE_KEY_ROOM];
    if (size < 0 || size >= s->meta.n_sizes || index < 0 || index >= s->meta.length)
        return st_bad(e, "picture %lld of size %d: the store has %lld of %d sizes", (long long)index, size,
                      (long long)s->meta.length, s->meta.n_sizes);
    MDB_val value;
    int rc = get(s, store_picture_key(room, s->key_size[size], in_file(s, index)), &value);
    if (rc)
        return st_bad(e, "record %s: %s", room, rc == MDB_NOTFOUND ? "missing" : mdb_strerror(rc));
    *data = value.mv_data;
    *bytes = value.mv_size;
    return ST_OK;
}

enum status store_decode(struct store *s, int size, int64_t index, struct image *im, struct error *e) {
    *im = (struct image){0};
    const void *data;
    size_t bytes;
    enum status st = store_picture(s, size, index, &data, &bytes, e);
    if (st != ST_OK)
        return st;
    struct image_info info = {0};
    st = image_probe(data, bytes, &info, e); /* before anything is allocated */
    if (st == ST_OK && (info.width != s->meta.width[size] || info.height != s->meta.height[size]))
        st = st_bad(e, "is %dx%d, not %dx%d", info.width, info.height, s->meta.width[size], s->meta.height[size]);
    if (st == ST_OK)
        st = image_decode(data, bytes, s->meta.channels, im, e);
    if (st != ST_OK)
        return st_prefix(st, e, "record %d-%05lld", s->key_size[size], (long long)in_file(s, index));
    return ST_OK;
}

enum status store_label(struct store *s, int64_t index, int *label, struct error *e) {
    char room[STORE_KEY_ROOM];
    MDB_val value;
    int64_t n;
    int rc = get(s, store_text_key(room, "label", in_file(s, index)), &value);
    if (rc)
        return st_bad(e, "record %s: %s", room, rc == MDB_NOTFOUND ? "sample has no label" : mdb_strerror(rc));
    if (!store_parse_decimal(&value, STORE_MAX_LABEL - 1, &n))
        return st_bad(e, "record %s: no class number below %d", room, STORE_MAX_LABEL);
    *label = (int)n;
    return ST_OK;
}

void store_text(struct store *s, const char *prefix, int64_t index, const char **text, size_t *bytes) {
    char room[STORE_KEY_ROOM];
    MDB_val value;
    bool found = !get(s, store_text_key(room, prefix, in_file(s, index)), &value);
    *text = found ? value.mv_data : NULL;
    *bytes = found ? value.mv_size : 0;
}

static int hex_digit(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; }

static bool parse_hash_key(const MDB_val *key, uint8_t digest[32]) {
    const char *p = (const char *)key->mv_data + 5;
    if (key->mv_size != 5 + 64 || memcmp(key->mv_data, "hash-", 5))
        return false;
    for (int i = 0; i < 32; i++) {
        int high = hex_digit(p[2 * i]), low = hex_digit(p[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        digest[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

void store_each_hash(struct store *s, void (*visit)(int64_t index, const uint8_t digest[32], void *data), void *data) {
    MDB_cursor *cursor;
    MDB_val key = {5, "hash-"}, value;
    pthread_mutex_lock(&s->lock);
    if (!mdb_cursor_open(s->txn, s->dbi, &cursor)) {
        int rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
        for (; !rc && key.mv_size >= 5 && !memcmp(key.mv_data, "hash-", 5);
             rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
            uint8_t digest[32];
            int64_t index;
            if (parse_hash_key(&key, digest) && store_parse_decimal(&value, s->meta.length - 1, &index))
                visit(index, digest, data);
        }
        mdb_cursor_close(cursor);
    }
    pthread_mutex_unlock(&s->lock);
}
