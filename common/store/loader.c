/* loader.c - see loader.h.
 *
 * A ring of SLOTS batches. Worker threads claim single samples in order of position, so several work on one batch and the
 * batch needed next is always finished first; a worker may be at most SLOTS-1 batches ahead of the one in use. Decoding a
 * 128x128 JPEG costs about 0.3 ms, copying a cached one 10 us; a training step costs milliseconds at least, so one lock
 * taken twice a sample is nothing.
 */
#include "common/store/loader.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/mem.h"
#include "common/rng/philox.h"

#define SLOTS 4
#define USE_SHUFFLE 0x53485546u /* "SHUF": the `use` of Philox for permutations */
#define MAX_THREADS 8
#define SUBSET_EPOCH (UINT64_MAX - 1) /* the permutation that picks a subset: none that training or its grids use */

struct slot {
    uint8_t *pixels; /* [batch,height,width,channels] */
    int *labels;     /* [batch] */
    int64_t *numbers; /* [batch] */
    bool *fresh;      /* [batch]: pixels are there */
    int done;        /* samples filled */
};

struct loader {
    struct store *store;
    struct loader_options o;
    int64_t length, picture; /* samples; bytes of one picture */
    int height, width, channels;

    uint8_t *cache;  /* [length,height,width,channels] or NULL */
    uint8_t *cached; /* [length]: 1 = there; atomic */
    bool *given;     /* [length] with o.held: claimed before */

    pthread_mutex_t lock;
    pthread_cond_t work, ready; /* room for workers; a batch is finished or a worker failed */
    struct slot slot[SLOTS];
    int64_t claimed;  /* next sample number (from o.position on) that no worker has */
    int64_t batches;  /* batches handed out; batch b lies in slot b % SLOTS */
    uint32_t *order;  /* permutation of the epoch `epoch` */
    int64_t epoch;
    bool stop, failed;
    struct error error;
    pthread_t thread[MAX_THREADS];
    int n_threads;
};

