/* utf8.c - see utf8.h. */
#include "common/base/utf8.h"

#include <stdint.h>
#include <string.h>

#include "common/base/mem.h"

/* Bytes of the well-formed character at p, of which n are there; 0 when there is none (Unicode 15, table 3-7). */
static size_t character(const uint8_t *p, size_t n) {
    if (p[0] < 0x80)
        return 1;
    size_t length = p[0] >= 0xc2 && p[0] <= 0xdf ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4 : 0;
    if (!length || length > n)
        return 0;
    uint8_t low = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : 0x80, high = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

bool utf8_valid(const char *text, size_t size) {
    const uint8_t *p = (const uint8_t *)text;
    for (size_t step; size; p += step, size -= step)
        if (!(step = character(p, size)))
            return false;
    return true;
}

char *utf8_clean(const char *text) {
    size_t size = strlen(text), at = 0;
    char *out = xmalloc(3 * size + 1); /* a stray byte becomes the three of U+FFFD */
    while (size) {
        size_t step = character((const uint8_t *)text, size);
        memcpy(out + at, step ? text : "\xef\xbf\xbd", step ? step : 3);
        at += step ? step : 3;
        text += step ? step : 1;
        size -= step ? step : 1;
    }
    out[at] = '\0';
    return out;
}
