/* fuzz_jsonish.c - small texts from outside: JSON of samples, lists of seeds, numbers, names. Every input goes to each parser. */
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/base/utf8.h"
#include "common/cli/cli.h"
#include "common/stream/sample.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok) {
    if (!ok)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = xmalloc(size + 1);
    if (size)
        memcpy(text, data, size);
    text[size] = '\0';
    uint64_t *values;
    size_t n;
    long v;
    double d;
    if (cli_parse_ranges(text, &values, &n, 1000)) {
        check(n >= 1 && n <= 1000);
        free(values);
    }
    if (cli_parse_int(text, -100, 100, &v))
        check(v >= -100 && v <= 100);
    if (cli_parse_float(text, -1, 1, &d))
        check(d >= -1 && d <= 1);
    char *clean = utf8_clean(text);
    check(utf8_valid(clean, strlen(clean)) && (!utf8_valid(text, strlen(text)) || !strcmp(clean, text)));
    struct sample sample = {0}; /* JSON of a sample: what was read can be added to and printed, and is read again */
    sample.json = cJSON_ParseWithLength(text, size);
    if (cJSON_IsObject(sample.json)) {
        sample_add_step(&sample, "fuzz", NULL);
        char *printed = cJSON_PrintUnformatted(sample.json);
        cJSON *again = cJSON_Parse(printed);
        check(printed && cJSON_IsObject(again));
        cJSON_Delete(again);
        free(printed);
    }
    sample_free(&sample);
    free(clean);
    free(text);
    return 0;
}
