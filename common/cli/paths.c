/* paths.c - the inputs of programs that take files: operands, folders walked in byte order of their names, lists on stdin.
 *
 * Memory: the names of one folder and its ancestors (about 40 bytes a file), since sorting needs them all; lists on stdin are
 * read as they arrive. Names that start with a dot are skipped, symbolic links are followed, and a folder that is its own
 * ancestor is not entered again. A file named as an operand or in a list is delivered whatever its suffix, also when it does
 * not exist: whoever opens it says so and counts it.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "common/base/mem.h"
#include "common/cli/cli_internal.h"

#define MAX_DEPTH 256

struct folder {
    char *path;   /* owned */
    char **names; /* owned, sorted */
    size_t n, at;
    dev_t dev;
    ino_t ino;
};

struct cli_paths {
    char **operands;
    int n, at;
    const char *const *suffixes;
    int delimiter;
    bool listing; /* names come from stdin just now */
    char *line, *current;
    size_t line_room;
    struct folder stack[MAX_DEPTH];
    int depth;
    int failed;
    char *foreign;      /* the first picture of a kind that is not taken */
    int64_t n_foreign;
};

struct cli_paths *cli_paths_open(char **operands, int n, const char *const *suffixes, bool nul_separated) {
    struct cli_paths *p = xcalloc(1, sizeof *p);
    p->operands = operands;
    p->n = n;
    p->suffixes = suffixes;
    p->delimiter = nul_separated ? '\0' : '\n';
    p->listing = nul_separated && n == 0; /* "-0" alone: the list is on stdin */
    return p;
}

static int compare_names(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static bool suffix_fits(const struct cli_paths *p, const char *name) {
    size_t n = strlen(name);
    for (const char *const *s = p->suffixes; s && *s; s++) {
        size_t m = strlen(*s);
        if (n > m && !strcasecmp(name + n - m, *s))
            return true;
    }
    return !p->suffixes;
}

/* A picture of a kind that no program here reads is left out of a folder like any other file, but not without a word. */
static void note_foreign(struct cli_paths *p, const char *path, const char *name) {
    static const char *const kinds[] = {".bmp", ".gif", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jp2", ".jxl", ".tga", ".dng", NULL};
    const struct cli_paths pictures = {.suffixes = kinds};
    if (p->suffixes && suffix_fits(&pictures, name) && !p->n_foreign++)
        p->foreign = xstrdup(path);
}

static void unreadable(struct cli_paths *p, const char *path, const char *why) {
    cli_warn("read folder %s: %s", path, why);
    p->failed++;
}

/* Reads a folder and puts it on the stack; a folder that cannot be read is counted and left out. Takes ownership of path. */
static void push_folder(struct cli_paths *p, char *path) {
    struct stat st;
    DIR *dir = NULL;
    if (p->depth == MAX_DEPTH) {
        unreadable(p, path, "too deep");
        goto skip;
    }
    if (stat(path, &st) || !(dir = opendir(path))) {
        unreadable(p, path, strerror(errno));
        goto skip;
    }
    for (int i = 0; i < p->depth; i++)
        if (p->stack[i].dev == st.st_dev && p->stack[i].ino == st.st_ino)
            goto skip; /* a symbolic link back to an ancestor */
    struct folder *f = &p->stack[p->depth++];
    *f = (struct folder){.path = path, .dev = st.st_dev, .ino = st.st_ino};
    size_t room = 0;
    struct dirent *entry;
    while (errno = 0, (entry = readdir(dir))) {
        if (entry->d_name[0] == '.')
            continue;
        if (f->n == room)
            f->names = xrealloc(f->names, (room = room ? 2 * room : 64) * sizeof *f->names);
        f->names[f->n++] = xstrdup(entry->d_name);
    }
    if (errno)
        unreadable(p, path, strerror(errno));
    closedir(dir);
    if (f->n)
        qsort(f->names, f->n, sizeof *f->names, compare_names);
    return;
skip:
    if (dir)
        closedir(dir);
    free(path);
}

static void pop_folder(struct cli_paths *p) {
    struct folder *f = &p->stack[--p->depth];
    for (size_t i = 0; i < f->n; i++)
        free(f->names[i]);
    free(f->names);
    free(f->path);
}

/* The next fitting file of the folders on the stack, or NULL when they are done. */
static const char *next_in_folders(struct cli_paths *p) {
    while (p->depth) {
        struct folder *f = &p->stack[p->depth - 1];
        if (f->at == f->n) {
            pop_folder(p);
            continue;
        }
        const char *name = f->names[f->at++];
        size_t n = strlen(f->path);
        char *path = xasprintf("%s%s%s", f->path, n && f->path[n - 1] == '/' ? "" : "/", name);
        struct stat st;
        if (!stat(path, &st) && S_ISDIR(st.st_mode)) {
            push_folder(p, path);
            continue;
        }
        if (suffix_fits(p, name) && (lstat(path, &st) || S_ISREG(st.st_mode) || S_ISLNK(st.st_mode))) {
            free(p->current);
            return p->current = path;
        }
        note_foreign(p, path, name);
        free(path);
    }
    return NULL;
}

/* A name from the command line or a list: a folder is entered (NULL), anything else is delivered. */
static const char *deliver(struct cli_paths *p, const char *name) {
    struct stat st;
    if (!stat(name, &st) && S_ISDIR(st.st_mode)) {
        push_folder(p, xstrdup(name));
        return NULL;
    }
    free(p->current);
    return p->current = xstrdup(name);
}

const char *cli_paths_next(struct cli_paths *p) {
    for (;;) {
        const char *path = next_in_folders(p);
        if (path)
            return path;
        if (p->listing) {
            ssize_t n = getdelim(&p->line, &p->line_room, p->delimiter, stdin);
            if (n < 0) {
                if (ferror(stdin)) {
                    cli_warn("read the list on stdin: %s", strerror(errno));
                    p->failed++;
                }
                p->listing = false;
                continue;
            }
            if (n && p->line[n - 1] == (char)p->delimiter)
                p->line[--n] = '\0';
            if (n && (path = deliver(p, p->line)))
                return path;
            continue;
        }
        if (p->at == p->n)
            return NULL;
        const char *operand = p->operands[p->at++];
        if (!strcmp(operand, "-"))
            p->listing = true;
        else if ((path = deliver(p, operand)))
            return path;
    }
}

int cli_paths_close(struct cli_paths *p) {
    static char said[4096]; /* fid-score walks a folder twice */
    int failed = p->failed;
    if (p->n_foreign > 1 && strcmp(said, p->foreign))
        cli_info("%s and %lld more pictures are left out: their kinds are not read here (PNG, JPEG, WebP, PNM are)", p->foreign,
                 (long long)p->n_foreign - 1);
    else if (p->n_foreign && strcmp(said, p->foreign))
        cli_info("%s is left out: its kind is not read here (PNG, JPEG, WebP, PNM are)", p->foreign);
    if (p->n_foreign)
        snprintf(said, sizeof said, "%s", p->foreign);
    free(p->foreign);
    while (p->depth)
        pop_folder(p);
    free(p->line);
    free(p->current);
    free(p);
    return failed;
}
