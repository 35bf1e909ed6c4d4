/* mem.h - allocation that does not return NULL, and growable byte buffers.
 *
 * Out of memory aborts with file and line: no program here can do anything useful after it. Sizes that come from
 * untrusted bytes are checked against a stated limit before they reach these functions. Memory is freed with free().
 */
#ifndef FACEMILL_MEM_H
#define FACEMILL_MEM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define xmalloc(bytes) mem_alloc((bytes), __FILE__, __LINE__)                       /* uninitialised */
#define xcalloc(n, size) mem_calloc((n), (size), __FILE__, __LINE__)                /* zeros; n*size checked for overflow */
#define xrealloc(p, bytes) mem_realloc((p), (bytes), __FILE__, __LINE__)
#define xstrdup(s) mem_strdup((s), __FILE__, __LINE__)

void *mem_alloc(size_t bytes, const char *file, int line);
void *mem_calloc(size_t n, size_t size, const char *file, int line);
void *mem_realloc(void *p, size_t bytes, const char *file, int line);
char *mem_strdup(const char *s, const char *file, int line);
__attribute__((format(printf, 1, 2))) char *xasprintf(const char *format, ...); /* caller frees */

/* A growable run of bytes. {0} is a valid empty one; bytes_free leaves it as {0} again. */
struct bytes {
    uint8_t *data; /* owned */
    size_t size;   /* used */
    size_t room;   /* allocated */
};

void bytes_reserve(struct bytes *b, size_t room);                 /* room for at least this many in all; keeps contents */
void bytes_append(struct bytes *b, const void *data, size_t size);
void bytes_free(struct bytes *b);

#ifdef __cplusplus
}
#endif
#endif
