/* philox.c - runs of numbers of one stream. See philox.h. */
#include "common/rng/philox.h"

#include <math.h>

void philox_fill_uniform(uint64_t seed, uint64_t index, uint32_t use, float *out, int64_t n) {
    for (int64_t i = 0; i < n; i += 4) {
        uint32_t bits[4];
        philox4x32(seed, index, use, (uint32_t)(i / 4), bits);
        for (int k = 0; k < 4 && i + k < n; k++)
            out[i + k] = philox_unit(bits[k]);
    }
}

void philox_fill_normal(uint64_t seed, uint64_t index, uint32_t use, float *out, int64_t n) {
    for (int64_t i = 0; i < n; i += 4) {
        uint32_t bits[4];
        philox4x32(seed, index, use, (uint32_t)(i / 4), bits);
        for (int k = 0; k < 4 && i + k < n; k += 2) {
            double r = sqrt(-2 * log(philox_unit(bits[k]))), angle = 2 * M_PI * philox_unit(bits[k + 1]);
            out[i + k] = (float)(r * cos(angle));
            if (i + k + 1 < n)
                out[i + k + 1] = (float)(r * sin(angle));
        }
    }
}
