/* projector_internal.h - a projection's state, shared by projector.c (step), projector_graph.c (programs), projector_distance.c. */
#ifndef FACEMILL_PROJECTOR_INTERNAL_H
#define FACEMILL_PROJECTOR_INTERNAL_H

#include "common/stylegan2/projector.h"

#define PROJECTOR_LAYERS 32

/* Losses of the last step on the device, F32 [LOSSES,N]. */
enum { LOSS_PIXEL, LOSS_CONTRAST, LOSS_FEATURE, LOSS_NOISE, LOSS_ROW, LOSS_PRIOR, LOSSES };

/* What the host sets before a step, in one buffer with one write. Offsets in bytes, multiples of 256. */
enum { AT_HYPER = 0 /* F32 [6] for adam */, AT_W_NOISE = 256 /* F32 [1] */, AT_PRIOR = 512 /* F32 [1] */, AT_RELEASE = 640 /* F32 [1] */,
       AT_KEY = 768 /* U64 [2] */, CONTROL_BYTES = 1024 };

struct projector {
    struct projector_config c;
    struct device *device;
    struct sg2_net *net;
    bool half;
    int rows;                        /* of w that are sought: 1 or num_ws */
    int n;                           /* pictures at hand */
    int step;                        /* done */
    int layers;                      /* of noise that are sought; 0: the network's own */
    int64_t at_map[PROJECTOR_LAYERS]; /* elements from the start of params */
    int64_t n_params;                /* elements: u [N,rows,w_dim], then maps [N,r,r] */
    int64_t pixels;                  /* values of a picture */
    float *start;                    /* [n_params]: where each search begins */
    unsigned char host[CONTROL_BYTES]; /* mirror of control */
    struct buffer *control, *params, *grad, *m, *v, *target /* U8 */, *losses, *filters /* F32 [3,2,2] */;
    struct buffer *centre, *spread;  /* [w_dim], [w_dim,w_dim]: see projector_w_space */
    struct buffer *ws, *own, *plain; /* what the second program writes: w+, U8 pictures */
    struct program *descend, *look;
};

/* Centre and spread of w before the mapping network's last leaky ReLU, over n draws of `seed`: v = centre + spread u has their mean and
 * covariance when u is standard normal; w = lrelu(v, 0.2). spread [w_dim,w_dim] is a lower triangle. class_number -1: classes in turn. */
enum status projector_w_space(struct sg2_net *net, int n, uint64_t seed, int class_number, float *centre, float *spread, struct error *e);

/* Builds both programs. */
enum status projector_build(struct projector *p, struct error *e);

/* Small filters [2,2]: the mean of four, and differences to the right and down. */
struct projector_filters {
    tensor *box, *dx, *dy;
};
/* [N,1,1,1] each. Pictures x, and y of 8 bits, [N,H,W,C] in [-1,1]; box [2,2]. */
tensor *projector_pixel_distance(struct graph *g, tensor *x, tensor *y, tensor *box);
tensor *projector_contrast_distance(struct graph *g, tensor *x, tensor *y, const struct projector_filters *f);
tensor *projector_feature_distance(struct graph *g, tensor **x, tensor **y, int n);
/* Sum over scales of the squared mean products of neighbours of a map [N,r,r,1]. */
tensor *projector_autocorrelation(struct graph *g, tensor *map, tensor *box);

#endif
