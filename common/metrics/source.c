/* source.c - see source.h. */
#include "common/metrics/source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cli/cli.h"
#include "common/store/input.h"
#include "common/store/store.h"
#include "common/stream/sample.h"

#define HASH_AHEAD 64 /* records hashed at once by all threads */

struct source {
    enum source_kind kind;
    char *operand;
    int64_t at; /* items delivered */
    /* stream */
    int fd;
    struct sample_reader *reader;
    struct sample sample;
    /* folder */
    struct cli_paths *paths;
    char *folder[1];
    /* zip */
    struct input *input;
    struct label_names names;
    /* store */
    struct store *store;
    int size; /* index into the store's sizes */
};

const char *source_kind_name(enum source_kind k) {
    static const char *const names[] = {"sample stream", "folder", "store", "zip", "statistics", "features"};
    return names[k];
}

void source_item_free(struct source_item *i) {
    free(i->name);
    bytes_free(&i->owned);
    *i = (struct source_item){0};
}

void content_hash_add(struct content_hash *h, const uint8_t digest[SHA256_SIZE]) {
    uint8_t both[2 * SHA256_SIZE];
    memcpy(both, h->state, SHA256_SIZE);
    memcpy(both + SHA256_SIZE, digest, SHA256_SIZE);
    sha256(both, sizeof both, h->state);
}

