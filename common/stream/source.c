/* source.c - see source.h. */
#include "common/stream/source.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cli/cli.h"

struct sample_source {
    struct sample_reader *stream; /* NULL: files */
    struct cli_paths *paths;
    char **operands;
    int n;
    char last_key[SAMPLE_KEY_MAX];
};

enum status sample_source_open(struct sample_source **in, char **operands, int n, bool nul_separated, struct error *e) {
    *in = xcalloc(1, sizeof **in);
    if (n || nul_separated) {
        (*in)->operands = operands;
        (*in)->n = n;
        (*in)->paths = cli_paths_open(operands, n, image_suffixes, nul_separated);
        return ST_OK;
    }
    cli_need_stream_stdin("pictures as operands, or a sample stream on stdin,");
    enum status st = sample_reader_open(&(*in)->stream, STDIN_FILENO, "stdin", e);
    if (st) {
        free(*in);
        *in = NULL;
    }
    return st;
}

/* The part of path below the folder operand it came from, or all of it. */
static const char *below_operand(const struct sample_source *in, const char *path) {
    for (int i = 0; i < in->n; i++) {
        const char *o = in->operands[i];
        size_t n = strlen(o);
        while (n && o[n - 1] == '/')
            n--;
        struct stat st;
        if (n && !strncmp(path, o, n) && path[n] == '/' && !stat(o, &st) && S_ISDIR(st.st_mode)) {
            path += n;
            while (*path == '/')
                path++;
            return path;
        }
    }
    return path;
}

static void key_of(struct sample_source *in, const char *path, char key[SAMPLE_KEY_MAX]) {
    char *name = xstrdup(below_operand(in, path)), *base = strrchr(name, '/');
    base = base ? base + 1 : name;
    char *dot = strrchr(base, '.');
    const char *suffix = dot && dot > base ? dot + 1 : "";
    if (*suffix)
        *dot = '\0';
    for (char *p = base; *p; p++)
        if (*p == '.')
            *p = '_';
    size_t n = 0, limit = SAMPLE_KEY_MAX - 32; /* room for the suffix here and a face number later */
    size_t length = strlen(name);
    const char *from = name + (length > limit ? length - limit : 0); /* of very long paths the end tells more */
    while (*from) {
        size_t part = strcspn(from, "/");
        bool skip = part == 0 || (part == 1 && from[0] == '.') || (part == 2 && from[0] == '.' && from[1] == '.');
        if (!skip) {
            if (n)
                key[n++] = '/';
            memcpy(key + n, from, part);
            n += part;
        }
        from += part + (from[part] == '/');
    }
    key[n] = '\0';
    if (!n)
        strcpy(key, "picture");
    if (!strcmp(key, in->last_key) && strlen(suffix) < 16) {
        strcat(key, "_");
        strcat(key, suffix);
    }
    strcpy(in->last_key, key);
    free(name);
}

static void read_sidecar(const char *path, struct sample *s) {
    const char *base = strrchr(path, '/'), *dot = strrchr(base ? base : path, '.');
    char *name = xasprintf("%.*s.json", (int)(dot ? dot - path : (long)strlen(path)), path);
    struct bytes text = {0};
    if (!access(name, R_OK) && file_read(name, SAMPLE_JSON_MAX, &text, NULL) == ST_OK) {
        s->json = cJSON_ParseWithLength((const char *)text.data, text.size);
        if (s->json && !cJSON_IsObject(s->json)) {
            cJSON_Delete(s->json);
            s->json = NULL;
        }
    }
    bytes_free(&text);
    free(name);
}

enum status sample_source_next(struct sample_source *in, struct sample *s, struct error *e) {
    if (in->stream)
        return sample_read(in->stream, s, e);
    sample_free(s);
    const char *path = cli_paths_next(in->paths);
    if (!path)
        return ST_END;
    enum status st = file_read(path, IMAGE_MAX_FILE, &s->picture, e);
    if (st == ST_OK && !s->picture.size)
        st = st_bad(e, "the file is empty");
    if (st) {
        snprintf(s->key, sizeof s->key, "%s", path);
        return ST_BAD; /* one unreadable file does not end the others */
    }
    key_of(in, path, s->key);
    s->format = image_detect(s->picture.data, s->picture.size);
    read_sidecar(path, s);
    cJSON *json = sample_json(s);
    if (!cJSON_GetObjectItemCaseSensitive(json, "source"))
        cJSON_AddStringToObject(json, "source", path);
    return ST_OK;
}

int sample_source_close(struct sample_source *in) {
    if (!in)
        return 0;
    int failed = in->paths ? cli_paths_close(in->paths) : 0;
    if (in->stream)
        sample_reader_close(in->stream);
    free(in);
    return failed;
}
