/* rosinality.h - the tensor names of the widespread PyTorch implementation by rosinality ("conv1.conv.modulation.weight") and ours,
 * NVIDIA's ("synthesis.b4.conv1.affine.weight"). Both keep the same numbers: weights of variance 1 that are scaled at run time, the
 * mapping network's divided by its learning rate 0.01, transposed convolutions not flipped. What differs:
 *   - a convolution's weight has a leading 1: [1,out,in,k,k]; so have the constant, noises [1,1,r,r] and ToRGB's bias [1,3,1,1];
 *   - the blur filter of an upsampling layer is stored times 4, and where there is no resampling there is none;
 *   - there are no classes, no clamp, and pictures have 3 channels;
 *   - the mean of w is often absent ("latent_avg" beside the networks where it is not).
 */
#ifndef FACEMILL_ROSINALITY_H
#define FACEMILL_ROSINALITY_H

#include <stdbool.h>

/* One tensor in both worlds. */
struct rosinality_pair {
    char ours[64], theirs[64]; /* without the network's name in front: "synthesis.b4.const", "input.input" */
    int ndim;                  /* of ours */
    int lead;                  /* dimensions of size 1 that theirs has before ours ... */
    int trail;                 /* ... and after */
    float scale;               /* theirs = ours * scale */
};
typedef void rosinality_visit(void *context, const struct rosinality_pair *pair);

/* Calls visit for every tensor of a generator (or discriminator) of that size. */
void rosinality_generator(int res, int map_layers, rosinality_visit *visit, void *context);
void rosinality_discriminator(int res, rosinality_visit *visit, void *context);

#endif