enum status source_detect(const char *operand, enum source_kind *kind, struct error *e) {
    struct stat info;
    *kind = SOURCE_STREAM;
    if (!strcmp(operand, "-"))
        return ST_OK;
    if (stat(operand, &info) != 0)
        return st_fail(e, "%s: %s", operand, strerror(errno));
    if (S_ISDIR(info.st_mode)) {
        char *data = xasprintf("%s/data.mdb", operand);
        *kind = access(data, F_OK) == 0 ? SOURCE_STORE : SOURCE_FOLDER;
        free(data);
        return ST_OK;
    }
    size_t n = strlen(operand);
    if (n > 5 && !strcasecmp(operand + n - 5, ".lmdb"))
        *kind = SOURCE_STORE;
    else if (S_ISREG(info.st_mode)) {
        uint8_t head[96] = {0}; /* of a zip: the length of the first member's name lies at 26, the name at 30 */
        int fd = open(operand, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return st_fail(e, "%s: %s", operand, strerror(errno));
        ssize_t got = read(fd, head, sizeof head);
        size_t name = head[26] | (size_t)head[27] << 8;
        bool npy = name > 4 && 30 + name <= sizeof head && !memcmp(head + 30 + name - 4, ".npy", 4);
        if (got >= 4 && !memcmp(head, "PK\3\4", 4))
            *kind = npy ? SOURCE_STATISTICS : SOURCE_ZIP;
        else if (got >= 6 && !memcmp(head, "\x93NUMPY", 6))
            *kind = SOURCE_FEATURES;
        close(fd);
    }
    return ST_OK;
}

static enum status open_store(struct source *s, int size, struct error *e) {
    enum status st = store_open(&s->store, s->operand, e);
    if (st != ST_OK)
        return st;
    const struct store_meta *m = store_get_meta(s->store);
    if (m->length < 1 || m->n_sizes < 1)
        return st_fail(e, "%s: the store is empty", s->operand);
    for (s->size = 0; size && s->size < m->n_sizes; s->size++)
        if (m->height[s->size] == size)
            return ST_OK;
    return size ? st_fail(e, "%s: the store has no pictures of height %d (the largest is %d)", s->operand, size, m->height[0]) : ST_OK;
}

enum status source_open(struct source **out, const char *operand, enum source_kind kind, int size, struct error *e) {
    struct source *s = xcalloc(1, sizeof *s);
    s->kind = kind;
    s->operand = xstrdup(operand);
    s->fd = -1;
    enum status st = ST_OK;
    if (kind == SOURCE_STORE)
        st = open_store(s, size, e);
    else if (kind == SOURCE_FOLDER) {
        s->folder[0] = s->operand;
        s->paths = cli_paths_open(s->folder, 1, image_suffixes, false);
    } else if (kind == SOURCE_ZIP) {
        s->folder[0] = s->operand;
        st = input_open(&s->input, s->folder, 1, INPUT_LABELS_NONE, NULL, &s->names, e);
    } else {
        bool standard = !strcmp(operand, "-");
        s->fd = standard ? STDIN_FILENO : open(operand, O_RDONLY | O_CLOEXEC);
        st = s->fd < 0 ? st_fail(e, "%s: %s", operand, strerror(errno))
                       : sample_reader_open(&s->reader, s->fd, standard ? "stdin" : operand, e);
    }
    if (st != ST_OK) {
        source_close(s);
        s = NULL;
    }
    *out = s;
    return st;
}

void source_close(struct source *s) {
    if (!s)
        return;
    store_close(s->store);
    if (s->paths)
        cli_paths_close(s->paths);
    if (s->input)
        input_close(s->input);
    label_names_free(&s->names);
    if (s->reader)
        sample_reader_close(s->reader);
    sample_free(&s->sample);
    if (s->fd > STDIN_FILENO)
        close(s->fd);
    free(s->operand);
    free(s);
}

int64_t source_count(const struct source *s) {
    return s->kind == SOURCE_STORE ? store_get_meta(s->store)->length : 0;
}

/* The filter of the last step that names one. */
static void last_filter(const cJSON *json, char *filter, size_t room) {
    const cJSON *step;
    cJSON_ArrayForEach(step, cJSON_GetObjectItemCaseSensitive(json, "steps")) {
        const cJSON *f = cJSON_GetObjectItemCaseSensitive(step, "filter");
        if (cJSON_IsString(f))
            snprintf(filter, room, "%s", f->valuestring);
    }
}

static enum status next_sample(struct source *s, struct source_item *item, struct error *e) {
    enum status st = sample_read(s->reader, &s->sample, e);
    if (st == ST_END || st == ST_FAIL)
        return st;
    item->name = xstrdup(s->sample.key);
    if (st == ST_BAD)
        return st;
    if (s->sample.format == IMAGE_UNKNOWN || !s->sample.picture.size)
        return st_bad(e, "no picture in the sample");
    last_filter(s->sample.json, item->filter, sizeof item->filter);
    item->owned = s->sample.picture; /* taken over */
    s->sample.picture = (struct bytes){0};
    item->data = item->owned.data;
    item->size = item->owned.size;
    return ST_OK;
}

static enum status next_in_zip(struct source *s, struct source_item *item, struct error *e) {
    struct input_item in = {0};
    enum status st = input_next(s->input, &in, e);
    item->name = in.source; /* taken over, as is the picture */
    item->owned = in.sample.picture;
    item->data = item->owned.data;
    item->size = item->owned.size;
    in.source = NULL;
    in.sample.picture = (struct bytes){0};
    input_item_free(&in);
    return st;
}

enum status source_next(struct source *s, struct source_item *item, struct error *e) {
    enum status st;
    *item = (struct source_item){.index = s->at};
    if (s->kind == SOURCE_STORE) {
        if (s->at >= store_get_meta(s->store)->length)
            return ST_END;
        const cJSON *filter = cJSON_GetObjectItemCaseSensitive(store_meta_json(s->store), "filter");
        if (cJSON_IsString(filter))
            snprintf(item->filter, sizeof item->filter, "%s", filter->valuestring);
        item->name = xasprintf("%s: sample %lld", s->operand, (long long)s->at);
        st = store_picture(s->store, s->size, s->at, &item->data, &item->size, e);
    } else if (s->kind == SOURCE_FOLDER) {
        const char *path = cli_paths_next(s->paths);
        if (!path)
            return ST_END;
        item->name = xstrdup(path);
        st = file_read(path, IMAGE_MAX_FILE, &item->owned, e);
        item->data = item->owned.data;
        item->size = item->owned.size;
    } else if (s->kind == SOURCE_ZIP)
        st = next_in_zip(s, item, e);
    else
        st = next_sample(s, item, e);
    if (st != ST_END)
        s->at++;
    return st;
}

enum status source_decode(struct source *s, const struct source_item *item, struct image *im, unsigned *rules, struct error *e) {
    struct image_info info = {.orientation = 1};
    enum status st;
    *rules = 0;
    if (s->kind == SOURCE_STORE)
        st = store_decode(s->store, s->size, item->index, im, e);
    else
        st = image_decode_upright(item->data, item->size, 0, im, &info, e);
    if (st != ST_OK)
        return st;
    if (im->channels == 1)
        *rules |= SOURCE_GREY;
    if (im->channels == 4)
        *rules |= SOURCE_ALPHA;
    if (info.orientation > 1)
        *rules |= SOURCE_ROTATED;
    image_to_channels(im, 3);
    return ST_OK;
}

static void rewind_source(struct source *s) {
    s->at = 0;
    if (s->kind == SOURCE_FOLDER) {
        cli_paths_close(s->paths);
        s->paths = cli_paths_open(s->folder, 1, image_suffixes, false);
    }
}

enum status source_hash(struct source *s, int threads, char hex[SHA256_HEX], int64_t *count, struct error *e) {
    if (s->kind != SOURCE_STORE && s->kind != SOURCE_FOLDER)
        return ST_END;
    struct content_hash h = {0};
    enum status st = ST_OK;
    *count = 0;
    while (st != ST_END) {
        struct source_item item[HASH_AHEAD];
        uint8_t digest[HASH_AHEAD][SHA256_SIZE];
        int n = 0;
        while (n < HASH_AHEAD && (st = source_next(s, &item[n], e)) != ST_END) {
            if (st == ST_FAIL) {
                for (int i = 0; i <= n; i++)
                    source_item_free(&item[i]);
                return st;
            }
            n++;
        }
#pragma omp parallel for num_threads(threads) schedule(dynamic)
        for (int i = 0; i < n; i++) {
            sha256(item[i].size ? item[i].data : "", item[i].size, digest[i]);
            source_item_free(&item[i]);
        }
        for (int i = 0; i < n; i++)
            content_hash_add(&h, digest[i]);
        *count += n;
    }
    sha256_to_hex(h.state, hex);
    rewind_source(s);
    return ST_OK;
}
