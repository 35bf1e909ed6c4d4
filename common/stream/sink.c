/* sink.c - see sink.h. A 128x128 PNG costs 0.9 ms to encode, where a GPU draws fourteen in that time, so others encode what the
 * writing thread only writes. A raw PPM costs almost nothing: it does that itself. One lock a picture does not count. */
#include "common/stream/sink.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/mem.h"

struct item {
    struct sample sample;
    struct image image;
    bool encoded; /* or failed to be */
    enum status st;
    struct error error;
};

struct sink {
    struct sink_options o;
    char *path;                   /* NULL: stream */
    bool grid, files;             /* files: not stdout */
    bool lossless;                /* nobody asked for PPM, which has no alpha */
    struct sample_writer *writer; /* of a stream */
    struct video *video;
    struct image *tiles;          /* [n_tiles] of a grid */
    int n_tiles;
    int64_t pixels;               /* in tiles */

    pthread_t thread, *encoder;   /* [n_encoders] */
    bool threaded;
    int n_encoders;
    pthread_mutex_t lock;
    pthread_cond_t change, work;  /* work: there is something to encode, or nothing will come */
    struct item *ring;            /* [depth] */
    int first, count, begun;      /* begun: of the oldest, how many an encoder has or had */
    bool end, failed;
    struct error error;
};

bool sink_is_grid(const char *path) {
    struct stat s;
    const char *slash = strrchr(path, '/'), *dot = strrchr(slash ? slash : path, '.');
    return dot && image_format_by_name(dot + 1) != IMAGE_UNKNOWN && !(stat(path, &s) == 0 && S_ISDIR(s.st_mode));
}

static void encode(const struct sink *k, struct item *i) {
    enum image_format format = k->lossless && i->image.channels == 4 ? IMAGE_PNG : k->o.format;
    i->st = sample_set_picture(&i->sample, &i->image, format, k->o.quality, &i->error);
    i->encoded = true;
}

static void *encode_items(void *arg) {
    struct sink *k = arg;
    pthread_mutex_lock(&k->lock);
    for (;;) {
        while (k->begun == k->count && !k->end)
            pthread_cond_wait(&k->work, &k->lock);
        if (k->begun == k->count)
            break;
        struct item *slot = &k->ring[(k->first + k->begun++) % k->o.depth];
        struct item item = *slot; /* the slot stays where it is until it is encoded; the sample's parts are this thread's */
        bool failed = k->failed;
        pthread_mutex_unlock(&k->lock);
        if (failed)
            item.encoded = true;
        else
            encode(k, &item);
        pthread_mutex_lock(&k->lock);
        *slot = item;
        pthread_cond_broadcast(&k->change);
    }
    pthread_mutex_unlock(&k->lock);
    return NULL;
}

static enum status write_item(struct sink *k, struct item *i, struct error *e) {
    if (k->video)
        return video_add(k->video, &i->image, e);
    if (k->grid) {
        k->pixels += (int64_t)i->image.width * i->image.height;
        if (k->pixels > IMAGE_MAX_PIXELS)
            return st_fail(e, "%s: too many pictures for one file; name a folder or write a stream", k->path);
        k->tiles = xrealloc(k->tiles, (size_t)(k->n_tiles + 1) * sizeof *k->tiles);
        k->tiles[k->n_tiles++] = i->image;
        i->image = (struct image){0};
        return ST_OK;
    }
    if (!i->encoded)
        encode(k, i);
    if (i->st != ST_OK) {
        *e = i->error;
        return i->st;
    }
    return k->path ? sample_write_folder(k->path, &i->sample, IMAGE_UNKNOWN, k->o.quality, e) : sample_write(k->writer, &i->sample, e);
}

static void free_item(struct item *i) {
    sample_free(&i->sample);
    image_free(&i->image);
}

static void *write_items(void *arg) {
    struct sink *k = arg;
    pthread_mutex_lock(&k->lock);
    for (;;) {
        while (k->count ? k->n_encoders && !k->ring[k->first].encoded : !k->end)
            pthread_cond_wait(&k->change, &k->lock);
        if (!k->count)
            break;
        struct item item = k->ring[k->first];
        bool failed = k->failed; /* after a failure the rest is only thrown away */
        pthread_mutex_unlock(&k->lock);
        struct error e;
        enum status st = failed ? ST_OK : write_item(k, &item, &e);
        free_item(&item);
        pthread_mutex_lock(&k->lock);
        k->first = (k->first + 1) % k->o.depth;
        k->count--;
        k->begun -= k->n_encoders > 0;
        if (st != ST_OK) {
            k->failed = true;
            k->error = e;
        }
        pthread_cond_broadcast(&k->change);
    }
    pthread_mutex_unlock(&k->lock);
    return NULL;
}

