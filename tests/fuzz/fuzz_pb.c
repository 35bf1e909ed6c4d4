/* fuzz_pb.c - graphdef_parse on any bytes: refuses or gives constants that can be read to their last byte. */
#include <stdlib.h>

#include "common/base/mem.h"
#include "common/store/graphdef.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct graphdef *g;
    struct error e;
    graphdef_detect(data, size);
    if (graphdef_parse(&g, data, size, "fuzz", &e) != ST_OK)
        return 0;
    for (int i = 0; i < graphdef_count(g); i++) {
        const struct st_tensor *t = graphdef_at(g, i);
        if ((uint64_t)t->count > size)
            abort();
        float *x = xmalloc((size_t)t->count * sizeof *x);
        st_to_f32(t, x);
        free(x);
        if (graphdef_find(g, t->name) != t)
            abort();
    }
    graphdef_close(g);
    return 0;
}
