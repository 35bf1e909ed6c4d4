/* numpy_rng.h - numpy.random.RandomState(seed).randn(n): MT19937 and the polar Gaussian, so that seed 85 is everybody's
 * seed 85. Seeds are 0 .. 2^32-1, as in NumPy. */
#ifndef FACEMILL_NUMPY_RNG_H
#define FACEMILL_NUMPY_RNG_H

#include <stdint.h>

struct numpy_rng {
    uint32_t state[624];
    int at;
    int has_gauss;
    double gauss;
};

void numpy_rng_seed(struct numpy_rng *r, uint32_t seed);
uint32_t numpy_rng_u32(struct numpy_rng *r);  /* one raw output of the generator */
double numpy_rng_double(struct numpy_rng *r); /* random_sample(): [0, 1), 53 bits */
double numpy_rng_gauss(struct numpy_rng *r);  /* randn() */

/* RandomState(seed).randn(1, n).astype(float32) */
void numpy_randn(uint32_t seed, float *out, int64_t n);

#endif
