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

/* The filters everything is built from: the low-pass filter of sym6, sum 1, around the geometric resampling, and four band-pass
 * filters (octaves, made from sym2) whose sum is the identity. */
#define AUGMENT_GEOM_TAPS 12
#define AUGMENT_BANDS 4
#define AUGMENT_BAND_TAPS 43
void augment_constants(double geom[AUGMENT_GEOM_TAPS], double bank[AUGMENT_BANDS][AUGMENT_BAND_TAPS]);

struct augment; /* the layout of the parameter buffer for a batch, and the graph's constants */
struct augment *augment_create(struct device *d, const struct augment_config *c, int batch, int res, int channels);
void augment_free(struct augment *a);
/* Draws for images first_index .. first_index + batch - 1 at probability p and writes the device buffer; call before each run of
 * a program that holds the graph. `use` keeps the draws of several augmentations of one image apart. percentile in [0,1] replaces
 * every draw by that percentile of its distribution (the reference's debug mode), with p = 1; -1 = draw. */
void augment_draw(struct augment *a, uint64_t seed, uint64_t first_index, uint32_t use, double p, double percentile);
/* The augmented picture, img [batch,res,res,C] in [-1,1]. Linear in img, so derivatives of derivatives exist. May be built into
 * several graphs; all read the same draws. With 4 channels the colour group leaves the fourth alone. */
tensor *augment_graph(struct augment *a, struct graph *g, tensor *img);

#endif
