/* seeds.h - the z of a seed, the same in every program: numpy.random.RandomState(seed).randn(1, dim), or Philox (key = seed, index 0)
 * for seeds of 64 bits. */
#ifndef FACEMILL_LATENT_SEEDS_H
#define FACEMILL_LATENT_SEEDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/base/status.h"

void latent_of_seed(uint64_t seed, bool philox, float *z, int dim); /* NumPy: seed < 2^32 */
void latent_of_seeds(const uint64_t *seeds, int64_t n, bool philox, float *z, int dim); /* z [n,dim] */
/* The same as an array of a latent stream, row by row. */
enum status latent_write_seeds(FILE *f, const uint64_t *seeds, int64_t n, bool philox, int dim, struct error *e);

/* A list such as "0-99,150" into a new array of *n seeds in the order given; the caller frees. ST_BAD when it is no list of at most
 * 100 million (the text names --option), when a seed is too large for NumPy and philox is not set, or when `differ` and one is given twice. */
enum status seeds_parse(const char *option, const char *list, bool philox, bool differ, uint64_t **seeds, size_t *n, struct error *e);

#endif
