/* labels.c - see labels.h. A table is kept sorted in memory: about 50 bytes a picture. */
#include "common/store/labels.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

#define TABLE_BYTES ((size_t)256 << 20)

struct entry {
    char *name; /* owned */
    char *text; /* class as written, owned; NULL once it has become a number */
    int label;
};

struct label_table {
    struct entry *entry;
    size_t n, room;
    struct label_names names;
};

/* ---- names ---- */

int label_names_number(struct label_names *names, const char *name) {
    for (int i = names->n; i-- > 0;) /* from the end: the same class often comes many times in a row */
        if (!strcmp(names->name[i], name))
            return i;
    if (names->n > 65535)
        return LABEL_NONE;
    names->name = xrealloc(names->name, ((size_t)names->n + 1) * sizeof *names->name);
    names->name[names->n] = xstrdup(name);
    return names->n++;
}

void label_names_add(struct label_names *names, const cJSON *classes) {
    const cJSON *item;
    cJSON_ArrayForEach(item, classes) {
        if (cJSON_IsString(item))
            label_names_number(names, item->valuestring);
    }
}

bool label_names_join(struct label_names *names, const struct label_names *other) {
    for (int i = 0; i < other->n; i++)
        if (label_names_number(names, other->name[i]) != i)
            return false;
    return true;
}

void label_names_free(struct label_names *names) {
    for (int i = 0; i < names->n; i++)
        free(names->name[i]);
    free(names->name);
    *names = (struct label_names){0};
}

/* ---- tables ---- */

static bool parse_number(const char *text, int *label) {
    char *end;
    if (*text < '0' || *text > '9')
        return false;
    long n = strtol(text, &end, 10);
    *label = (int)n;
    return !*end && n <= LABEL_MAX;
}

static void add(struct label_table *t, char *name, char *text) {
    if (t->n == t->room) {
        t->room = t->room ? t->room * 2 : 1024;
        t->entry = xrealloc(t->entry, t->room * sizeof *t->entry);
    }
    t->entry[t->n++] = (struct entry){name, text, LABEL_NONE};
}

static enum status parse_columns(struct label_table *t, const char *text, size_t size, const char *name, struct error *e) {
    const char *end = text + size;
    for (int line = 1; text < end; line++) {
        const char *stop = memchr(text, '\n', (size_t)(end - text)), *next = stop ? stop + 1 : end;
        if (!stop)
            stop = end;
        while (stop > text && (stop[-1] == '\r' || stop[-1] == ' ' || stop[-1] == '\t'))
            stop--;
        if (stop > text && *text != '#') {
            /* a tab, where there is one, separates names with spaces; else the last space does */
            const char *gap = memchr(text, '\t', (size_t)(stop - text));
            if (!gap)
                gap = memrchr(text, ' ', (size_t)(stop - text));
            if (!gap || gap == text)
                return st_bad(e, "%s: line %d is not NAME and CLASS", name, line);
            const char *class = gap;
            while (*class == ' ' || *class == '\t')
                class++;
            while (gap > text && (gap[-1] == ' ' || gap[-1] == '\t'))
                gap--;
            add(t, strndup(text, (size_t)(gap - text)), strndup(class, (size_t)(stop - class)));
        }
        text = next;
    }
    return ST_OK;
}

static enum status parse_json(struct label_table *t, const char *text, size_t size, const char *name, struct error *e) {
    cJSON *json = cJSON_ParseWithLength(text, size);
    const cJSON *labels = cJSON_GetObjectItemCaseSensitive(json, "labels"), *pair;
    enum status st = ST_OK;
    if (!json || (labels && !cJSON_IsArray(labels) && !cJSON_IsNull(labels)))
        st = st_bad(e, "%s: not the JSON of a data set ({\"labels\": [[name, class], ...]})", name);
    cJSON_ArrayForEach(pair, labels) {
        const cJSON *who = cJSON_GetArrayItem(pair, 0), *class = cJSON_GetArrayItem(pair, 1);
        if (!cJSON_IsArray(pair) || cJSON_GetArraySize(pair) != 2 || !cJSON_IsString(who)) {
            st = st_bad(e, "%s: an entry of \"labels\" is not [name, class]", name);
            break;
        }
        if (cJSON_IsString(class))
            add(t, xstrdup(who->valuestring), xstrdup(class->valuestring));
        else if (cJSON_IsNumber(class) && class->valuedouble >= 0 && class->valuedouble <= LABEL_MAX &&
                 class->valuedouble == floor(class->valuedouble))
            add(t, xstrdup(who->valuestring), xasprintf("%d", class->valueint));
        else {
            st = st_bad(e, "%s: the label of %s is no class number from 0 to %d (vectors are not supported)", name,
                        who->valuestring, LABEL_MAX);
            break;
        }
    }
    cJSON_Delete(json);
    return st;
}

