/* utf8.h - names of files are bytes; JSON is UTF-8. Thread-safe, nothing to free but the copy. */
#ifndef FACEMILL_UTF8_H
#define FACEMILL_UTF8_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

bool utf8_valid(const char *text, size_t size); /* well-formed: no overlong forms, no surrogates, up to U+10FFFF */

/* A copy in which every byte that is no part of a well-formed character has become U+FFFD. Caller frees. */
char *utf8_clean(const char *text);

#ifdef __cplusplus
}
#endif
#endif