/* Fisher-Yates from the top; each draw is the high half of a 64-bit product, whose bias is below n / 2^64. */
void loader_permutation(uint64_t seed, uint64_t epoch, uint32_t *order, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        order[i] = (uint32_t)i;
    uint32_t r[4] = {0};
    int64_t drawn = 0;
    for (int64_t i = n - 1; i > 0; i--, drawn++) {
        if (drawn % 2 == 0)
            philox4x32(seed, epoch, USE_SHUFFLE, (uint32_t)(drawn / 2), r);
        uint64_t bits = drawn % 2 ? ((uint64_t)r[3] << 32 | r[2]) : ((uint64_t)r[1] << 32 | r[0]);
        int64_t j = (int64_t)((unsigned __int128)bits * (uint64_t)(i + 1) >> 64);
        uint32_t t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
}

static int ascending(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

void loader_subset(struct store *s, int64_t n, uint64_t seed) {
    int64_t length = store_get_meta(s)->length;
    uint32_t *order = xmalloc((size_t)length * sizeof *order);
    loader_permutation(seed, SUBSET_EPOCH, order, length);
    qsort(order, (size_t)n, sizeof *order, ascending);
    store_keep(s, order, n);
    free(order);
}

static enum status class_of(struct store *s, int64_t index, int *label, struct error *e) {
    int classes = store_get_meta(s)->label_dim;
    if (store_label(s, index, label, e) != ST_OK)
        return st_prefix(ST_FAIL, e, "sample %lld", (long long)index);
    if (*label < 0 || *label >= classes)
        return st_fail(e, "sample %lld: label %d is outside 0..%d", (long long)index, *label, classes - 1);
    return ST_OK;
}

enum status loader_count_labels(struct store *s, int64_t *counts, struct error *e) {
    enum status st = ST_OK;
    const struct store_meta *m = store_get_meta(s);
    memset(counts, 0, (size_t)m->label_dim * sizeof *counts);
    for (int64_t i = 0; i < m->length && st == ST_OK; i++) {
        int label;
        if ((st = class_of(s, i, &label, e)) == ST_OK)
            counts[label]++;
    }
    return st;
}

/* Fills one sample (pixels NULL: its label alone): from the cache, or decoded (and then put into the cache). Two workers meeting on one picture (an epoch
 * boundary) write the same bytes to the same place. */
static enum status fetch(struct loader *l, int64_t index, uint8_t *pixels, int *label, struct error *e) {
    if (l->o.labels && class_of(l->store, index, label, e) != ST_OK)
        return ST_FAIL;
    if (!pixels)
        return ST_OK;
    if (l->cache && __atomic_load_n(&l->cached[index], __ATOMIC_ACQUIRE) == 1) {
        memcpy(pixels, l->cache + index * l->picture, (size_t)l->picture);
        return ST_OK;
    }
    struct image im = {0};
    if (store_decode(l->store, l->o.size, index, &im, e) != ST_OK)
        return st_prefix(ST_FAIL, e, "sample %lld", (long long)index);
    if (im.height != l->height || im.width != l->width || im.channels != l->channels) {
        image_free(&im);
        return st_fail(e, "sample %lld is not %dx%d with %d channels", (long long)index, l->width, l->height, l->channels);
    }
    memcpy(pixels, im.data, (size_t)l->picture);
    image_free(&im);
    /* 0 = absent, 2 = being written, 1 = there: only the worker that makes it 2 writes */
    uint8_t absent = 0;
    if (l->cache && __atomic_compare_exchange_n(&l->cached[index], &absent, 2, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        memcpy(l->cache + index * l->picture, pixels, (size_t)l->picture);
        __atomic_store_n(&l->cached[index], 1, __ATOMIC_RELEASE);
    }
    return ST_OK;
}

static void *worker(void *arg) {
    struct loader *l = arg;
    pthread_mutex_lock(&l->lock);
    for (;;) {
        while (!l->stop && !l->failed && l->claimed / l->o.batch >= l->batches + SLOTS - 1)
            pthread_cond_wait(&l->work, &l->lock);
        if (l->stop || l->failed)
            break;
        int64_t n = l->claimed++, position = l->o.position + n;
        struct slot *slot = &l->slot[n / l->o.batch % SLOTS];
        int64_t at = n % l->o.batch;
        if (position / l->length != l->epoch) {
            l->epoch = position / l->length;
            loader_permutation(l->o.seed, (uint64_t)l->epoch, l->order, l->length);
        }
        int64_t index = l->order[position % l->length];
        bool fresh = !l->given || !l->given[index];
        if (l->given)
            l->given[index] = true;
        slot->numbers[at] = index;
        slot->fresh[at] = fresh;
        pthread_mutex_unlock(&l->lock);

        struct error e;
        int label = 0;
        enum status st = fetch(l, index, fresh ? slot->pixels + at * l->picture : NULL, &label, &e);
        slot->labels[at] = label;

        pthread_mutex_lock(&l->lock);
        if (st == ST_OK) {
            if (++slot->done == l->o.batch)
                pthread_cond_signal(&l->ready);
        } else if (!l->failed) { /* and the picture is not counted: its batch never becomes whole */
            l->failed = true;
            l->error = e;
            pthread_cond_broadcast(&l->work);
            pthread_cond_signal(&l->ready);
        }
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

static int64_t cache_limit(const struct loader_options *o) {
    if (o->cache >= 0)
        return o->cache;
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    return pages > 0 && page > 0 ? (int64_t)pages * page / 4 : 0;
}

enum status loader_open(struct loader **out, struct store *s, const struct loader_options *o, struct error *e) {
    *out = NULL;
    const struct store_meta *m = store_get_meta(s);
    if (o->size < 0 || o->size >= m->n_sizes)
        return st_bad(e, "the store has %d sizes, not %d", m->n_sizes, o->size + 1);
    if (m->length < 1 || m->length > UINT32_MAX)
        return st_bad(e, "the store holds no pictures");
    if (o->labels && m->label_dim < 1)
        return st_bad(e, "the store has no class labels");
    struct loader *l = xcalloc(1, sizeof *l);
    l->store = s;
    l->o = *o;
    l->length = m->length;
    l->height = m->height[o->size], l->width = m->width[o->size], l->channels = m->channels;
    l->picture = (int64_t)l->height * l->width * l->channels;
    if (o->held) {
        l->given = xcalloc((size_t)l->length, sizeof *l->given);
    } else if (l->length <= cache_limit(o) / l->picture) {
        l->cache = malloc((size_t)(l->length * l->picture)); /* an extra: without it every picture is decoded each time */
        if (l->cache)
            l->cached = xcalloc((size_t)l->length, 1);
    }
    for (int i = 0; i < SLOTS; i++) {
        l->slot[i].pixels = xmalloc((size_t)(o->batch * l->picture));
        l->slot[i].labels = xcalloc((size_t)o->batch, sizeof(int));
        l->slot[i].numbers = xcalloc((size_t)o->batch, sizeof *l->slot[i].numbers);
        l->slot[i].fresh = xcalloc((size_t)o->batch, sizeof *l->slot[i].fresh);
    }
    l->order = xmalloc((size_t)l->length * sizeof *l->order);
    l->epoch = -1;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->work, NULL);
    pthread_cond_init(&l->ready, NULL);
    long want = o->threads > 0 ? o->threads : sysconf(_SC_NPROCESSORS_ONLN);
    want = want < 1 ? 1 : want > MAX_THREADS ? MAX_THREADS : want;
    for (; l->n_threads < want; l->n_threads++)
        if (pthread_create(&l->thread[l->n_threads], NULL, worker, l) != 0)
            break;
    if (l->n_threads == 0) {
        loader_close(l);
        return st_fail(e, "cannot start a thread for decoding");
    }
    *out = l;
    return ST_OK;
}

/* Handing out batch b frees the slot of batch b-1, which the caller no longer looks at. */
enum status loader_next(struct loader *l, const uint8_t **pixels, const int **labels, struct error *e) {
    pthread_mutex_lock(&l->lock);
    struct slot *slot = &l->slot[l->batches % SLOTS];
    while (slot->done < l->o.batch && !l->failed)
        pthread_cond_wait(&l->ready, &l->lock);
    if (slot->done < l->o.batch) {
        *e = l->error;
        pthread_mutex_unlock(&l->lock);
        return ST_FAIL;
    }
    l->slot[(l->batches + SLOTS - 1) % SLOTS].done = 0;
    l->batches++;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    *pixels = slot->pixels;
    if (labels)
        *labels = l->o.labels ? slot->labels : NULL;
    return ST_OK;
}

void loader_numbers(const struct loader *l, const int64_t **numbers, const bool **fresh) {
    const struct slot *slot = &l->slot[(l->batches + SLOTS - 1) % SLOTS];
    *numbers = slot->numbers;
    *fresh = slot->fresh;
}

int64_t loader_position(const struct loader *l) { return l->o.position + l->batches * l->o.batch; }

void loader_close(struct loader *l) {
    if (!l)
        return;
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < l->n_threads; i++)
        pthread_join(l->thread[i], NULL);
    for (int i = 0; i < SLOTS; i++) {
        free(l->slot[i].pixels);
        free(l->slot[i].labels);
        free(l->slot[i].numbers);
        free(l->slot[i].fresh);
    }
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->work);
    pthread_cond_destroy(&l->ready);
    free(l->cache);
    free(l->cached);
    free(l->given);
    free(l->order);
    free(l);
}
