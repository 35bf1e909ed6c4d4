/* seeds.h - the z of a seed, the same in every program: numpy.random.RandomState(seed).randn(1, dim), or Philox (key = seed, index 0)
 * for seeds of 64 bits. */
#ifndef FACEMILL_LATENT_SEEDS_H
#define FACEMILL_LATENT_SEEDS_H

#include <stdbool.h>
#include <stdint.h>

void latent_of_seed(uint64_t seed, bool philox, float *z, int dim); /* NumPy: seed < 2^32 */

#endif
