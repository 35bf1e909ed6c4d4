/* numpy_rng.c - MT19937 (Matsumoto and Nishimura 1998, seeded as in their 2002 revision) and Marsaglia's polar method, in
 * the order in which NumPy's RandomState draws, so that every seed gives everybody's numbers.
 *
 * log and sqrt are libm's in double; NumPy calls the same, so float32 results agree bit for bit on one machine.
 */
#include "common/rng/numpy_rng.h"

#include <math.h>

#define N 624
#define M 397

void numpy_rng_seed(struct numpy_rng *r, uint32_t seed) {
    *r = (struct numpy_rng){.at = N};
    for (uint32_t i = 0; i < N; i++) {
        r->state[i] = seed;
        seed = 1812433253u * (seed ^ seed >> 30) + i + 1;
    }
}

static uint32_t twist(uint32_t upper, uint32_t lower, uint32_t far) {
    uint32_t y = (upper & 0x80000000u) | (lower & 0x7fffffffu);
    return far ^ y >> 1 ^ (y & 1 ? 0x9908b0dfu : 0);
}

uint32_t numpy_rng_u32(struct numpy_rng *r) {
    if (r->at == N) {
        uint32_t *s = r->state;
        for (int i = 0; i < N; i++)
            s[i] = twist(s[i], s[(i + 1) % N], s[(i + M) % N]);
        r->at = 0;
    }
    uint32_t y = r->state[r->at++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ y >> 18;
}

double numpy_rng_double(struct numpy_rng *r) {
    uint32_t high = numpy_rng_u32(r) >> 5, low = numpy_rng_u32(r) >> 6; /* 27 and 26 bits */
    return (high * 67108864.0 + low) / 9007199254740992.0;
}

/* NumPy rounds x*x and y*y before adding them: no fused multiply-add here, or the last bit differs. */
__attribute__((optimize("fp-contract=off"))) double numpy_rng_gauss(struct numpy_rng *r) {
    if (r->has_gauss) {
        r->has_gauss = 0;
        return r->gauss;
    }
    double x, y, square;
    do {
        x = 2 * numpy_rng_double(r) - 1;
        y = 2 * numpy_rng_double(r) - 1;
        square = x * x + y * y;
    } while (square >= 1 || square == 0);
    double f = sqrt(-2 * log(square) / square);
    r->gauss = f * x;
    r->has_gauss = 1;
    return f * y;
}

void numpy_randn(uint32_t seed, float *out, int64_t n) {
    struct numpy_rng r;
    numpy_rng_seed(&r, seed);
    for (int64_t i = 0; i < n; i++)
        out[i] = (float)numpy_rng_gauss(&r);
}
