/* input.c - see input.h. */
#include "common/store/input.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cli/cli.h"
#include "common/store/store_tools.h"

#define DATASET_JSON "dataset.json"
#define DATASET_JSON_BYTES ((size_t)256 << 20)
#define PIECE ((size_t)1 << 20)


enum kind { NOTHING, FOLDER, FILE_ALONE, STREAM, ZIP, STORE };

struct input {
    char **operand;
    int n, at; /* the operand that is open is at - 1 */
    enum input_labels labels;
    const struct label_table *table;
    struct label_names *names;
    enum kind kind;           /* of the open operand */
    struct label_table *own;  /* its dataset.json, or NULL */
    struct cli_paths *paths;  /* FOLDER */
    int unreadable;
    struct sample_reader *stream; /* STREAM */
    int fd;
    struct archive *zip; /* ZIP */
    struct store *store; /* STORE */
    int64_t record;      /* of it, the next */
    char last_key[SAMPLE_KEY_MAX];
    locale_t utf8;
};

void input_item_free(struct input_item *item) {
    free(item->source);
    sample_free(&item->sample);
    *item = (struct input_item){0};
}

enum input_labels input_labels_by_name(const char *name) {
    static const char *const names[] = {"auto", "none", "folder"}; /* in enum order */
    for (int i = 0; i < INPUT_LABELS_TABLE; i++)
        if (!strcmp(name, names[i]))
            return (enum input_labels)i;
    return INPUT_LABELS_TABLE;
}

enum status input_open(struct input **out, char **operands, int n, enum input_labels labels, const struct label_table *table,
                       struct label_names *names, struct error *e) {
    struct input *in = xcalloc(1, sizeof *in);
    *in = (struct input){.operand = operands, .n = n, .labels = labels, .table = table, .names = names, .fd = -1};
    in->utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0); /* libarchive turns names into the locale's charset */
    for (int i = 0; i < n; i++) { /* a misspelt name is better found before an hour of work than after it */
        if (strcmp(operands[i], "-") && access(operands[i], R_OK)) {
            enum status st = st_fail(e, "%s: %s", operands[i], strerror(errno));
            input_close(in);
            *out = NULL;
            return st;
        }
    }
    *out = in;
    return ST_OK;
}

static void close_operand(struct input *in) {
    if (in->paths)
        in->unreadable += cli_paths_close(in->paths);
    sample_reader_close(in->stream);
    archive_read_free(in->zip);
    store_close(in->store);
    if (in->fd > 0)
        close(in->fd);
    label_table_free(in->own);
    in->paths = NULL;
    in->stream = NULL;
    in->zip = NULL;
    in->store = NULL;
    in->record = 0;
    in->fd = -1;
    in->own = NULL;
    in->kind = NOTHING;
}

int input_close(struct input *in) {
    if (!in)
        return 0;
    close_operand(in);
    int unreadable = in->unreadable;
    if (in->utf8)
        freelocale(in->utf8);
    free(in);
    return unreadable;
}

/* ---- zip ---- */

static const char *zip_error(struct archive *a) {
    const char *text = archive_error_string(a);
    return text ? text : "unknown error";
}

static enum status zip_open(struct archive **a, const char *path, struct error *e) {
    *a = archive_read_new();
    archive_read_support_format_zip(*a);
    if (archive_read_open_filename(*a, path, 1 << 16) < ARCHIVE_WARN) {
        enum status st = st_fail(e, "%s: no readable zip archive: %s", path, zip_error(*a));
        archive_read_free(*a);
        *a = NULL;
        return st;
    }
    return ST_OK;
}

/* Next file of the archive; ST_END at its end. *name is libarchive's. */
static enum status zip_next(struct archive *a, const char *path, struct archive_entry **entry, const char **name, struct error *e) {
    for (;;) {
        int code = archive_read_next_header(a, entry);
        if (code == ARCHIVE_EOF)
            return ST_END;
        if (code < ARCHIVE_WARN)
            return st_fail(e, "%s: damaged or truncated zip archive: %s", path, zip_error(a));
        *name = archive_entry_pathname_utf8(*entry);
        if (!*name)
            *name = archive_entry_pathname(*entry);
        if (*name && archive_entry_filetype(*entry) == AE_IFREG)
            return ST_OK;
    }
}

