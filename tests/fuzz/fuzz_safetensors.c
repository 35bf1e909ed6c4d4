/* fuzz_safetensors.c - any bytes as a safetensors file: what is accepted must be readable to the last byte. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/store/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct safetensors *s;
    struct error e = {""};
    if (safetensors_parse(&s, data, size, "input", &e) != ST_OK) {
        if (!*e.text || s)
            abort();
        return 0;
    }
    int64_t total = 0;
    for (int i = 0; i < safetensors_count(s); i++) {
        const struct st_tensor *t = safetensors_at(s, i);
        float *values = malloc((size_t)t->count * sizeof *values + 1);
        st_to_f32(t, values);
        free(values);
        if (safetensors_find(s, t->name) != t)
            abort();
        total += t->count * dtype_size(t->dtype);
    }
    if (total > (int64_t)size)
        abort();
    safetensors_metadata(s, "config");
    safetensors_close(s);
    return 0;
}
