/* store_check.c - see store_tools.h. Costs what decoding costs: about 0.3 ms of one core for a 128x128 JPEG. */
#include <stdlib.h>
#include <string.h>

#include "common/base/ordered.h"
#include "common/store/store_tools.h"

#define MAX_PROBLEMS 8 /* of one sample */

struct check {
    struct store *store;
    const struct store_meta *meta;
    int64_t problems;
    void (*report)(const char *line, void *data);
    void *data;
};

struct job {
    int64_t index;
    char *problem[MAX_PROBLEMS]; /* owned */
    int n;
    uint8_t digest[SHA256_SIZE];
};

static void note(struct job *j, char *text) {
    if (j->n < MAX_PROBLEMS)
        j->problem[j->n++] = text;
    else
        free(text);
}

static void check_label(struct check *c, struct job *j) {
    struct error e;
    const char *text;
    size_t size;
    int label;
    store_text(c->store, "label", j->index, &text, &size);
    if (!text && c->meta->label_dim)
        note(j, xasprintf("sample %lld: has no label", (long long)j->index));
    if (text && !c->meta->label_dim)
        note(j, xasprintf("sample %lld: has a label, but meta knows none", (long long)j->index));
    if (text && c->meta->label_dim) {
        if (store_label(c->store, j->index, &label, &e) != ST_OK)
            note(j, xasprintf("%s", e.text));
        else if (label >= c->meta->label_dim)
            note(j, xasprintf("sample %lld: label %d is over %d", (long long)j->index, label, c->meta->label_dim - 1));
    }
}

static void check_texts(struct check *c, struct job *j) {
    const char *text;
    size_t size;
    store_text(c->store, "key", j->index, &text, &size);
    if (!text)
        note(j, xasprintf("sample %lld: has no key", (long long)j->index));
    store_text(c->store, "json", j->index, &text, &size);
    if (!text)
        return;
    cJSON *json = cJSON_ParseWithLength(text, size);
    if (!cJSON_IsObject(json))
        note(j, xasprintf("sample %lld: its JSON is no object", (long long)j->index));
    cJSON_Delete(json);
}

/* The digest that store_record_seal makes, of the stored bytes. */
static void digest_of(struct check *c, struct job *j) {
    struct store_format f = {.n_sizes = c->meta->n_sizes};
    struct store_record r = {.label = -1};
    struct error e;
    memcpy(f.width, c->meta->width, sizeof f.width);
    memcpy(f.height, c->meta->height, sizeof f.height);
    for (int i = 0; i < f.n_sizes; i++) {
        const void *data;
        size_t bytes;
        if (store_picture(c->store, i, j->index, &data, &bytes, &e) == ST_OK)
            r.picture[i] = (struct bytes){(uint8_t *)data, bytes, bytes}; /* borrowed, only read */
    }
    store_label(c->store, j->index, &r.label, &e);
    store_record_seal(&r, &f);
    memcpy(j->digest, r.digest, SHA256_SIZE);
}

static void check_sample(void *slot, void *context) {
    struct job *j = slot;
    struct check *c = context;
    struct error e;
    for (int i = 0; i < c->meta->n_sizes; i++) {
        const void *data;
        size_t bytes;
        struct image im;
        struct image_info info;
        if (store_decode(c->store, i, j->index, &im, &e) != ST_OK) {
            note(j, xasprintf("%s", e.text));
            continue;
        }
        image_free(&im);
        if (store_picture(c->store, i, j->index, &data, &bytes, &e) == ST_OK && image_probe(data, bytes, &info, &e) == ST_OK &&
            !c->meta->foreign && (info.format != c->meta->codec || info.channels != c->meta->channels))
            note(j, xasprintf("record %d-%05lld: is %s with %d channels, not what meta says", c->meta->height[i],
                              (long long)j->index, image_format_name(info.format), info.channels));
    }
    check_label(c, j);
    if (!c->meta->foreign) {
        check_texts(c, j);
        digest_of(c, j);
    }
}

static void say(struct check *c, const char *line) {
    c->problems++;
    c->report(line, c->data);
}

static void settle(struct check *c, struct job *j, uint8_t chain[SHA256_SIZE]) {
    uint8_t both[2 * SHA256_SIZE];
    for (int i = 0; i < j->n; i++) {
        say(c, j->problem[i]);
        free(j->problem[i]);
    }
    j->n = 0;
    memcpy(both, chain, SHA256_SIZE);
    memcpy(both + SHA256_SIZE, j->digest, SHA256_SIZE);
    sha256(both, sizeof both, chain);
}

static void count_hash(int64_t index, const uint8_t digest[32], void *data) {
    (void)index, (void)digest;
    ++*(int64_t *)data;
}

int64_t store_check(struct store *s, int jobs, void (*report)(const char *line, void *data), void (*tick)(void *data), void *data) {
    struct check c = {.store = s, .meta = store_get_meta(s), .report = report, .data = data};
    uint8_t chain[SHA256_SIZE] = {0};
    int64_t next = 0;
    struct ordered *o = ordered_start(jobs, 16 * (jobs + 1), sizeof(struct job), check_sample, &c);
    for (;;) {
        struct job *j;
        while (next < c.meta->length && (j = ordered_room(o))) {
            j->index = next++;
            ordered_give(o);
        }
        if (!(j = ordered_take(o)))
            break;
        settle(&c, j, chain);
        tick(data);
        ordered_done(o);
    }
    ordered_stop(o, NULL);
    if (!c.meta->foreign) {
        char hex[SHA256_HEX];
        sha256_to_hex(chain, hex);
        if (strcmp(hex, c.meta->content_hash))
            say(&c, "the content hash does not fit the pictures and labels");
        int64_t hashes = 0;
        store_each_hash(s, count_hash, &hashes);
        if (hashes > c.meta->length)
            say(&c, "more source hashes than samples");
    }
    return c.problems;
}