static enum status zip_read(struct archive *a, size_t limit, struct bytes *out, struct error *e) {
    out->size = 0;
    for (;;) { /* in pieces: sizes in the archive may lie */
        bytes_reserve(out, out->size + PIECE);
        la_ssize_t n = archive_read_data(a, out->data + out->size, PIECE);
        if (n == 0)
            return ST_OK;
        if (n < 0)
            return n == ARCHIVE_FATAL ? st_fail(e, "damaged or truncated zip archive: %s", zip_error(a)) : st_bad(e, "%s", zip_error(a));
        out->size += (size_t)n;
        if (out->size > limit)
            return st_bad(e, "over the limit of %zu bytes", limit);
    }
}

/* dataset.json often stands at the end, so labels take a pass of their own over the directory. */
static enum status zip_labels(struct input *in, const char *path, struct error *e) {
    struct archive *a;
    struct archive_entry *entry;
    const char *name;
    enum status st = zip_open(&a, path, e);
    while (st == ST_OK && (st = zip_next(a, path, &entry, &name, e)) == ST_OK) {
        if (strcmp(name, DATASET_JSON))
            continue;
        struct bytes text = {0};
        char *label = xasprintf("%s: %s", path, name);
        st = zip_read(a, DATASET_JSON_BYTES, &text, e);
        if (st == ST_OK)
            st = label_table_parse(&in->own, text.data, text.size, label, e);
        free(label);
        bytes_free(&text);
        break;
    }
    archive_read_free(a);
    return st == ST_BAD ? ST_FAIL : st == ST_END ? ST_OK : st;
}

/* ---- operands ---- */

static enum kind kind_of_file(const uint8_t *head, size_t size) {
    if (size >= 4 && (!memcmp(head, "PK\3\4", 4) || !memcmp(head, "PK\5\6", 4)))
        return ZIP;
    if (size >= 20 && !memcmp(head + 16, "\xde\xc0\xef\xbe", 4))
        return STORE; /* LMDB's magic number behind the head of its first page */
    if (size >= 262 && !memcmp(head + 257, "ustar", 5))
        return STREAM;
    if (size >= 4 && (!memcmp(head, "\x1f\x8b", 2) || !memcmp(head, "\x28\xb5\x2f\xfd", 4)))
        return STREAM; /* compressed tar */
    return FILE_ALONE;
}

static enum status folder_labels(struct input *in, const char *path, struct error *e) {
    char *file = xasprintf("%s/" DATASET_JSON, path);
    enum status st = access(file, F_OK) ? ST_OK : label_table_read(&in->own, file, e);
    free(file);
    return st == ST_BAD ? ST_FAIL : st;
}

static enum status open_operand(struct input *in, struct error *e) {
    char *path = in->operand[in->at++];
    struct stat sb;
    bool own = in->labels == INPUT_LABELS_AUTO;
    if (!strcmp(path, "-")) {
        in->kind = STREAM;
        return sample_reader_open(&in->stream, 0, "stdin", e);
    }
    if (stat(path, &sb))
        return st_fail(e, "%s: %s", path, strerror(errno));
    if (S_ISDIR(sb.st_mode) && store_exists(path)) {
        in->kind = STORE;
        return store_open(&in->store, path, e);
    }
    if (S_ISDIR(sb.st_mode)) {
        in->kind = FOLDER;
        in->paths = cli_paths_open(&in->operand[in->at - 1], 1, image_suffixes, false);
        return own ? folder_labels(in, path, e) : ST_OK;
    }
    in->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (in->fd < 0)
        return st_fail(e, "%s: %s", path, strerror(errno));
    if (S_ISREG(sb.st_mode)) {
        uint8_t head[512];
        ssize_t n = pread(in->fd, head, sizeof head, 0);
        in->kind = kind_of_file(head, n > 0 ? (size_t)n : 0);
    } else
        in->kind = STREAM; /* a named pipe */
    if (in->kind == STREAM)
        return sample_reader_open(&in->stream, in->fd, path, e);
    if (in->kind == STORE) {
        close(in->fd);
        in->fd = -1;
        return store_open(&in->store, path, e);
    }
    if (in->kind == ZIP) {
        enum status st = own ? zip_labels(in, path, e) : ST_OK;
        return st == ST_OK ? zip_open(&in->zip, path, e) : st;
    }
    return ST_OK;
}

