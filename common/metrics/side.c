/* side.c - see side.h. Pictures are decoded by all threads a batch ahead of the network, in the order of the source. */
#include "common/metrics/side.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/mem.h"
#include "common/metrics/moments.h"

void side_free(struct side *s) {
    statistics_free(&s->statistics);
    free(s->features);
    free(s->logits);
    *s = (struct side){0};
}

/* ---- cache ---- */

static char *cache_path(const struct side *s, const struct side_options *o, int64_t count) {
    char *key = xasprintf("facemill statistics 1|%s|%lld|%s|%s|%s|%s", s->statistics.content_hash, (long long)count,
                          extractor_name(o->extractor), extractor_hash(o->extractor), extractor_preprocessing(o->extractor),
                          o->biased ? "n" : "n-1");
    char hex[SHA256_HEX];
    sha256_hex(key, strlen(key), hex);
    free(key);
    return xasprintf("%s/%s.npz", o->cache, hex);
}

static void make_folders(const char *path) {
    char *copy = xstrdup(path);
    for (char *p = copy + 1; *p; p++)
        if (*p == '/') {
            *p = 0;
            mkdir(copy, 0777);
            *p = '/';
        }
    mkdir(copy, 0777);
    free(copy);
}

/* True when the cache holds this side. A damaged entry is as good as none. */
static bool from_cache(struct side *s, const char *path, const struct side_options *o, int64_t count) {
    struct statistics found;
    if (access(path, R_OK) != 0 || statistics_read(&found, path, NULL) != ST_OK)
        return false;
    if (found.dim != extractor_dim(o->extractor) || found.count != count ||
        strcmp(found.content_hash, s->statistics.content_hash) != 0) {
        statistics_free(&found);
        return false;
    }
    snprintf(found.source, sizeof found.source, "%s", s->operand);
    s->statistics = found;
    s->read = count;
    return s->from_cache = true;
}

/* ---- measuring ---- */

struct work {
    struct side *side;
    const struct side_options *o;
    struct source *source;
    struct moments *moments;
    struct content_hash hash;
    struct cli_progress progress;
    int batch;
    struct image *ready; /* [2*batch] decoded, waiting */
    int n_ready;
    float *features, *logits; /* [batch, ...] */
    int64_t kept, room;       /* rows in side->features */
};

static enum status run_batch(struct work *w, int n, struct error *e) {
    struct side *s = w->side;
    int dim = extractor_dim(w->o->extractor), classes = extractor_classes(w->o->extractor);
    enum status st = extractor_run(w->o->extractor, w->ready, n, w->features, w->o->keep_logits ? w->logits : NULL, e);
    for (int i = 0; i < n; i++)
        image_free(&w->ready[i]);
    memmove(w->ready, w->ready + n, (size_t)(w->n_ready - n) * sizeof *w->ready);
    w->n_ready -= n;
    if (st != ST_OK)
        return st;
    moments_add(w->moments, w->features, n);
    if ((w->o->keep_features || w->o->keep_logits) && w->kept + n > w->room) {
        w->room = 2 * (w->kept + n);
        if (w->o->keep_features)
            s->features = xrealloc(s->features, (size_t)w->room * dim * sizeof *s->features);
        if (w->o->keep_logits)
            s->logits = xrealloc(s->logits, (size_t)w->room * classes * sizeof *s->logits);
    }
    if (w->o->keep_features)
        memcpy(s->features + w->kept * dim, w->features, (size_t)n * dim * sizeof *s->features);
    if (w->o->keep_logits)
        memcpy(s->logits + w->kept * classes, w->logits, (size_t)n * classes * sizeof *s->logits);
    w->kept += n;
    cli_progress_add(&w->progress, n);
    return ST_OK;
}

static void note(struct side *s, const struct image *im, unsigned rules) {
    int low = im->width < im->height ? im->width : im->height, high = im->width > im->height ? im->width : im->height;
    s->grey += (rules & SOURCE_GREY) != 0;
    s->alpha += (rules & SOURCE_ALPHA) != 0;
    s->rotated += (rules & SOURCE_ROTATED) != 0;
    s->min_side = s->min_side && s->min_side < low ? s->min_side : low;
    s->max_side = s->max_side > high ? s->max_side : high;
}

