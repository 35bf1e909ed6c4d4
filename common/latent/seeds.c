/* seeds.c - see seeds.h. */
#include "common/latent/seeds.h"

#include "common/rng/numpy_rng.h"
#include "common/rng/philox.h"

#define USE_Z 0x5au /* Philox's `use` for z */

void latent_of_seed(uint64_t seed, bool philox, float *z, int dim) {
    if (philox)
        philox_fill_normal(seed, 0, USE_Z, z, dim);
    else
        numpy_randn((uint32_t)seed, z, dim);
}
