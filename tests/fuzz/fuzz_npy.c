/* fuzz_npy.c - .npy headers and data: an array whose every element can be read, or one line of error. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/stream/npy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Row by row: the same numbers as the whole array has; nothing is read beyond the bytes where there is no whole one. */
static void by_rows(const uint8_t *data, size_t size, const struct npy *whole) {
    struct npy_rows r;
    struct error e = {""};
    FILE *f = size ? fmemopen((void *)data, size, "r") : NULL;
    if (!f)
        return;
    enum status st = npy_rows_open(f, "rows", &r, &e);
    if (whole && (st || r.ndim != whole->ndim || (r.rows && r.row != whole->count / r.rows)))
        abort();
    float *row = !st && r.row < 1 << 20 ? malloc((size_t)r.row * sizeof *row + 1) : NULL;
    for (int64_t at = 0; row && r.left && at < 4096; at++) {
        if (npy_rows_read(&r, row, 1, &e)) {
            if (whole || !*e.text)
                abort();
            break;
        }
        if (whole && r.row && memcmp(row, whole->f32 + at * r.row, (size_t)r.row * sizeof *row))
            abort();
    }
    if (!st)
        npy_rows_close(&r);
    free(row);
    fclose(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    for (int want = NPY_F32; want <= NPY_F64; want++) {
        struct npy a;
        struct error e = {""};
        if (npy_parse(data, size, (enum npy_want)want, &a, &e)) {
            if (!*e.text || a.f32 || a.f64)
                abort();
            by_rows(data, size, NULL);
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
        if (want == NPY_F32)
            by_rows(data, size, &a);
        npy_free(&a);
    }
    return 0;
}
