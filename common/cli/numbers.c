/* numbers.c - numbers and ranges from text, wholly or not at all. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/cli/cli_internal.h"

bool cli_parse_int(const char *text, long min, long max, long *value) {
    const char *digits = text + (*text == '-' || *text == '+');
    if (*digits < '0' || *digits > '9')
        return false; /* strtol would skip blanks */
    char *end;
    errno = 0;
    long v = strtol(text, &end, 10);
    if (errno || *end || v < min || v > max)
        return false;
    *value = v;
    return true;
}

bool cli_parse_float(const char *text, double min, double max, double *value) {
    const char *digits = text + (*text == '-' || *text == '+');
    if (!((*digits >= '0' && *digits <= '9') || *digits == '.') || digits[0] == '\0' || strpbrk(text, "xXpP"))
        return false; /* no blanks, no inf, no nan, no hexadecimal */
    char *end;
    double v = strtod(text, &end);
    if (*end || end == text || !isfinite(v) || v < min || v > max)
        return false;
    *value = v;
    return true;
}

bool cli_parse_floats(const char *text, double min, double max, double **values, int *n, int limit) {
    *values = NULL;
    *n = 0;
    for (const char *p = text;; p++) {
        char word[64];
        size_t size = strcspn(p, ",");
        snprintf(word, sizeof word, "%.*s", (int)(size < sizeof word ? size : sizeof word), p);
        *values = xrealloc(*values, (size_t)(*n + 1) * sizeof **values);
        if (*n == limit || size >= sizeof word || !cli_parse_float(word, min, max, &(*values)[*n]))
            break;
        ++*n;
        p += size;
        if (!*p)
            return true;
    }
    free(*values);
    *values = NULL;
    *n = 0;
    return false;
}

bool cli_parse_size(const char *text, int max, int *width, int *height) {
    char left[16];
    size_t n = strcspn(text, "x");
    long w, h;
    if (!text[n] || n >= sizeof left)
        return false;
    memcpy(left, text, n);
    left[n] = 0;
    if (!cli_parse_int(left, 1, max, &w) || !cli_parse_int(text + n + 1, 1, max, &h))
        return false;
    *width = (int)w, *height = (int)h;
    return true;
}

/* Decimal digits at *p; moves *p behind them. */
static bool parse_u64(const char **p, uint64_t *value) {
    if (**p < '0' || **p > '9')
        return false;
    uint64_t v = 0;
    for (; **p >= '0' && **p <= '9'; ++*p) {
        unsigned digit = (unsigned)(**p - '0');
        if (v > (UINT64_MAX - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *value = v;
    return true;
}

bool cli_parse_ranges(const char *text, uint64_t **values, size_t *n, size_t limit) {
    struct bytes list = {0};
    const char *p = text;
    size_t count = 0;
    for (;;) {
        uint64_t first, last;
        if (!parse_u64(&p, &first))
            goto malformed;
        last = first;
        if (*p == '-') {
            p++;
            if (!parse_u64(&p, &last) || last < first)
                goto malformed;
        }
        if (count >= limit || last - first >= limit - count)
            goto malformed;
        for (uint64_t v = first;; v++) {
            bytes_append(&list, &v, sizeof v);
            count++;
            if (v == last)
                break;
        }
        if (!*p)
            break;
        if (*p++ != ',')
            goto malformed;
    }
    *values = (uint64_t *)(void *)list.data;
    *n = count;
    return true;
malformed:
    bytes_free(&list);
    return false;
}
