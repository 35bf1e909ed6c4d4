/* pack.c - see pack.h. */
#include "common/store/pack.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/ordered.h"

#define SLOTS_PER_JOB 24
#define RING_BYTES ((size_t)128 << 20) /* of pictures read but not yet stored; one per job is always allowed */

struct job {
    struct input_item item;
    enum status read; /* ST_OK, or ST_BAD with the reason in error */
    enum status made;
    bool known; /* its picture is in the store: nothing was made */
    struct error error;
    struct store_record record;
};

struct pack {
    struct pack_options *o;
    struct pack_result *result;
    struct store_writer *writer; /* set by the main thread, read by all: use writer_of() */
    bool labelled, labels_known;
    int64_t at, end; /* resuming: the next sample expected to be in the store, and the first that is not */
    size_t waiting;  /* bytes in the ring */
    int names_stored;
};

static struct store_writer *writer_of(struct pack *p) { return __atomic_load_n(&p->writer, __ATOMIC_ACQUIRE); }

/* ---- in the workers ---- */

static void make(struct pack *p, struct job *j) {
    j->known = false;
    j->made = record_make(&p->o->recipe, &j->item.sample, &j->record, &j->error);
}

static void work(void *slot, void *context) {
    struct job *j = slot;
    struct pack *p = context;
    int64_t index;
    if (j->read != ST_OK)
        return;
    const struct bytes *picture = &j->item.sample.picture;
    sha256(picture->data, picture->size, j->record.source);
    j->record.hashed = true;
    j->record.label = j->item.label;
    if (j->item.file) {
        char hex[SHA256_HEX];
        sha256_to_hex(j->record.source, hex);
        cJSON_AddStringToObject(sample_json(&j->item.sample), "sha256", hex);
    }
    if ((p->o->dedupe || p->o->resume) && writer_of(p) && store_writer_find(writer_of(p), j->record.source, &index))
        j->known = true;
    else
        make(p, j);
}

static void free_job(void *slot) {
    struct job *j = slot;
    input_item_free(&j->item);
    store_record_free(&j->record);
}

/* ---- in order ---- */

static void reject(struct pack *p, struct job *j, const char *reason, bool duplicate) {
    p->result->rejected++;
    p->o->reject(j->item.source ? j->item.source : "?", reason, duplicate, p->o->data);
}

/* Resuming: is this the sample that stands at p->at? */
static bool is_in_store(struct pack *p, struct job *j) {
    int64_t index;
    if (!store_writer_find(p->writer, j->record.source, &index) || index > p->at || (p->o->dedupe && index != p->at))
        return false;
    char *key = store_writer_key(p->writer, p->at);
    bool same = key && !strcmp(key, j->item.sample.key);
    free(key);
    return same;
}

static enum status start_store(struct pack *p, struct error *e) {
    struct store_writer *w;
    enum status st = store_create(&w, p->o->path, &p->o->recipe.format, p->o->replace, e);
    if (st != ST_OK)
        return st;
    store_writer_start_session(w, p->o->session);
    p->o->session = NULL;
    __atomic_store_n(&p->writer, w, __ATOMIC_RELEASE);
    p->result->made = true;
    return ST_OK;
}

/* Either all samples of a store have labels or none. */
static const char *label_problem(struct pack *p, const struct job *j) {
    bool has = j->record.label != LABEL_NONE;
    if (!p->labels_known) {
        p->labelled = has;
        p->labels_known = true;
    }
    if (has == p->labelled)
        return NULL;
    return has ? "it has a label, but the samples before have none (--labels none ignores labels)" : "it has no label, but the samples before have";
}

static enum status store(struct pack *p, struct job *j, struct error *e) {
    enum status st = p->writer ? ST_OK : start_store(p, e);
    if (st != ST_OK)
        return st;
    const struct label_names *names = p->o->names;
    if (j->record.label != LABEL_NONE && names->n > p->names_stored) {
        store_writer_set(p->writer, "classes", cJSON_CreateStringArray((const char *const *)names->name, names->n));
        p->names_stored = names->n;
    }
    p->result->out++;
    return store_put(p->writer, &j->record, e);
}