static int by_name(const void *a, const void *b) { return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name); }
static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Turns the classes into numbers and sorts. */
static enum status finish(struct label_table *t, const char *name, struct error *e) {
    bool numbers = true;
    for (size_t i = 0; i < t->n; i++)
        numbers &= parse_number(t->entry[i].text, &t->entry[i].label);
    if (!numbers) {
        const char **texts = xcalloc(t->n, sizeof *texts);
        for (size_t i = 0; i < t->n; i++)
            texts[i] = t->entry[i].text;
        qsort(texts, t->n, sizeof *texts, by_text);
        for (size_t i = 0; i < t->n; i++)
            if (!i || strcmp(texts[i], texts[i - 1]))
                label_names_number(&t->names, texts[i]);
        free(texts);
    }
    for (size_t i = 0; i < t->n; i++) {
        struct entry *x = &t->entry[i];
        if (!numbers) {
            char *const *hit = bsearch(&x->text, t->names.name, (size_t)t->names.n, sizeof *t->names.name, by_text);
            if (!hit)
                return st_bad(e, "%s: more than 65536 classes", name);
            x->label = (int)(hit - t->names.name);
        }
        free(x->text);
        x->text = NULL;
    }
    qsort(t->entry, t->n, sizeof *t->entry, by_name);
    for (size_t i = 1; i < t->n; i++)
        if (!strcmp(t->entry[i - 1].name, t->entry[i].name) && t->entry[i - 1].label != t->entry[i].label)
            return st_bad(e, "%s: %s stands there with two classes", name, t->entry[i].name);
    return ST_OK;
}

enum status label_table_parse(struct label_table **out, const void *bytes, size_t size, const char *name, struct error *e) {
    const char *text = bytes;
    *out = NULL;
    if (size > TABLE_BYTES || memchr(text, 0, size))
        return st_bad(e, "%s: not a table of labels", name);
    struct label_table *t = xcalloc(1, sizeof *t);
    size_t blank = 0;
    while (blank < size && strchr(" \t\r\n", text[blank]))
        blank++;
    enum status st = blank < size && text[blank] == '{' ? parse_json(t, text, size, name, e) : parse_columns(t, text, size, name, e);
    if (st == ST_OK && t->n)
        st = finish(t, name, e);
    if (st != ST_OK || !t->n) {
        label_table_free(t);
        return st;
    }
    *out = t;
    return ST_OK;
}

enum status label_table_read(struct label_table **table, const char *path, struct error *e) {
    struct bytes text = {0};
    *table = NULL;
    enum status st = file_read(path, TABLE_BYTES, &text, e);
    if (st == ST_OK)
        st = label_table_parse(table, text.data, text.size, path, e);
    bytes_free(&text);
    return st;
}

void label_table_free(struct label_table *t) {
    if (!t)
        return;
    for (size_t i = 0; i < t->n; i++) {
        free(t->entry[i].name);
        free(t->entry[i].text);
    }
    free(t->entry);
    label_names_free(&t->names);
    free(t);
}

const struct label_names *label_table_names(const struct label_table *t) { return &t->names; }

static int find(const struct label_table *t, const char *name, size_t size) {
    char *copy = strndup(name, size);
    struct entry key = {.name = copy}, *hit = bsearch(&key, t->entry, t->n, sizeof *t->entry, by_name);
    free(copy);
    return hit ? hit->label : LABEL_NONE;
}

int label_table_find(const struct label_table *t, const char *path) {
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path, *dot = strrchr(base, '.');
    size_t base_size = dot && dot > base ? (size_t)(dot - base) : strlen(base), before = (size_t)(base - path);
    int label = find(t, path, strlen(path));
    if (label == LABEL_NONE)
        label = find(t, path, before + base_size);
    if (label == LABEL_NONE && slash)
        label = find(t, base, strlen(base));
    if (label == LABEL_NONE && slash)
        label = find(t, base, base_size);
    return label;
}

/* ---- samples ---- */

enum status label_of_sample(const struct sample *s, int *label, struct error *e) {
    *label = LABEL_NONE;
    for (int i = 0; i < s->n_extras; i++) {
        if (strcmp(s->extras[i].suffix, ".cls"))
            continue;
        const struct bytes *b = &s->extras[i].bytes;
        size_t size = b->size;
        while (size && strchr(" \r\n", b->data[size - 1]))
            size--;
        char text[16] = "";
        if (size < sizeof text)
            memcpy(text, b->data, size);
        if (strlen(text) != size || !parse_number(text, label))
            return st_bad(e, "its .cls member is no class number from 0 to %d", LABEL_MAX);
        return ST_OK;
    }
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(s->json, "label");
    if (!item || cJSON_IsNull(item))
        return ST_OK;
    if (!cJSON_IsNumber(item) || item->valuedouble < 0 || item->valuedouble > LABEL_MAX ||
        item->valuedouble != floor(item->valuedouble))
        return st_bad(e, "\"label\" of its JSON is no class number from 0 to %d", LABEL_MAX);
    *label = item->valueint;
    return ST_OK;
}