enum status sink_open(struct sink **out, const struct sink_options *o, struct error *e) {
    *out = NULL;
    struct sink *k = xcalloc(1, sizeof *k);
    k->o = *o;
    k->o.depth = o->depth > 0 ? o->depth : 1;
    k->path = o->path && !o->video ? xstrdup(o->path) : NULL;
    k->grid = k->path && sink_is_grid(k->path);
    k->files = o->video ? o->video->path != NULL : k->path != NULL;
    k->ring = xcalloc((size_t)k->o.depth, sizeof *k->ring);
    pthread_mutex_init(&k->lock, NULL);
    pthread_cond_init(&k->change, NULL);
    pthread_cond_init(&k->work, NULL);
    k->lossless = k->o.format == IMAGE_UNKNOWN && !k->grid;
    if (k->o.format == IMAGE_UNKNOWN)
        k->o.format = k->grid ? image_format_by_name(strrchr(k->path, '.') + 1) : k->path ? IMAGE_PNG : IMAGE_PPM;
    enum status st = ST_OK;
    if (o->video)
        st = video_open(&k->video, o->video, e);
    else if (!k->path)
        st = sample_writer_open(&k->writer, STDOUT_FILENO, e);
    else if (!k->grid && ((mkdir(k->path, 0777) != 0 && errno != EEXIST) || access(k->path, W_OK | X_OK) != 0))
        st = st_fail(e, "folder %s: %s", k->path, strerror(errno));
    if (st == ST_OK && o->jobs > 0 && !k->grid && !k->video && k->o.format != IMAGE_PPM) { /* fewer, or none, when the system has no more */
        k->encoder = xcalloc((size_t)o->jobs, sizeof *k->encoder);
        while (k->n_encoders < o->jobs && k->n_encoders < k->o.depth && pthread_create(&k->encoder[k->n_encoders], NULL, encode_items, k) == 0)
            k->n_encoders++;
    }
    if (st == ST_OK && pthread_create(&k->thread, NULL, write_items, k) != 0)
        st = st_fail(e, "cannot start a thread for writing");
    else if (st == ST_OK)
        k->threaded = true;
    if (st == ST_OK)
        *out = k;
    else {
        k->failed = true; /* nothing more is written */
        sink_close(k, NULL);
    }
    return st;
}

enum status sink_put(struct sink *k, struct sample *s, struct image *im, struct error *e) {
    pthread_mutex_lock(&k->lock);
    while (k->count == k->o.depth && !k->failed)
        pthread_cond_wait(&k->change, &k->lock);
    if (k->failed) {
        if (e)
            *e = k->error;
        pthread_mutex_unlock(&k->lock);
        sample_free(s);
        image_free(im);
        return ST_FAIL;
    }
    k->ring[(k->first + k->count++) % k->o.depth] = (struct item){.sample = *s, .image = *im};
    *s = (struct sample){0};
    *im = (struct image){0};
    pthread_cond_signal(&k->work);
    pthread_cond_broadcast(&k->change);
    pthread_mutex_unlock(&k->lock);
    return ST_OK;
}

static enum status write_grid(struct sink *k, struct error *e) {
    long columns = k->o.columns ? k->o.columns : (long)ceil(sqrt((double)k->n_tiles));
    if (k->o.rows && columns * k->o.rows < k->n_tiles)
        return st_fail(e, "%s: a grid of %ldx%d has no room for %d pictures", k->path, columns, k->o.rows, k->n_tiles);
    int64_t rows = (k->n_tiles + columns - 1) / columns;
    if (columns * k->tiles[0].width > IMAGE_MAX_SIDE || rows * k->tiles[0].height > IMAGE_MAX_SIDE)
        return st_fail(e, "%s: a grid of %ldx%lld pictures is over %d pixels on a side", k->path, columns, (long long)rows, IMAGE_MAX_SIDE);
    struct image whole = {0};
    struct bytes encoded = {0};
    image_grid(k->tiles, k->n_tiles, (int)(columns < k->n_tiles ? columns : k->n_tiles), &whole);
    enum status st = image_encode(&whole, k->o.format, k->o.quality, &encoded, e);
    if (st == ST_OK)
        st = file_write_atomic(k->path, encoded.data, encoded.size, e);
    image_free(&whole);
    bytes_free(&encoded);
    return st;
}

void sink_flush(struct sink *k) {
    pthread_mutex_lock(&k->lock);
    while (k->count && !k->failed)
        pthread_cond_wait(&k->change, &k->lock);
    pthread_mutex_unlock(&k->lock);
}

void sink_cancel(struct sink *k) {
    if (!k || !k->files)
        return;
    pthread_mutex_lock(&k->lock);
    k->failed = true;
    pthread_mutex_unlock(&k->lock);
    sink_close(k, NULL);
}

enum status sink_close(struct sink *k, struct error *e) {
    if (!k)
        return ST_OK;
    pthread_mutex_lock(&k->lock);
    k->end = true;
    pthread_cond_broadcast(&k->change);
    pthread_cond_broadcast(&k->work);
    pthread_mutex_unlock(&k->lock);
    for (int i = 0; i < k->n_encoders; i++)
        pthread_join(k->encoder[i], NULL);
    if (k->threaded)
        pthread_join(k->thread, NULL);
    enum status st = ST_OK;
    if (k->failed) {
        st = ST_FAIL;
        if (e)
            *e = k->error;
    }
    if (k->writer) {
        enum status ended = sample_writer_close(k->writer, st == ST_OK ? e : NULL);
        st = st == ST_OK ? ended : st;
    }
    if (k->video) {
        enum status ended = video_close(k->video, st == ST_OK, st == ST_OK ? e : NULL);
        st = st == ST_OK ? ended : st;
    }
    if (st == ST_OK && k->grid && k->n_tiles)
        st = write_grid(k, e);
    for (int i = 0; i < k->n_tiles; i++)
        image_free(&k->tiles[i]);
    free(k->tiles);
    free(k->ring);
    free(k->encoder);
    free(k->path);
    pthread_mutex_destroy(&k->lock);
    pthread_cond_destroy(&k->change);
    pthread_cond_destroy(&k->work);
    free(k);
    return st;
}
