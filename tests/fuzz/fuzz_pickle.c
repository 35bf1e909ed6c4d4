/* fuzz_pickle.c - torch_parse on any bytes: refuses or gives tensors that can be read to their last byte. */
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/store/torch_pickle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct torch_file *f;
    struct error e;
    if (torch_parse(&f, data, size, "fuzz", &e) != ST_OK)
        return 0;
    const struct torch_value *module = torch_module(torch_root(f), "G_ema.synthesis.b4"), *v = torch_item(module, "architecture");
    if (v && v->type == TORCH_TEXT && strlen(v->text) > (size_t)v->n)
        abort();
    for (int i = 0; i < torch_count(f); i++) {
        const struct st_tensor *t = torch_at(f, i);
        float *x = xmalloc((size_t)t->count * sizeof *x + 1);
        st_to_f32(t, x);
        free(x);
        if (torch_find(f, t->name) != t)
            abort();
    }
    torch_close(f);
    return 0;
}
