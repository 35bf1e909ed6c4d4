/* resume.c - see resume.h. */
#include "common/run/resume.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/mem.h"
#include "common/image/image.h"
#include "common/run/run.h"
#include "common/store/checkpoint.h"

#define SHOWN 6 /* differences listed in a message */

static void add_text(struct bytes *b, const char *text) { bytes_append(b, text, strlen(text)); }

static void differences(const cJSON *was, const cJSON *is, const char *name, struct bytes *out, int *n) {
    const cJSON *item;
    if (cJSON_IsObject(was) && cJSON_IsObject(is)) {
        cJSON_ArrayForEach(item, is)
            differences(cJSON_GetObjectItemCaseSensitive(was, item->string), item, item->string, out, n);
        cJSON_ArrayForEach(item, was)
            if (!cJSON_GetObjectItemCaseSensitive(is, item->string))
                differences(item, NULL, item->string, out, n);
        return;
    }
    if (was && is && cJSON_Compare(was, is, true))
        return;
    if ((*n)++ < SHOWN) {
        char *a = was ? cJSON_PrintUnformatted(was) : xstrdup("unset"), *b = is ? cJSON_PrintUnformatted(is) : xstrdup("unset");
        char *text = xasprintf("%s%s is %.60s, was %.60s", *n > 1 ? "; " : "", name, b, a);
        add_text(out, text);
        free(text);
        free(a);
        free(b);
    }
}

char *resume_differences(const char *was, const char *is) {
    cJSON *a = cJSON_Parse(was), *b = cJSON_Parse(is);
    struct bytes out = {0};
    int n = 0;
    differences(a, b, "settings", &out, &n);
    if (n > SHOWN)
        add_text(&out, "; and more");
    cJSON_Delete(a);
    cJSON_Delete(b);
    if (n)
        bytes_append(&out, "", 1);
    return (char *)out.data; /* NULL when nothing was appended */
}

enum status resume_exactly(const char *path, struct trainer *t, const struct trainer_config *c, int64_t *sampler_position,
                           char **data, struct error *e) {
    struct checkpoint *file;
    *data = NULL;
    enum status st = checkpoint_open(&file, path, e);
    if (st != ST_OK)
        return st;
    const char *was = checkpoint_metadata(file, "trainer"), *on = checkpoint_metadata(file, "data");
    char *is = trainer_config_json(c), *differ = was ? resume_differences(was, is) : NULL;
    if (!was)
        st = st_bad(e, "%s is a network, no training checkpoint", path);
    else if (differ)
        st = st_bad(e, "%s was made with other settings: %s. The same settings continue it; another --out with --resume %s starts "
                    "from its networks", path, differ, path);
    else
        st = checkpoint_restore(file, t, sampler_position, e);
    if (st == ST_OK)
        *data = xstrdup(on ? on : "{}");
    free(differ);
    free(is);
    checkpoint_close(file);
    return st;
}

struct tally {
    struct resume_count *count;
    struct bytes text;
};

static void note(void *context, const char *name, enum transfer what, const char *detail) {
    struct tally *t = context;
    if (strstr(name, ".resample_filter"))
        return; /* the same in every network: says nothing about what fits */
    static const char *const words[] = {"copied ", "shape  ", "missing"};
    *(what == TRANSFER_COPIED ? &t->count->copied : what == TRANSFER_SHAPE ? &t->count->shape : &t->count->missing) += 1;
    char *line = xasprintf("%s %s%s%s\n", words[what], name, *detail ? "  " : "", detail);
    add_text(&t->text, line);
    free(line);
}

enum status resume_transfer(const char *path, struct trainer *t, const char *report, struct resume_count *count, struct error *e) {
    struct stat s;
    struct checkpoint *file;
    *count = (struct resume_count){0};
    char *inside = stat(path, &s) == 0 && S_ISDIR(s.st_mode) ? xasprintf("%s/" RUN_CHECKPOINT, path) : xstrdup(path);
    enum status st = checkpoint_open(&file, inside, e);
    if (st == ST_OK) {
        struct tally tally = {.count = count};
        checkpoint_transfer(file, t, note, &tally);
        if (count->copied == 0)
            st = st_bad(e, "%s: not one tensor fits this network", inside);
        else if (report)
            st = file_write_atomic(report, tally.text.data, tally.text.size, e);
        bytes_free(&tally.text);
        checkpoint_close(file);
    }
    free(inside);
    return st;
}