/* ---- samples ---- */

/* A key from a path: without suffix, other dots of the base name replaced (WebDataset cuts a key at the first). Two pictures
 * in a row that differ in their suffix only (a.jpg, a.png) must not become one sample when they are unpacked. */
static enum status make_key(struct input *in, struct sample *s, const char *path, struct error *e) {
    while (path[0] == '/' || (path[0] == '.' && path[1] == '/'))
        path++;
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path, *dot = strrchr(base, '.');
    size_t size = dot && dot > base ? (size_t)(dot - path) : strlen(path);
    if (size + 16 > SAMPLE_KEY_MAX)
        return st_bad(e, "its name of %zu bytes is too long for a key", size);
    memcpy(s->key, path, size);
    s->key[size] = 0;
    for (char *p = s->key + (base - path); *p; p++)
        if (*p == '.')
            *p = '_';
    if (!strcmp(s->key, in->last_key) && dot)
        snprintf(s->key + size, 16, "_%.14s", dot + 1);
    for (const char *p = s->key; (p = strstr(p, "..")); p += 2)
        if ((p == s->key || p[-1] == '/') && (p[2] == '/' || !p[2]))
            return st_bad(e, "its name leads out of its folder");
    if (!*s->key)
        return st_bad(e, "it has no name");
    snprintf(in->last_key, sizeof in->last_key, "%s", s->key);
    return ST_OK;
}

static void describe_file(struct input_item *item) {
    struct sample *s = &item->sample;
    cJSON_AddStringToObject(sample_json(s), "source", item->source);
    s->format = image_detect(s->picture.data, s->picture.size);
    item->file = true;
}

static enum status next_of_folder(struct input *in, struct input_item *item, const char **below, struct error *e) {
    const char *path = cli_paths_next(in->paths), *root = in->operand[in->at - 1];
    if (!path)
        return ST_END;
    size_t n = strlen(root);
    *below = path + (strncmp(path, root, n) ? 0 : n);
    while (**below == '/')
        (*below)++;
    item->source = xstrdup(path);
    enum status st = file_read(path, IMAGE_MAX_FILE, &item->sample.picture, e);
    return st == ST_OK ? make_key(in, &item->sample, *below, e) : ST_BAD;
}

static enum status next_of_zip(struct input *in, struct input_item *item, const char **below, struct error *e) {
    struct archive_entry *entry;
    const char *archive = in->operand[in->at - 1], *name, *base;
    for (;;) {
        enum status st = zip_next(in->zip, archive, &entry, &name, e);
        if (st != ST_OK)
            return st;
        base = strrchr(name, '/') ? strrchr(name, '/') + 1 : name;
        if (*base != '.' && image_format_by_name(base) != IMAGE_UNKNOWN)
            break;
    }
    item->source = xasprintf("%s: %s", archive, name);
    *below = item->source + strlen(archive) + 2;
    if (archive_entry_size_is_set(entry) && (uint64_t)archive_entry_size(entry) > IMAGE_MAX_FILE)
        return st_bad(e, "%lld bytes are over the limit", (long long)archive_entry_size(entry));
    enum status st = zip_read(in->zip, IMAGE_MAX_FILE, &item->sample.picture, e);
    if (st == ST_FAIL)
        return st_prefix(st, e, "%s", item->source);
    return st == ST_OK ? make_key(in, &item->sample, *below, e) : st;
}

static enum status next_of_stream(struct input *in, struct input_item *item, struct error *e) {
    enum status st = sample_read(in->stream, &item->sample, e);
    if (st == ST_OK || st == ST_BAD) {
        const cJSON *source = cJSON_GetObjectItemCaseSensitive(item->sample.json, "source");
        bool named = cJSON_IsString(source) && *source->valuestring;
        item->source = named ? xasprintf("%s (%s)", item->sample.key, source->valuestring) : xstrdup(item->sample.key);
    }
    return st;
}

