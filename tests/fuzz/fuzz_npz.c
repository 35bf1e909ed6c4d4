/* fuzz_npz.c - statistics_parse on any bytes. */
#include <stdlib.h>

#include "common/metrics/statistics.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct statistics s;
    struct error e;
    if (statistics_parse(&s, data, size, "fuzz", &e) == ST_OK && (s.dim < 1 || !s.mu || !s.sigma))
        abort();
    statistics_free(&s);
    return 0;
}