/* Reads and decodes up to a batch of pictures into w->ready. ST_END when the source has no more. */
static enum status fill(struct work *w, struct error *e) {
    struct slot {
        struct source_item item;
        struct image image;
        unsigned rules;
        enum status st;
        struct error why;
        uint8_t digest[SHA256_SIZE];
    } *slot = xcalloc(w->batch, sizeof *slot);
    enum status st = ST_OK;
    int n = 0;
    while (n < w->batch && (st = source_next(w->source, &slot[n].item, &slot[n].why)) != ST_END && st != ST_FAIL)
        slot[n++].st = st;
    if (st == ST_FAIL) {
        *e = slot[n].why;
        source_item_free(&slot[n].item);
    }
#pragma omp parallel for num_threads(w->o->threads) schedule(dynamic)
    for (int i = 0; i < n; i++) {
        sha256(slot[i].item.size ? slot[i].item.data : "", slot[i].item.size, slot[i].digest);
        if (slot[i].st == ST_OK)
            slot[i].st = source_decode(w->source, &slot[i].item, &slot[i].image, &slot[i].rules, &slot[i].why);
    }
    for (int i = 0; i < n; i++) {
        w->side->read++;
        w->o->rejects->in++;
        content_hash_add(&w->hash, slot[i].digest);
        if (slot[i].st == ST_OK) {
            note(w->side, &slot[i].image, slot[i].rules);
            w->ready[w->n_ready++] = slot[i].image;
            w->o->rejects->out++;
        } else {
            w->side->rejected++;
            cli_reject(w->o->rejects, slot[i].item.name, slot[i].why.text);
        }
        source_item_free(&slot[i].item);
    }
    free(slot);
    return st == ST_BAD ? ST_OK : st;
}

static enum status run_all(struct work *w, struct error *e) {
    enum status st = ST_OK;
    while (st == ST_OK) {
        st = fill(w, e);
        while ((st == ST_OK && w->n_ready >= w->batch) || (st == ST_END && w->n_ready > 0)) {
            enum status ran = run_batch(w, w->n_ready < w->batch ? w->n_ready : w->batch, e);
            if (ran != ST_OK)
                return ran;
        }
    }
    return st == ST_END ? ST_OK : st;
}

static void describe_pictures(struct side *s) {
    char *to = s->statistics.pictures;
    size_t room = sizeof s->statistics.pictures;
    int n = s->min_side == s->max_side ? snprintf(to, room, "%dx%d", s->min_side, s->max_side)
                                       : snprintf(to, room, "sides %d to %d", s->min_side, s->max_side);
    const int64_t count[] = {s->grey, s->alpha, s->rotated};
    static const char *const what[] = {"grey repeated", "with alpha over white", "rotated as EXIF says"};
    for (int i = 0; i < 3; i++)
        if (count[i])
            n += snprintf(to + n, room - n, ", %lld %s", (long long)count[i], what[i]);
}

static enum status measure_pictures(struct side *s, struct source *source, const struct side_options *o, struct error *e) {
    int dim = extractor_dim(o->extractor), classes = extractor_classes(o->extractor);
    struct work w = {.side = s, .o = o, .source = source, .batch = extractor_batch(o->extractor)};
    w.moments = moments_create(dim);
    w.ready = xcalloc(2 * (size_t)w.batch, sizeof *w.ready);
    w.features = xmalloc((size_t)w.batch * dim * sizeof *w.features);
    w.logits = xmalloc(((size_t)w.batch * classes + 1) * sizeof *w.logits);
    cli_progress_start(&w.progress, "pictures", source_count(source));
    enum status st = run_all(&w, e);
    cli_progress_end(&w.progress);