/* One sample, its turn having come. */
static enum status settle(struct pack *p, struct job *j, struct error *e) {
    int64_t index;
    char reason[128];
    p->result->in++;
    if (j->read == ST_BAD) {
        reject(p, j, j->error.text, false);
        return ST_OK;
    }
    if (p->at < p->end && is_in_store(p, j)) {
        p->at++;
        p->result->out++;
        p->result->known++;
        return ST_OK;
    }
    if (p->o->dedupe && p->writer && store_writer_find(p->writer, j->record.source, &index)) {
        snprintf(reason, sizeof reason, "the same picture as sample %lld of the store", (long long)index);
        reject(p, j, reason, true);
        return ST_OK;
    }
    if (j->known) /* in the store, but to be stored again: now it has to be made after all */
        make(p, j);
    const char *problem = j->made != ST_OK ? j->error.text : label_problem(p, j);
    if (problem) {
        reject(p, j, problem, false);
        return ST_OK;
    }
    if (p->at < p->end)
        return st_fail(e, "%s: sample %lld of the store is another one: --resume needs the input and options of the run that "
                       "was interrupted (--append --dedupe adds what is new)", j->item.source, (long long)p->at);
    return store(p, j, e);
}

/* ---- reading ---- */

/* The store takes the size of the first picture that has one. */
static void find_size(struct pack *p, struct job *j) {
    struct store_format *f = &p->o->recipe.format;
    struct error e;
    int width, height;
    if (f->n_sizes || j->read != ST_OK || record_probe(&j->item.sample, &width, &height, &e) != ST_OK)
        return;
    f->width[0] = width;
    f->height[0] = height;
    f->n_sizes = 1;
}

/* Fills the ring. Returns ST_END or ST_FAIL when there is nothing more to read. */
static enum status fill(struct pack *p, struct input *in, struct ordered *o, struct error *e) {
    struct job *j;
    while ((p->waiting < RING_BYTES || ordered_busy(o) < p->o->jobs) && (j = ordered_room(o))) {
        j->known = false;
        j->made = ST_OK;
        j->read = input_next(in, &j->item, &j->error);
        if (j->read == ST_END || j->read == ST_FAIL) {
            if (e && j->read == ST_FAIL)
                *e = j->error;
            return j->read;
        }
        find_size(p, j);
        p->waiting += j->item.sample.picture.size;
        ordered_give(o);
    }
    return ST_OK;
}

static enum status pump(struct pack *p, struct input *in, struct ordered *o, struct error *e) {
    enum status more = ST_OK;
    struct error why;
    for (;;) {
        if (more == ST_OK)
            more = fill(p, in, o, &why);
        struct job *j = ordered_take(o);
        if (!j)
            break;
        p->waiting -= j->item.sample.picture.size;
        enum status st = settle(p, j, e);
        free_job(j);
        ordered_done(o);
        if (st != ST_OK)
            return st;
        p->o->tick(p->o->data);
        if (p->o->limit && p->result->out >= p->o->limit)
            return ST_OK;
    }
    if (more == ST_FAIL) {
        *e = why;
        return ST_FAIL;
    }
    if (p->at < p->end)
        return st_fail(e, "the input ends before sample %lld of the store: --resume needs the input of the run that was interrupted",
                       (long long)p->at);
    return ST_OK;
}

enum status pack_run(struct input *in, struct pack_options *o, struct pack_result *result, struct error *e) {
    *result = (struct pack_result){0};
    struct pack p = {.o = o, .result = result, .writer = o->writer};
    if (p.writer) {
        const cJSON *labels = cJSON_GetObjectItemCaseSensitive(store_writer_json(p.writer), "label_dim");
        p.end = store_writer_length(p.writer);
        p.labels_known = p.end > 0;
        p.labelled = cJSON_IsNumber(labels) && labels->valueint > 0;
        p.names_stored = o->names->n;
        result->made = true;
        bool complete;
        p.at = o->resume ? store_writer_last_session(p.writer, &complete) : p.end;
        if (!o->resume) {
            store_writer_start_session(p.writer, o->session);
            o->session = NULL;
        }
    }
    struct ordered *ring = ordered_start(o->jobs, SLOTS_PER_JOB * o->jobs, sizeof(struct job), work, &p);
    enum status st = pump(&p, in, ring, e);
    ordered_stop(ring, free_job);
    struct error late;
    if (p.writer) {
        int64_t committed = store_writer_committed(p.writer), length = store_writer_length(p.writer);
        enum status closed = store_writer_close(p.writer, st == ST_OK, &late);
        result->length = closed == ST_OK ? length : committed;
        result->out -= length - result->length; /* what was in hand when writing failed */
        if (st == ST_OK && closed != ST_OK) {
            st = closed;
            *e = late;
        }
        if (!result->length)
            result->made = o->writer != NULL;
    }
    cJSON_Delete(o->session);
    o->session = NULL;
    return st;
}
