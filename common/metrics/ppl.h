/* ppl.h - perceptual path length (Karras et al. 2019): how much a generator's picture changes for a small step between two
 * latents, E[ d(G(w(t)), G(w(t + epsilon))) / epsilon^2 ], w(t) from w0 to w1 in a straight line.
 *
 * In w the path is a straight line, in z an arc of the unit sphere (the mapping network sees directions only).
 *
 * The published numbers take LPIPS for d, whose weights are not assumed here: d is the squared Euclidean distance of an extractor's
 * features, so values compare only among runs with the same extractor. As in the published measure: constant noise, no truncation,
 * classes drawn evenly, and the mean over what lies between the 1st and the 99th percentile. Pictures go to the extractor as floats:
 * a step of 1e-4 changes fewer than one in a hundred 8-bit values.
 *
 * Pair i takes, from NumPy's RandomState(seed) run on from pair to pair: randn(z) for w0, randn(z) for w1, random_sample() for t with
 * `full` (else t = 0), random_sample() for the class of a conditional network.
 */
#ifndef FACEMILL_PPL_H
#define FACEMILL_PPL_H

#include "common/base/hash.h"
#include "common/metrics/extractor.h"

struct ppl_options {
    const char *device;
    int threads, samples;
    double epsilon;
    bool z;        /* paths in z instead of w */
    bool crop;     /* features of the middle half of the picture, 3/8 of its height from the top: faces, in FFHQ's geometry */
    bool full;     /* t uniform along the path; else at its beginning */
    uint32_t seed;
};

struct ppl {
    double mean;
    int samples, kept; /* pairs measured, and within the percentiles */
    char network[SHA256_HEX];
};

/* network: a file with a generator, for checkpoint_open. */
enum status ppl_measure(const char *network, struct extractor *x, const struct ppl_options *o, struct ppl *p, struct error *e);

#endif