    struct statistics *t = &s->statistics;
    t->count = moments_count(w.moments);
    if (st == ST_OK && t->count < 2)
        st = st_bad(e, "%s: %lld usable picture%s, a covariance needs two at least", s->operand, (long long)t->count,
                    t->count == 1 ? "" : "s");
    if (st == ST_OK) {
        t->dim = dim;
        t->biased = o->biased;
        t->mu = xmalloc((size_t)dim * sizeof *t->mu);
        t->sigma = xmalloc((size_t)dim * dim * sizeof *t->sigma);
        moments_finish(w.moments, o->biased, t->mu, t->sigma);
        snprintf(t->features, sizeof t->features, "%s", extractor_name(o->extractor));
        snprintf(t->extractor_hash, sizeof t->extractor_hash, "%s", extractor_hash(o->extractor));
        snprintf(t->preprocessing, sizeof t->preprocessing, "%s", extractor_preprocessing(o->extractor));
        snprintf(t->source, sizeof t->source, "%s", s->operand);
        sha256_to_hex(w.hash.state, t->content_hash);
        describe_pictures(s);
    }
    for (int i = 0; i < w.n_ready; i++)
        image_free(&w.ready[i]);
    moments_free(w.moments);
    free(w.ready);
    free(w.features);
    free(w.logits);
    return st;
}

enum status side_measure(struct side *s, const char *operand, const struct side_options *o, struct error *e) {
    *s = (struct side){.operand = operand};
    enum status st = source_detect(operand, &s->kind, e);
    if (st == ST_OK && s->kind == SOURCE_STATISTICS) {
        st = statistics_read(&s->statistics, operand, e);
        snprintf(s->statistics.source, sizeof s->statistics.source, "%s", operand);
        s->read = s->statistics.count;
        return st;
    }
    struct source *source = NULL;
    char *path = NULL;
    int64_t count = 0;
    if (st == ST_OK)
        st = source_open(&source, operand, s->kind, o->size, e);
    if (st == ST_OK && o->cache && s->kind != SOURCE_STREAM && !o->keep_features && !o->keep_logits) {
        st = source_hash(source, o->threads, s->statistics.content_hash, &count, e);
        if (st == ST_OK) {
            path = cache_path(s, o, count);
            if (from_cache(s, path, o, count))
                goto done;
        }
    }
    if (st == ST_OK)
        st = measure_pictures(s, source, o, e);
    if (st == ST_OK && path && s->rejected == 0) {
        make_folders(o->cache);
        s->write_failed = statistics_write(&s->statistics, path, e) != ST_OK;
    }
done:
    free(path);
    source_close(source);
    if (st != ST_OK)
        side_free(s);
    return st;
}

/* ---- comparing ---- */

__attribute__((format(printf, 3, 4))) static void doubt(char *doubts, size_t room, const char *format, ...) {
    size_t n = strlen(doubts);
    va_list args;
    if (n && n + 1 < room)
        snprintf(doubts + n++, 2, "\n");
    va_start(args, format);
    vsnprintf(doubts + n, room - n, format, args);
    va_end(args);
}

static bool differ(const char *a, const char *b) {
    return *a && *b && strcmp(a, b) != 0;
}

enum status side_compatible(const struct side *a, const struct side *b, char *doubts, size_t room, struct error *e) {
    const struct statistics *s = &a->statistics, *t = &b->statistics;
    *doubts = 0;
    if (s->dim != t->dim)
        return st_bad(e, "%s has %d features a picture, %s has %d: they come from different extractors", a->operand, s->dim, b->operand,
                      t->dim);
    if (differ(s->features, t->features))
        return st_bad(e, "%s was measured with %s, %s with %s", a->operand, s->features, b->operand, t->features);
    if (differ(s->extractor_hash, t->extractor_hash))
        return st_bad(e, "%s and %s were measured with different %s weights (SHA-256 %.12s and %.12s)", a->operand, b->operand,
                      s->features, s->extractor_hash, t->extractor_hash);
    if (!*s->extractor_hash || !*t->extractor_hash)
        doubt(doubts, room, "%s does not say which weights made it", *s->extractor_hash ? b->operand : a->operand);
    if (differ(s->preprocessing, t->preprocessing))
        doubt(doubts, room, "the sides were prepared differently: \"%s\" and \"%s\"", s->preprocessing, t->preprocessing);
    if (s->biased != t->biased)
        doubt(doubts, room, "one covariance was divided by n, the other by n - 1");
    if (a->max_side && b->max_side && (a->min_side != b->min_side || a->max_side != b->max_side))
        doubt(doubts, room, "the pictures differ in size (%s, and %s): resizing alone moves the score", s->pictures, t->pictures);
    return ST_OK;
}
