/* projector.h - from pictures back to latents: finds the w or w+ (and, if wished, the noise maps) with which a generator draws a given
 * picture, by gradient descent. Knows no files.
 *
 * Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020, appendix D: Adam from the middle of w; the learning
 * rate ramps up linearly and down by a cosine; Gaussian noise of deviation w_noise * sigma_w * t^2 is added to w, with t falling from 1
 * to 0 over the first three quarters, so that the search gets around before it settles; noise maps have zero mean and unit variance
 * after every step and are kept from carrying the picture by a penalty on their autocorrelation at every scale. What differs, on
 * purpose: what is sought is u of w = lrelu(centre + spread u) (projector_w.c), in which all directions are equally wide and the middle is
 * 0, with a penalty on |u|^2; the distance (projector_distance.c), since LPIPS would need a network of its own; w+ besides w; several
 * pictures at once.
 *
 *     struct projector_config c = projector_defaults(PROJECT_W_PLUS);
 *     struct projector *p;
 *     projector_create(&p, device, net, &c, &e);
 *     projector_begin(p, pixels, 3);               // u8 [3,res,res,C]
 *     while (projector_step(p))
 *         ;
 *     projector_latents(p, ws);                    // [3,num_ws,w_dim]
 *
 * A step is one program and one small write of what changes; nothing is allocated in it and nothing waits.
 * Every search uses the same random numbers, those of (seed, step): what is found for a picture does not depend on its company. Between
 * batch sizes sums differ in their last digits, and a thousand steps make that more. One command gives the same bytes every time.
 */
#ifndef FACEMILL_PROJECTOR_H
#define FACEMILL_PROJECTOR_H

#include "common/stylegan2/network.h"

enum projector_space { PROJECT_W, PROJECT_W_PLUS };

/* A judge of likeness: builds nodes that turn img [N,res,res,C] in [-1,1] into up to SG2_MAX_FEATURES maps [N,r,r,C], F32; returns
 * their number. Called twice in one graph, for the projection and for the target. */
typedef int projector_judge(void *context, struct graph *g, tensor *img, tensor **out);

struct projector_config {
    int batch;                   /* pictures at once, 1 .. SG2_MAX_PROJECT */
    int steps;
    enum projector_space space;
    double lr;                   /* the largest */
    double ramp_up, ramp_down;   /* shares of the steps: 0.05, 0.25 */
    double w_noise, w_noise_ramp; /* share of sigma_w at first; over this share of the steps: 0.75 */
    bool optimise_noise;         /* else the network's own noise maps stay */
    double noise_weight;         /* of the maps' autocorrelation: 1e5 */
    double pixel_weight, contrast_weight, feature_weight;
    double prior_weight;         /* how hard w is held where the network's w are, at the end; at first five times that */
    double row_weight;           /* w+: how hard its rows are held together */
    double w_first;              /* w+: share of the steps in which its rows are one */
    uint64_t seed;
    int class_number;            /* whose w are meant; -1: of all classes, or none */
    bool half;                   /* 16-bit convolutions where the device has them */
    struct sg2_net *discriminator; /* its blocks judge likeness; or */
    projector_judge *judge;        /* this does; or, both NULL, pixels alone */
    void *judge_context;
};
#define SG2_MAX_PROJECT 64
struct projector_config projector_defaults(enum projector_space space); /* one picture, by its pixels alone */

struct projector;
/* The networks are read in place and must outlive it. ST_BAD when an option is out of range or the networks do not fit together. */
enum status projector_create(struct projector **p, struct device *d, struct sg2_net *net, const struct projector_config *c, struct error *e);
void projector_free(struct projector *p); /* NULL is fine */

/* Starts anew with n <= batch pictures, u8 [n,res,res,C]. */
void projector_begin(struct projector *p, const uint8_t *pictures, int n);
/* Queues the next step; false when there is none left. */
bool projector_step(struct projector *p);
int projector_steps_done(const struct projector *p);

/* What follows waits for the queued steps, and covers the n pictures. */
struct projector_loss {
    double pixel, contrast, feature, noise, row, prior; /* each with its weight */
};
void projector_losses(struct projector *p, struct projector_loss *out); /* before the last step's update; [n] */
void projector_latents(struct projector *p, float *ws);                 /* [n,num_ws,w_dim] */
/* u8 [n,res,res,C]: with the noise maps of the projection, and with those of the network (either may be NULL). */
void projector_pictures(struct projector *p, uint8_t *own_noise, uint8_t *network_noise);
void projector_noise(struct projector *p, int layer, float *maps);      /* [n,r,r], r = sg2_noise_res(layer) */

struct program *projector_program(struct projector *p);       /* of one step, for --plan and --profile */

#endif
