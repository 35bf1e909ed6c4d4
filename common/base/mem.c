/* mem.c - see mem.h. */
#include "common/base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *check(void *p, size_t bytes, const char *file, int line) {
    if (!p) {
        fprintf(stderr, "%s:%d: out of memory (%zu bytes)\n", file, line, bytes);
        abort();
    }
    return p;
}

void *mem_alloc(size_t bytes, const char *file, int line) { return check(malloc(bytes ? bytes : 1), bytes, file, line); }

void *mem_calloc(size_t n, size_t size, const char *file, int line) {
    return check(calloc(n ? n : 1, size ? size : 1), n * size, file, line);
}

void *mem_realloc(void *p, size_t bytes, const char *file, int line) {
    return check(realloc(p, bytes ? bytes : 1), bytes, file, line);
}

char *mem_strdup(const char *s, const char *file, int line) { return check(strdup(s), strlen(s) + 1, file, line); }

char *xasprintf(const char *format, ...) {
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int n = vasprintf(&text, format, args);
    va_end(args);
    return check(n < 0 ? NULL : text, 0, __FILE__, __LINE__);
}

void bytes_reserve(struct bytes *b, size_t room) {
    if (room <= b->room)
        return;
    size_t grown = b->room + b->room / 2;
    b->room = room > grown ? room : grown;
    b->data = xrealloc(b->data, b->room);
}

void bytes_append(struct bytes *b, const void *data, size_t size) {
    if (!size)
        return;
    bytes_reserve(b, b->size + size);
    memcpy(b->data + b->size, data, size);
    b->size += size;
}

void bytes_free(struct bytes *b) {
    free(b->data);
    *b = (struct bytes){0};
}
