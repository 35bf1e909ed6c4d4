/* fuzz_jsonish.c - what else is parsed from untrusted text and tables: safetensors headers, PyTorch pickles, lists of seeds,
 * numbers. The first byte of an input chooses the parser, so one corpus feeds all. */
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/cli/cli.h"
#include "common/store/safetensors.h"
#include "common/store/torch_pickle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok) {
    if (!ok)
        abort();
}

static void try_safetensors(const uint8_t *data, size_t size) {
    struct safetensors *s = NULL;
    struct error e = {""};
    enum status st = safetensors_parse(&s, data, size, "fuzz", &e);
    check(st == ST_OK || *e.text);
    if (st)
        return;
    for (int i = 0; i < safetensors_count(s); i++) {
        const struct st_tensor *t = safetensors_at(s, i);
        check(safetensors_find(s, t->name) != NULL);
        const uint8_t *p = t->data;
        volatile uint8_t keep = 0;
        for (int64_t k = 0; k < t->count * dtype_size(t->dtype); k++)
            keep ^= p[k];
    }
    safetensors_metadata(s, "config");
    safetensors_close(s);
}

static void try_pickle(const uint8_t *data, size_t size) {
    struct torch_file *f = NULL;
    struct error e = {""};
    enum status st = torch_parse(&f, data, size, "fuzz", &e);
    check(st == ST_OK || *e.text);
    if (!st)
        torch_close(f);
}

static void try_text(const uint8_t *data, size_t size) {
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
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size)
        return 0;
    switch (data[0]) {
    case 'S': try_safetensors(data + 1, size - 1); break;
    case 'P': try_pickle(data + 1, size - 1); break;
    default: try_text(data + 1, size - 1); break;
    }
    return 0;
}
