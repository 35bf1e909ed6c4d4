/* sample.c - one sample in memory, and as files of a folder. Reading and writing streams: sample_read.c, sample_write.c. */
#include "common/stream/sample.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/folders.h"
#include "common/base/utf8.h"
#include "common/stream/sample_internal.h"

void sample_free(struct sample *s) {
    bytes_free(&s->picture);
    cJSON_Delete(s->json);
    for (int i = 0; i < s->n_extras; i++) {
        free(s->extras[i].suffix);
        bytes_free(&s->extras[i].bytes);
    }
    free(s->extras);
    *s = (struct sample){0};
}

cJSON *sample_json(struct sample *s) {
    if (!s->json)
        s->json = cJSON_CreateObject();
    return s->json;
}

void sample_add_step(struct sample *s, const char *tool, cJSON *fields) {
    cJSON *object = sample_json(s), *steps = cJSON_GetObjectItemCaseSensitive(object, "steps");
    if (!cJSON_IsArray(steps)) { /* absent, or something of another program's: ours must be a list */
        cJSON_DeleteItemFromObjectCaseSensitive(object, "steps");
        steps = cJSON_AddArrayToObject(object, "steps");
    }
    cJSON *step = cJSON_CreateObject();
    cJSON_AddStringToObject(step, "tool", tool);
    cJSON_AddStringToObject(step, "version", FACEMILL_VERSION);
    for (cJSON *item; fields && (item = fields->child);) {
        cJSON_DetachItemViaPointer(fields, item); /* before the call below: arguments are evaluated in any order */
        cJSON_AddItemToObject(step, item->string, item);
    }
    cJSON_Delete(fields);
    cJSON_AddItemToArray(steps, step);
}

enum status sample_set_picture(struct sample *s, const struct image *im, enum image_format format, int quality, struct error *e) {
    struct bytes encoded = {0};
    enum status st = image_encode(im, format, quality, &encoded, e);
    if (st) {
        bytes_free(&encoded);
        return st;
    }
    bytes_free(&s->picture);
    s->picture = encoded;
    s->format = format;
    return ST_OK;
}

char *sample__json_text(const cJSON *json) {
    char *text = cJSON_PrintUnformatted(json);
    if (!utf8_valid(text, strlen(text))) { /* a file's name from another charset, say */
        char *clean = utf8_clean(text);
        free(text);
        text = clean;
    }
    return text;
}

const char *sample__key_problem(const char *key) {
    if (!*key)
        return "is empty";
    if (*key == '/')
        return "is an absolute path";
    for (const char *p = key;; p++) {
        size_t n = strcspn(p, "/");
        if (n == 2 && p[0] == '.' && p[1] == '.')
            return "leads out of its folder (..)";
        p += n;
        if (!*p)
            return p[-1] == '/' ? "ends in a slash" : NULL;
    }
}

void sample__widen_pipe(int fd) {
    struct stat st;
    if (!fstat(fd, &st) && S_ISFIFO(st.st_mode) && fcntl(fd, F_GETPIPE_SZ) < 1 << 20)
        fcntl(fd, F_SETPIPE_SZ, 1 << 20); /* refused when the user's limit is reached: no matter */
}

/* ---- as files ---- */

static enum status write_member(const char *dir, const char *key, const char *suffix, const void *data, size_t size, struct error *e) {
    char *path = xasprintf("%s/%s%s", dir, key, suffix);
    enum status st = folders_make_above(path, e);
    if (!st)
        st = file_write_renamed(path, data, size, false, e);
    free(path);
    return st;
}

enum status sample_write_folder(const char *dir, const struct sample *s, enum image_format format, int quality, struct error *e) {
    const char *problem = sample__key_problem(s->key);
    if (problem)
        return st_bad(e, "key \"%s\" %s", s->key, problem);
    enum status st = ST_OK;
    char suffix[16];
    if (s->format != IMAGE_UNKNOWN) {
        struct bytes encoded = {0};
        const struct bytes *bytes = &s->picture;
        if (format == IMAGE_UNKNOWN)
            format = s->format;
        if (format != s->format) {
            struct image im;
            st = image_decode(s->picture.data, s->picture.size, 0, &im, e);
            if (!st) {
                st = image_encode(&im, format, quality, &encoded, e);
                image_free(&im);
            }
            bytes = &encoded;
        }
        snprintf(suffix, sizeof suffix, ".%s", image_format_name(format));
        if (!st)
            st = write_member(dir, s->key, suffix, bytes->data, bytes->size, e);
        bytes_free(&encoded);
    }
    if (!st && s->json) {
        char *text = sample__json_text(s->json);
        st = write_member(dir, s->key, ".json", text, strlen(text), e);
        free(text);
    }
    for (int i = 0; !st && i < s->n_extras; i++)
        st = write_member(dir, s->key, s->extras[i].suffix, s->extras[i].bytes.data, s->extras[i].bytes.size, e);
    return st;
}