static enum status next_of_store(struct input *in, struct input_item *item, struct error *e) {
    if (in->record == store_get_meta(in->store)->length)
        return ST_END;
    enum status st = store_sample(in->store, 0, in->record++, &item->sample, e);
    item->source = xasprintf("%s: %s", in->operand[in->at - 1], item->sample.key);
    return st;
}

static enum status next_file(struct input *in, struct input_item *item, const char **below, struct error *e) {
    char *path = in->operand[in->at - 1];
    if (in->kind != FILE_ALONE || in->fd < 0)
        return ST_END;
    close(in->fd); /* the one file of this operand: taken once */
    in->fd = -1;
    item->source = xstrdup(path);
    *below = strrchr(item->source, '/') ? strrchr(item->source, '/') + 1 : item->source;
    enum status st = file_read(path, IMAGE_MAX_FILE, &item->sample.picture, e);
    return st == ST_OK ? make_key(in, &item->sample, *below, e) : ST_BAD;
}

/* The class of a picture by the name of its folder. */
static enum status folder_label(struct input *in, const char *below, int *label, struct error *e) {
    const char *slash = strchr(below, '/');
    char *name = slash ? strndup(below, (size_t)(slash - below)) : NULL;
    if (!name && in->kind == FOLDER) {
        char *root = xstrdup(in->operand[in->at - 1]);
        size_t n = strlen(root);
        while (n > 1 && root[n - 1] == '/')
            root[--n] = 0;
        name = xstrdup(strrchr(root, '/') ? strrchr(root, '/') + 1 : root);
        free(root);
    }
    *label = name ? label_names_number(in->names, name) : LABEL_NONE;
    bool known = name != NULL;
    free(name);
    if (*label == LABEL_NONE)
        return st_bad(e, known ? "more than 65536 classes" : "it lies in no folder that could name its class");
    return ST_OK;
}

static enum status find_label(struct input *in, struct input_item *item, const char *below, struct error *e) {
    item->label = LABEL_NONE;
    switch (in->labels) {
    case INPUT_LABELS_NONE: return ST_OK;
    case INPUT_LABELS_FOLDER: return folder_label(in, below, &item->label, e);
    case INPUT_LABELS_TABLE:
        item->label = label_table_find(in->table, below);
        return item->label == LABEL_NONE ? st_bad(e, "it is not in the table of labels") : ST_OK;
    case INPUT_LABELS_AUTO: break;
    }
    if (in->own) {
        item->label = label_table_find(in->own, below);
        return item->label == LABEL_NONE ? st_bad(e, "it is not in " DATASET_JSON) : ST_OK;
    }
    return label_of_sample(&item->sample, &item->label, e);
}

static enum status next_item(struct input *in, struct input_item *item, struct error *e) {
    for (;;) {
        enum status st;
        const char *below = NULL; /* the name below the operand */
        while (in->kind == NOTHING) {
            if (in->at == in->n)
                return ST_END;
            if ((st = open_operand(in, e)) != ST_OK)
                return st;
        }
        switch (in->kind) {
        case FOLDER: st = next_of_folder(in, item, &below, e); break;
        case ZIP: st = next_of_zip(in, item, &below, e); break;
        case STREAM: st = next_of_stream(in, item, e); break;
        case STORE: st = next_of_store(in, item, e); break;
        default: st = next_file(in, item, &below, e); break;
        }
        if (st == ST_END) {
            close_operand(in);
            continue;
        }
        if (st == ST_OK && in->kind != STREAM && in->kind != STORE)
            describe_file(item);
        if (st == ST_OK)
            st = find_label(in, item, below ? below : item->sample.key, e);
        return st;
    }
}

enum status input_next(struct input *in, struct input_item *item, struct error *e) {
    input_item_free(item);
    locale_t before = in->utf8 ? uselocale(in->utf8) : (locale_t)0; /* of this thread only */
    enum status st = next_item(in, item, e);
    if (in->utf8)
        uselocale(before);
    return st;
}
