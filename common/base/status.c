/* status.c - see status.h. */
#include "common/base/status.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void format_text(struct error *e, const char *format, va_list args) {
    if (!e)
        return;
    vsnprintf(e->text, sizeof e->text, format, args);
    for (char *p = e->text; *p; p++) /* names come from untrusted archives: keep terminals safe */
        if (iscntrl((unsigned char)*p))
            *p = '?';
}

enum status st_bad(struct error *e, const char *format, ...) {
    va_list args;
    va_start(args, format);
    format_text(e, format, args);
    va_end(args);
    return ST_BAD;
}

enum status st_fail(struct error *e, const char *format, ...) {
    va_list args;
    va_start(args, format);
    format_text(e, format, args);
    va_end(args);
    return ST_FAIL;
}

enum status st_prefix(enum status st, struct error *e, const char *format, ...) {
    if (!e)
        return st;
    struct error old = *e;
    va_list args;
    va_start(args, format);
    format_text(e, format, args);
    va_end(args);
    size_t n = strlen(e->text);
    snprintf(e->text + n, sizeof e->text - n, ": %s", old.text);
    return st;
}
