/* fuzz_npy.c - .npy headers and data: an array whose every element can be read, or one line of error. */
#include <stdlib.h>

#include "common/stream/npy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    for (int want = NPY_F32; want <= NPY_F64; want++) {
        struct npy a;
        struct error e = {""};
        if (npy_parse(data, size, (enum npy_want)want, &a, &e)) {
            if (!*e.text || a.f32 || a.f64)
                abort();
            continue;
        }
        int64_t count = 1;
        for (int i = 0; i < a.ndim; i++)
            count = a.dim[i] == 0 || count == 0 ? 0 : a.dim[i] > INT64_MAX / count ? -1 : count * a.dim[i];
        volatile double sum = 0;
        for (int64_t i = 0; i < a.count; i++)
            sum = want == NPY_F32 ? (double)a.f32[i] : a.f64[i];
        (void)sum;
        if (a.count && count != a.count)
            abort();
        npy_free(&a);
    }
    return 0;
}
