/* run.c - see run.h. */
#include "common/run/run.h"

#include <cjson/cJSON.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/base/folders.h"
#include "common/base/mem.h"

struct run {
    char *dir;
    int lock; /* the folder itself, flock'ed */
    FILE *stats;
    struct events *events;
};

char *run_path(const struct run *r, const char *format, ...) {
    char name[256];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    return xasprintf("%s/%s", r->dir, name);
}

/* Files of a process that was killed while writing: "NAME.tmp-PID". Nobody else writes here, we hold the lock. */
static void remove_temporaries(const struct run *r) {
    DIR *d = opendir(r->dir);
    if (!d)
        return;
    for (struct dirent *f; (f = readdir(d));) {
        const char *mark = strstr(f->d_name, ".tmp-");
        if (mark && mark[5] && strspn(mark + 5, "0123456789") == strlen(mark + 5))
            unlinkat(dirfd(d), f->d_name, 0);
    }
    closedir(d);
}

enum status run_open(struct run **out, const char *dir, struct error *e) {
    *out = NULL;
    if (!*dir)
        return st_fail(e, "the run folder has an empty name");
    enum status st = folders_make(dir, e);
    if (st != ST_OK)
        return st;
    int lock = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (lock < 0)
        return st_fail(e, "open folder %s: %s", dir, strerror(errno));
    if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
        st = errno == EWOULDBLOCK ? st_fail(e, "%s: another training is writing here", dir)
                                  : st_fail(e, "lock %s: %s", dir, strerror(errno));
        close(lock);
        return st;
    }
    if (faccessat(lock, ".", W_OK | X_OK, 0) != 0) {
        st = st_fail(e, "folder %s is not writable: %s", dir, strerror(errno));
        close(lock);
        return st;
    }
    struct run *r = xcalloc(1, sizeof *r);
    r->dir = xstrdup(dir);
    r->lock = lock;
    remove_temporaries(r);
    *out = r;
    return ST_OK;
}

enum status run_check_writable(const char *dir, struct error *e) {
    char *path = xstrdup(dir);
    while (access(path, F_OK) != 0 && errno == ENOENT) { /* up to the nearest folder that is there */
        char *slash = strrchr(path, '/');
        if (!slash || slash == path) {
            strcpy(path, slash ? "/" : ".");
            break;
        }
        *slash = 0;
    }
    struct stat s;
    enum status st = ST_OK;
    if (access(path, W_OK | X_OK) != 0)
        st = st_fail(e, "folder %s cannot be written: %s", path, strerror(errno));
    else if (stat(path, &s) != 0 || !S_ISDIR(s.st_mode))
        st = st_fail(e, "%s is no folder", path);
    free(path);
    return st;
}

enum status run_close(struct run *r, struct error *e) {
    if (!r)
        return ST_OK;
    enum status st = ST_OK;
    if (r->stats && fclose(r->stats) != 0)
        st = st_fail(e, "write %s/stats.jsonl: %s", r->dir, strerror(errno));
    enum status events = events_close(r->events, st == ST_OK ? e : NULL);
    close(r->lock);
    free(r->dir);
    free(r);
    return st != ST_OK ? st : events;
}

bool run_has_checkpoint(const struct run *r) { return faccessat(r->lock, RUN_CHECKPOINT, F_OK, 0) == 0; }

const char *run_kimg_text(int64_t images, bool fraction) {
    static char text[40];
    if (fraction)
        snprintf(text, sizeof text, "%06lld.%03d", (long long)(images / 1000), (int)(images % 1000));
    else
        snprintf(text, sizeof text, "%06lld", (long long)(images / 1000));
    return text;
}

/* Lines up to the first that is torn, no JSON, or past `images`; returns how many, leaves the file positioned behind them. */
static int64_t kept_lines(FILE *f, int64_t images, double *seconds, long *end) {
    char *line = NULL;
    size_t room = 0;
    int64_t kept = 0;
    *end = 0;
    for (ssize_t n; (n = getline(&line, &room, f)) > 0 && line[n - 1] == '\n'; kept++, *end = ftell(f)) {
        cJSON *json = cJSON_Parse(line);
        const cJSON *kimg = cJSON_GetObjectItemCaseSensitive(json, "Progress/kimg");
        bool keep = cJSON_IsNumber(kimg) && kimg->valuedouble * 1000 < (double)images + 0.5;
        const cJSON *total = cJSON_GetObjectItemCaseSensitive(json, "Timing/total_sec");
        if (keep && cJSON_IsNumber(total))
            *seconds = total->valuedouble;
        cJSON_Delete(json);
        if (!keep)
            break;
    }
    free(line);
    return kept;
}

enum status run_start_logs(struct run *r, int64_t images, double *seconds, struct error *e) {
    char *stats = run_path(r, "stats.jsonl"), *events = run_path(r, "events.out.tfevents.facemill");
    enum status st = ST_OK;
    *seconds = 0;
    r->stats = fopen(stats, "a+b");
    if (!r->stats) {
        st = st_fail(e, "open %s: %s", stats, strerror(errno));
        goto done;
    }
    long end;
    rewind(r->stats);
    int64_t kept = images > 0 ? kept_lines(r->stats, images, seconds, &end) : (end = 0);
    if (fseek(r->stats, end, SEEK_SET) != 0 || ftruncate(fileno(r->stats), end) != 0) {
        st = st_fail(e, "cut back %s: %s", stats, strerror(errno));
        goto done;
    }
    st = events_open(&r->events, events, kept, e);
done:
    free(stats);
    free(events);
    return st;
}

enum status run_log(struct run *r, double kimg, const struct event_scalar *scalars, int n, struct error *e) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    double wall = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    fputc('{', r->stats);
    for (int i = 0; i < n; i++) {
        fprintf(r->stats, "\"%s\":", scalars[i].tag);
        if (isfinite(scalars[i].value))
            fprintf(r->stats, "%.9g,", scalars[i].value);
        else
            fputs("null,", r->stats);
    }
    fprintf(r->stats, "\"timestamp\":%.3f}\n", wall);
    /* on disk before the checkpoint that counts on it */
    if (fflush(r->stats) != 0 || (fsync(fileno(r->stats)) != 0 && errno != EINVAL))
        return st_fail(e, "write %s/stats.jsonl: %s", r->dir, strerror(errno));
    return events_write(r->events, wall, (int64_t)kimg, scalars, n, e);
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

void run_prune_snapshots(const struct run *r, int keep) {
    DIR *d = keep > 0 ? opendir(r->dir) : NULL;
    if (!d)
        return;
    char **name = NULL;
    size_t n = 0;
    for (struct dirent *f; (f = readdir(d));) {
        size_t length = strlen(f->d_name);
        if (strncmp(f->d_name, "snapshot-", 9) || length < 12 || strcmp(f->d_name + length - 12, ".safetensors"))
            continue;
        name = xrealloc(name, (n + 1) * sizeof *name);
        name[n++] = xstrdup(f->d_name);
    }
    if (n)
        qsort(name, n, sizeof *name, by_name); /* names have fixed width: the order is the order of images */
    for (size_t i = 0; i < n; i++) {
        if (i + (size_t)keep < n)
            unlinkat(dirfd(d), name[i], 0);
        free(name[i]);
    }
    free(name);
    closedir(d);
}
