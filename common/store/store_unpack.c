/* store_unpack.c - see store_tools.h: a store's samples into a stream or a folder. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/store/store_tools.h"

enum status store_unpack_folder(const char *path, struct error *e) {
    if (mkdir(path, 0777) && (errno != EEXIST || rmdir(path) || mkdir(path, 0777)))
        return st_fail(e, "%s: %s", path,
                       errno == ENOTEMPTY || errno == EEXIST ? "there is something in it: unpack into a new folder" : strerror(errno));
    return ST_OK;
}

static enum status write_file(const char *folder, const struct sample *s, struct error *e) {
    enum image_format format = s->format == IMAGE_PPM ? IMAGE_PNG : s->format;
    char *file = xasprintf("%s/%s.%s", folder, s->key, image_format_name(format));
    bool there = !access(file, F_OK);
    free(file);
    if (there)
        return st_bad(e, "a sample of this key is there already");
    return sample_write_folder(folder, s, format == s->format ? IMAGE_UNKNOWN : format, 95, e);
}

enum status store_unpack(struct store *s, const struct unpack_options *o, int64_t *out, struct error *e) {
    struct sample_writer *w = NULL;
    struct sample sample = {0};
    enum status st = ST_OK;
    *out = 0;
    if (!o->folder && (st = sample_writer_open(&w, STDOUT_FILENO, e)) != ST_OK)
        return st;
    for (int64_t i = 0; i < o->n && st != ST_FAIL; i++) {
        st = store_sample(s, o->size, i, &sample, e);
        if (st == ST_OK)
            st = w ? sample_write(w, &sample, e) : write_file(o->folder, &sample, e);
        if (st == ST_BAD)
            o->reject(sample.key, e->text, o->data);
        *out += st == ST_OK;
        if (st != ST_FAIL)
            o->tick(o->data);
    }
    sample_free(&sample);
    if (st == ST_FAIL)
        sample_writer_cancel(w);
    else
        st = sample_writer_close(w, e);
    return st;
}
