/* seeds.c - see seeds.h. */
#include "common/latent/seeds.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/cli/cli.h"
#include "common/latent/stream.h"
#include "common/rng/numpy_rng.h"
#include "common/rng/philox.h"

#define SEEDS_MAX 100000000 /* 800 MB of numbers */
#define USE_Z 0x5au /* Philox's `use` for z */

void latent_of_seed(uint64_t seed, bool philox, float *z, int dim) {
    if (philox)
        philox_fill_normal(seed, 0, USE_Z, z, dim);
    else
        numpy_randn((uint32_t)seed, z, dim);
}

void latent_of_seeds(const uint64_t *seeds, int64_t n, bool philox, float *z, int dim) {
    for (int64_t i = 0; i < n; i++)
        latent_of_seed(seeds[i], philox, z + i * dim, dim);
}

enum status latent_write_seeds(FILE *f, const uint64_t *seeds, int64_t n, bool philox, int dim, struct error *e) {
    const struct latent_shape s = {.dim = dim};
    float *z = xmalloc((size_t)dim * sizeof *z);
    enum status st = latent_head(f, s, n, e);
    for (int64_t i = 0; !st && i < n; i++) {
        latent_of_seed(seeds[i], philox, z, dim);
        st = latent_write(f, s, z, 1, e);
    }
    free(z);
    return st;
}

static int by_number(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* differ: the seeds are in order. */
static enum status check(const uint64_t *seeds, size_t n, bool philox, bool differ, struct error *e) {
    for (size_t i = 0; i < n; i++) {
        if (!philox && seeds[i] > UINT32_MAX)
            return st_bad(e, "seed %llu is over 2^32-1, NumPy's limit; --rng philox takes it", (unsigned long long)seeds[i]);
        if (i && seeds[i] == seeds[i - 1] && differ)
            return st_bad(e, "seed %llu is given twice", (unsigned long long)seeds[i]);
    }
    return ST_OK;
}

enum status seeds_parse(const char *option, const char *list, bool philox, bool differ, uint64_t **seeds, size_t *n, struct error *e) {
    if (!cli_parse_ranges(list, seeds, n, SEEDS_MAX)) {
        *seeds = NULL;
        return st_bad(e, "--%s takes numbers and ranges such as 0-99,150, not \"%s\"", option, list);
    }
    uint64_t *sorted = NULL;
    if (differ) {
        sorted = xmalloc(*n * sizeof *sorted);
        memcpy(sorted, *seeds, *n * sizeof *sorted);
        qsort(sorted, *n, sizeof *sorted, by_number);
    }
    enum status st = check(differ ? sorted : *seeds, *n, philox, differ, e);
    free(sorted);
    if (st != ST_OK) {
        free(*seeds);
        *seeds = NULL;
    }
    return st;
}
