/* choices.c - see choices.h. A training has some 250 choices: lists are searched from end to end, and the file is rewritten whole. */
#include "kernels/choices.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FORMAT 2 /* one more when lines, or the ways that are chosen among, change */
#define MOST 1000 /* of a field */

struct entry {
    char key[CHOICE_KEY];
    struct choice choice;
};

struct choices {
    struct entry *entries;
    int n, room;
    char path[1024]; /* "" = nowhere */
};

static void add(struct choices *m, const char *key, const struct choice *choice) {
    if (m->n == m->room) {
        int room = m->room ? 2 * m->room : 64;
        struct entry *more = realloc(m->entries, (size_t)room * sizeof *more);
        if (!more)
            return; /* it will be measured again */
        m->entries = more;
        m->room = room;
    }
    struct entry *e = &m->entries[m->n++];
    snprintf(e->key, sizeof e->key, "%s", key);
    e->choice = *choice;
}

/* Makes the folder; "" where there is no home. */
static void find_path(long version, const char *name, char *path, size_t size) {
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char folder[512], device[64];
    int n = cache && *cache ? snprintf(folder, sizeof folder, "%s", cache)
            : home && *home ? snprintf(folder, sizeof folder, "%s/.cache", home) : 0;
    path[0] = 0;
    if (n <= 0 || n >= (int)sizeof folder - 16)
        return;
    mkdir(folder, 0777);
    strcat(folder, "/facemill");
    if (mkdir(folder, 0777) && errno != EEXIST)
        return;
    snprintf(device, sizeof device, "%s", name);
    for (char *p = device; *p; p++)
        if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9')))
            *p = '_';
    snprintf(path, size, "%s/cudnn-%ld-%s-%d.txt", folder, version, device, FORMAT);
}

/* KEY = METHOD ALGO MATH PLAN, "-" for no plan. */
static bool read_line(char *line, struct choice *x) {
    char *mark = strstr(line, " = "), *end = strchr(line, '\n');
    int used = 0;
    if (!mark || !end || mark == line || mark - line >= CHOICE_KEY)
        return false;
    *end = 0;
    if (sscanf(mark, " = %d %d %d %127s%n", &x->method, &x->algo, &x->math, x->plan, &used) != 4 || mark[used] || x->method < 0 ||
        x->method > MOST || x->algo < 0 || x->algo > MOST || x->math < 0 || x->math > MOST)
        return false;
    if (!strcmp(x->plan, "-"))
        x->plan[0] = 0;
    *mark = 0;
    return true;
}

struct choices *choices_open(long version, const char *device) {
    struct choices *m = calloc(1, sizeof *m);
    if (!m)
        abort();
    find_path(version, device, m->path, sizeof m->path);
    FILE *f = *m->path ? fopen(m->path, "r") : NULL;
    char line[CHOICE_KEY + CHOICE_PLAN + 64];
    bool whole = true; /* the last piece ended its line */
    while (f && fgets(line, sizeof line, f)) {
        struct choice x;
        bool start = whole;
        whole = strchr(line, '\n') != NULL;
        if (start && read_line(line, &x))
            add(m, line, &x);
    }
    if (f)
        fclose(f);
    return m;
}

bool choices_recall(const struct choices *m, const char *key, struct choice *found) {
    for (int i = m->n - 1; i >= 0; i--) /* the newest counts */
        if (!strcmp(m->entries[i].key, key)) {
            *found = m->entries[i].choice;
            return true;
        }
    return false;
}

void choices_remember(struct choices *m, const char *key, const struct choice *choice) {
    int old = 0;
    for (int i = 0; i < m->n; i++) /* what it replaces goes */
        if (strcmp(m->entries[i].key, key)) {
            if (old != i)
                m->entries[old] = m->entries[i];
            old++;
        }
    m->n = old;
    add(m, key, choice);
    if (!*m->path)
        return;
    char temporary[sizeof m->path + 32];
    snprintf(temporary, sizeof temporary, "%s.%ld", m->path, (long)getpid());
    FILE *f = fopen(temporary, "w");
    if (!f)
        return;
    for (int i = 0; i < m->n; i++) {
        const struct choice *x = &m->entries[i].choice;
        fprintf(f, "%s = %d %d %d %s\n", m->entries[i].key, x->method, x->algo, x->math, *x->plan ? x->plan : "-");
    }
    bool failed = ferror(f); /* fclose does not tell of what an earlier write lost */
    failed |= fclose(f) != 0;
    if (failed || rename(temporary, m->path))
        unlink(temporary);
}

int choices_plans(const struct choices *m, const char *prefix, int most, const char **plans) {
    int n = 0;
    for (int i = m->n - 1; i >= 0 && n < most; i--) {
        const char *plan = m->entries[i].choice.plan;
        bool new_one = *plan && !strncmp(m->entries[i].key, prefix, strlen(prefix));
        for (int k = 0; k < n && new_one; k++)
            new_one = strcmp(plans[k], plan) != 0;
        if (new_one)
            plans[n++] = plan;
    }
    return n;
}

void choices_close(struct choices *m) {
    if (!m)
        return;
    free(m->entries);
    free(m);
}
