/* side.c - see side.h.
 *
 * What a GPU must not wait for, per 50,000 pictures of 128x128 in Inception's 2,048 numbers: reading and hashing 2.5 GB and decoding
 * (another thread), and 0.21 TFLOP of float64 sums (here, while the device runs: half a second on 16 cores).
 */
#include "common/metrics/side.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/folders.h"
#include "common/base/mem.h"
#include "common/metrics/moments.h"
#include "common/stream/npy.h"

void side_free(struct side *s) {
    statistics_free(&s->statistics);
    free(s->features);
    free(s->logits);
    *s = (struct side){0};
}

/* ---- cache ---- */

static char *cache_path(const struct side *s, const struct side_options *o, int64_t count) {
    char *key = xasprintf("facemill statistics 3|%s|%lld|%s|%s|%s|%s|%s", s->statistics.content_hash, (long long)count,
                          extractor_name(o->extractor), extractor_hash(o->extractor), extractor_preprocessing(o->extractor),
                          extractor_precision(o->extractor), o->biased ? "n" : "n-1");
    char hex[SHA256_HEX];
    sha256_hex(key, strlen(key), hex);
    free(key);
    return xasprintf("%s/%s.npz", o->cache, hex);
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

/* ---- reading ahead ---- */

#define AHEAD 3 /* batches: one in the network, one sent to it, one being decoded */

struct batch {
    struct image *picture; /* [batch] */
    int n;
    enum status st;        /* ST_OK; ST_END: the last one (n may be 0); ST_FAIL: nothing more can be read */
    struct error why;
};

struct work {
    struct side *side;
    const struct side_options *o;
    struct source *source;
    struct moments *moments;
    struct content_hash hash;
    struct cli_progress progress;
    int batch;
    struct batch ring[AHEAD];
    int first, ready; /* the oldest filled batch, and how many there are: under the lock, as is */
    bool stop;        /* the network gave up */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    float *features, *logits; /* [batch, ...] of the batch before the one in the network */
    int pending;              /* rows there */
    int64_t kept, room;       /* rows in side->features */
    int write_error;          /* errno of features_to */
};

/* Reads and decodes up to `wanted` pictures into the batch. The source's status. */
static enum status fill(struct work *w, struct batch *b, int wanted) {
    struct slot {
        struct source_item item;
        struct image image;
        unsigned rules;
        enum status st;
        struct error why;
        uint8_t digest[SHA256_SIZE];
    } *slot = xcalloc(wanted, sizeof *slot);
    enum status st = ST_OK;
    int n = 0;
    while (n < wanted && (st = source_next(w->source, &slot[n].item, &slot[n].why)) != ST_END && st != ST_FAIL)
        slot[n++].st = st;
    if (st == ST_FAIL) {
        b->why = slot[n].why;
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
            tally_add(&w->side->tally, &slot[i].image, slot[i].rules, slot[i].item.data, slot[i].item.size, slot[i].item.filter);
            b->picture[b->n++] = slot[i].image;
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

static void *read_ahead(void *context) {
    struct work *w = context;
    for (enum status st = ST_OK; st == ST_OK;) {
        pthread_mutex_lock(&w->lock);
        while (w->ready == AHEAD && !w->stop)
            pthread_cond_wait(&w->changed, &w->lock);
        struct batch *b = &w->ring[(w->first + w->ready) % AHEAD];
        bool stop = w->stop;
        pthread_mutex_unlock(&w->lock);
        if (stop)
            break;
        while (st == ST_OK && b->n < w->batch)
            st = fill(w, b, w->batch - b->n);
        b->st = st;
        pthread_mutex_lock(&w->lock);
        w->ready++;
        pthread_cond_signal(&w->changed);
        pthread_mutex_unlock(&w->lock);
    }
    return NULL;
}

/* The batch `after` places behind the oldest, when it is filled. */
static struct batch *take(struct work *w, int after) {
    pthread_mutex_lock(&w->lock);
    while (w->ready <= after)
        pthread_cond_wait(&w->changed, &w->lock);
    struct batch *b = &w->ring[(w->first + after) % AHEAD];
    pthread_mutex_unlock(&w->lock);
    return b;
}

/* The oldest is done with, and (stop) no other is wanted. */
static void release(struct work *w, bool stop) {
    pthread_mutex_lock(&w->lock);
    struct batch *b = &w->ring[w->first];
    while (b->n)
        image_free(&b->picture[--b->n]);
    w->first = (w->first + 1) % AHEAD;
    w->ready--;
    w->stop = stop;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

/* ---- measuring ---- */

/* What the network said of the last batch, into the sums. */
static void absorb(struct work *w) {
    struct side *s = w->side;
    int dim = extractor_dim(w->o->extractor), classes = extractor_classes(w->o->extractor), n = w->pending;
    moments_add(w->moments, w->features, n);
    if ((w->o->keep_features || w->o->keep_logits) && w->kept + n > w->room) {
        w->room = 2 * (w->kept + n);
        if (w->o->keep_features)
            s->features = xrealloc(s->features, (size_t)w->room * dim * sizeof *s->features);
        if (w->o->keep_logits)
            s->logits = xrealloc(s->logits, (size_t)w->room * classes * sizeof *s->logits);
    }
    if (w->o->keep_features && n)
        memcpy(s->features + w->kept * dim, w->features, (size_t)n * dim * sizeof *s->features);
    if (w->o->keep_logits && n)
        memcpy(s->logits + w->kept * classes, w->logits, (size_t)n * classes * sizeof *s->logits);
    if (w->o->features_to && !w->write_error && fwrite(w->features, sizeof *w->features * dim, n, w->o->features_to) != (size_t)n)
        w->write_error = errno ? errno : EIO;
    w->kept += n;
    w->pending = 0;
    cli_progress_add(&w->progress, n);
}

static enum status run_batches(struct work *w, struct error *e) {
    struct extractor *x = w->o->extractor;
    struct batch *now = take(w, 0);
    enum status st = ST_OK;
    if (now->n)
        extractor_stage(x, now->picture, now->n);
    for (bool more = true; more && st == ST_OK;) {
        if (now->n)
            extractor_start(x);
        absorb(w);
        struct batch *next = now->st == ST_OK ? take(w, 1) : NULL;
        if (next && next->n)
            extractor_stage(x, next->picture, next->n);
        if (now->n)
            st = extractor_finish(x, w->features, w->o->keep_logits ? w->logits : NULL, e);
        w->pending = now->n;
        if (st == ST_OK && now->st == ST_FAIL) {
            *e = now->why;
            st = ST_FAIL;
        }
        more = next != NULL;
        release(w, st != ST_OK);
        now = next;
    }
    if (st == ST_OK)
        absorb(w);
    if (st == ST_OK && w->write_error)
        st = st_fail(e, "features cannot be written: %s", strerror(w->write_error));
    return st;
}

static enum status run_all(struct work *w, struct error *e) {
    pthread_t reader;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    int code = pthread_create(&reader, NULL, read_ahead, w);
    enum status st = code ? st_fail(e, "no thread to read with: %s", strerror(code)) : run_batches(w, e);
    if (!code)
        pthread_join(reader, NULL);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->changed);
    return st;
}

static enum status measure_pictures(struct side *s, struct source *source, const struct side_options *o, struct error *e) {
    int dim = extractor_dim(o->extractor), classes = extractor_classes(o->extractor);
    struct work w = {.side = s, .o = o, .source = source, .batch = extractor_batch(o->extractor)};
    w.moments = moments_create(dim);
    for (int i = 0; i < AHEAD; i++)
        w.ring[i].picture = xcalloc((size_t)w.batch, sizeof *w.ring[i].picture);
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
        snprintf(t->precision, sizeof t->precision, "%s", extractor_precision(o->extractor));
        snprintf(t->source, sizeof t->source, "%s", s->operand);
        sha256_to_hex(w.hash.state, t->content_hash);
        tally_pictures(&s->tally, t->pictures, sizeof t->pictures);
        tally_sizes(&s->tally, t->sizes, sizeof t->sizes);
        tally_list(&s->tally.codecs, t->codecs, sizeof t->codecs);
        tally_list(&s->tally.filters, t->filters, sizeof t->filters);
    }
    for (int i = 0; i < AHEAD; i++) {
        while (w.ring[i].n)
            image_free(&w.ring[i].picture[--w.ring[i].n]);
        free(w.ring[i].picture);
    }
    moments_free(w.moments);
    free(w.features);
    free(w.logits);
    return st;
}

/* Features that --save-features wrote, or another program: .npy [N,d]. Nobody knows what made them. */
static enum status read_features(struct side *s, const struct side_options *o, struct error *e) {
    struct npy_rows rows = {0};
    FILE *f = fopen(s->operand, "rb");
    if (!f)
        return st_fail(e, "%s: %s", s->operand, strerror(errno));
    enum status st = npy_rows_open(f, s->operand, &rows, e);
    if (st == ST_OK && (rows.ndim != 2 || rows.row < 1 || rows.row > STATISTICS_MAX_DIM || rows.rows < 2))
        st = st_bad(e, "%s: features are an array [N,d], N at least 2, d at most %d", s->operand, STATISTICS_MAX_DIM);
    struct moments *m = st == ST_OK ? moments_create((int)rows.row) : NULL;
    for (int64_t at = 0, room = 0; st == ST_OK && rows.left; at += MOMENTS_BLOCK) {
        int64_t n = rows.left < MOMENTS_BLOCK ? rows.left : MOMENTS_BLOCK, need = o->keep_features ? at + n : n;
        if (need > room) { /* grows as rows arrive: the file may hold less than it says */
            room = 2 * need;
            s->features = xrealloc(s->features, (size_t)(room * rows.row) * sizeof *s->features);
        }
        float *to = s->features + (o->keep_features ? at * rows.row : 0);
        st = npy_rows_read(&rows, to, n, e);
        for (int64_t i = 0; st == ST_OK && i < n * rows.row; i++)
            if (!isfinite(to[i]))
                st = st_bad(e, "%s: row %lld holds a value that is not finite", s->operand, (long long)(at + i / rows.row));
        if (st == ST_OK)
            moments_add(m, to, n);
    }
    if (st == ST_OK) {
        struct statistics *t = &s->statistics;
        t->dim = (int)rows.row;
        t->count = s->read = rows.rows;
        t->biased = o->biased;
        t->mu = xmalloc((size_t)t->dim * sizeof *t->mu);
        t->sigma = xmalloc((size_t)t->dim * t->dim * sizeof *t->sigma);
        moments_finish(m, o->biased, t->mu, t->sigma);
        snprintf(t->source, sizeof t->source, "%s", s->operand);
    }
    if (!o->keep_features) {
        free(s->features);
        s->features = NULL;
    }
    moments_free(m);
    npy_rows_close(&rows);
    fclose(f);
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
    if (st == ST_OK && s->kind == SOURCE_FEATURES) {
        st = read_features(s, o, e);
        if (st != ST_OK)
            side_free(s);
        return st;
    }
    struct source *source = NULL;
    char *path = NULL;
    int64_t count = 0;
    if (st == ST_OK)
        st = source_open(&source, operand, s->kind, o->size, e);
    if (st == ST_OK && o->cache && s->kind != SOURCE_STREAM && s->kind != SOURCE_ZIP && !o->keep_features && !o->keep_logits && !o->features_to) {
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
        folders_make(o->cache, NULL); /* without it nothing is cached */
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
    if (differ(s->precision, t->precision))
        doubt(doubts, room, "one side was measured in %s, the other in %s", s->precision, t->precision);
    if (s->biased != t->biased)
        doubt(doubts, room, "one covariance was divided by n, the other by n - 1");
    if (differ(s->sizes, t->sizes))
        doubt(doubts, room, "the pictures differ in size (%s, and %s): resizing alone moves the score", s->sizes, t->sizes);
    if (tally_codecs_differ(s->codecs, t->codecs))
        doubt(doubts, room, "the pictures differ in codec (%s, and %s): compression alone moves the score", s->codecs, t->codecs);
    if (differ(s->filters, t->filters))
        doubt(doubts, room, "the pictures were resized with different filters (%s, and %s)", s->filters, t->filters);
    return ST_OK;
}
