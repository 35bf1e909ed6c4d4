/* augment.h - adaptive discriminator augmentation: the six groups of Karras et al., "Training Generative Adversarial Networks
 * with Limited Data", NeurIPS 2020, appendix B: blit, geometry, colour, filter, noise, cutout.
 *
 * Random draws are small and happen on the host, keyed by image index: each image gets one 2x3 inverse affine matrix, one
 * 3x4 colour matrix, one amplification per filter band, a noise strength, a cutout box. They are written into one small device
 * buffer before a step; the graph reads them from there.
 */
#ifndef FACEMILL_AUGMENT_H
#define FACEMILL_AUGMENT_H

#include <stdint.h>

#include "common/engine/graph.h"

struct augment_config { /* multipliers of the group probabilities; 1 = on, 0 = off */
    float xflip, rotate90, xint;                    /* blit */
    float scale, rotate, aniso, xfrac;              /* geometry */
    float brightness, contrast, lumaflip, hue, saturation; /* colour */
    float imgfilter, noise, cutout;                 /* filter, noise, cutout */
};
/* "blit" "geom" "color" "filter" "noise" "cutout" and their common sums "bg" "bgc" "bgcf" "bgcfn" "bgcfnc"; NULL when unknown. */
const struct augment_config *augment_by_name(const char *name);

struct augment; /* the layout of the parameter buffer for a batch, and the graph's constants */
struct augment *augment_create(struct device *d, const struct augment_config *c, int batch, int res, int channels);
void augment_free(struct augment *a);
/* Draws for images first_index .. first_index + batch - 1 at probability p and writes the device buffer. percentile >= 0 replaces
 * every draw by that percentile of its distribution (the reference's debug mode), with p = 1. */
void augment_draw(struct augment *a, uint64_t seed, uint64_t first_index, uint32_t use, double p, double percentile);
/* The augmented picture, img [batch,res,res,C] in [-1,1]. Differentiable twice in img. */
tensor *augment_graph(struct augment *a, struct graph *g, tensor *img);

#endif
