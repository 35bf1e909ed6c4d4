/* status.h - how every library function of this project reports failure.
 *
 * A function that can fail returns an enum status and takes a `struct error *` last. On ST_OK the error is untouched.
 * On ST_BAD and ST_FAIL the error holds one line of text without a newline, without the program's name: what was being
 * read or done, what is wrong with it, and where it is known, what to do. Libraries never print and never exit; stages
 * print the line and choose the exit code.
 *
 *     enum status f(struct thing *t, struct error *e) {
 *         if (t->width > LIMIT)
 *             return st_bad(e, "width %d is over the limit of %d", t->width, LIMIT);
 *         if (read(...) < 0)
 *             return st_fail(e, "read %s: %s", path, strerror(errno));
 *         return ST_OK;
 *     }
 */
#ifndef FACEMILL_STATUS_H
#define FACEMILL_STATUS_H

enum status {
    ST_OK = 0,
    ST_END = 1,   /* an iterator has nothing more; not an error, the error text is untouched */
    ST_BAD = -1,  /* this one input is bad (corrupt, unsupported, over a limit): the batch can go on without it */
    ST_FAIL = -2  /* the work cannot go on: system call failed, disk full, a whole store or network unusable */
};

struct error {
    char text[1024];
};

#ifdef __cplusplus
extern "C" {
#endif

/* Formats into e->text (cut at its size; control characters become '?') and returns ST_BAD or ST_FAIL. e may be NULL. */
__attribute__((format(printf, 2, 3))) enum status st_bad(struct error *e, const char *format, ...);
__attribute__((format(printf, 2, 3))) enum status st_fail(struct error *e, const char *format, ...);

/* Puts "prefix: " (formatted) before the text already in e and returns st, for adding a file or member name on the way up. */
__attribute__((format(printf, 3, 4))) enum status st_prefix(enum status st, struct error *e, const char *format, ...);

#ifdef __cplusplus
}
#endif
#endif
