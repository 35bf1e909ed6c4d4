/* describe.h - what the JSON of a generated picture says: enough to draw it again. "seed" (or "latent", its place in the stream),
 * "truncation", "network" (SHA-256), "width", "height", "label", and a step "sg2-gen" with what it was drawn by.
 */
#ifndef FACEMILL_LATENT_DESCRIBE_H
#define FACEMILL_LATENT_DESCRIBE_H

#include "common/base/hash.h"
#include "common/stream/sample.h"

struct picture_origin {
    const char *rng;           /* pictures are of seeds: how these become z ("numpy", "philox"); NULL: of latents */
    int res;                   /* pixels on a side */
    double psi;                /* truncation */
    int cutoff;                /* layers truncated; -1 = all */
    int class_number;          /* -1: none was asked for */
    const char *noise;         /* "random", "const", "none" */
    const char *noise_scale;   /* as latent_factors_parse takes it, or NULL */
    const char *precision;     /* of the convolutions: "float32", "bfloat16" */
    char network[SHA256_HEX];  /* of its file */
    int64_t images;            /* it was trained on; -1 = unknown */
};

/* Sets key ("seed0085", or "000085" for a latent) and JSON of a sample that is {0}. name: the seed or the place. */
void picture_describe(const struct picture_origin *o, uint64_t name, struct sample *s);

#endif
