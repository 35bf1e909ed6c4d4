/* trainer.h - one training state and its step: the schedule of StyleGAN2-ADA (DESIGN section 6). Knows no files: data comes in as
 * pixels, state goes out tensor by tensor (see trainer_items).
 *
 * Losses: non-saturating logistic; R1 (Mescheder et al. 2018) every d_reg_interval; path length regularisation (Karras et al.
 * 2020, appendix B) every g_reg_interval; adaptive discriminator augmentation (Karras et al. 2020b). All random numbers come
 * from Philox keyed by (seed, image index, use): a step depends only on the state and its inputs.
 *
 * Where this differs from the published implementation, on purpose:
 *   - Style mixing draws its crossover an image, not a batch, so that the result does not depend on how a batch is split.
 *   - Labels of fakes are drawn by the classes' frequencies (trainer_set_label_counts), not copied from random samples.
 *   - `mirror` flips a real by a draw each time it is shown; the data set is not doubled.
 *   - ADA counts the signs of D(real) in Dmain only, and a logit of exactly 0 as positive.
 *   - Gradients of D for fakes and reals are summed in one Dmain program; modulated convolutions never expand the weight
 *     (layers.h); the augmentation pads by a fixed margin (augment.c). The numbers are the same.
 *   - Parameters without any part in a regulariser (biases of ToRGB and of D's last layer) skip its Adam step, step count
 *     included, as in the reference trace.
 */
#ifndef FACEMILL_TRAINER_H
#define FACEMILL_TRAINER_H

#include "common/stylegan2/augment.h"
#include "common/stylegan2/network.h"

struct trainer_config {
    struct sg2_config net;
    uint64_t seed;
    int batch;
    double g_lr, d_lr, beta1, beta2, eps;
    double r1_gamma;
    double pl_weight, pl_decay;
    int pl_batch_shrink;
    int g_reg_interval, d_reg_interval; /* 0 = no such phase */
    double style_mixing;                /* probability */
    double ema_kimg, ema_rampup;        /* rampup 0 = none */
    double w_avg_beta;
    enum sg2_noise noise;               /* SG2_NOISE_RANDOM; const in the reference trace */
    struct augment_config augment;
    double ada_target, ada_kimg;        /* 0.6, 500; target 0 = fixed p */
    double augment_p;                   /* start value */
    int ada_interval;                   /* 4 */
    int freeze_d;                       /* freeze the first n layers of D (FreezeD, Mo et al. 2020): fromrgb, then conv0, conv1,
                                         * skip of each block */
    bool mirror;                        /* x-flips of reals, by Philox */
    bool half;                          /* mixed precision on devices that have it; the CPU computes in float32 */
};
/* Fills everything by preset: cfg "auto" "stylegan2" "paper256" "paper512" "paper1024" (DESIGN section 6), for res, GPUs. */
enum status trainer_preset(struct trainer_config *t, const char *cfg, int res, int gpus, struct error *e);
char *trainer_config_json(const struct trainer_config *t); /* caller frees */
enum status trainer_config_parse(struct trainer_config *t, const char *json, struct error *e);

struct trainer;
enum status trainer_create(struct trainer **t, struct device *d, const struct trainer_config *c, struct error *e);
void trainer_free(struct trainer *t);
void trainer_init(struct trainer *t); /* fresh networks from the seed; G_ema = G */

/* How often each class occurs in the data, c_dim counts: labels of fakes are drawn (Philox) with these frequencies. Uniform until
 * called. Part of the saved state. */
void trainer_set_label_counts(struct trainer *t, const int64_t *counts);

struct sg2_net *trainer_g(struct trainer *t);
struct sg2_net *trainer_d(struct trainer *t);
struct sg2_net *trainer_g_ema(struct trainer *t);

/* What a step's random inputs would be, replaced by given ones (the reference trace). NULL members are drawn. */
struct trainer_override {
    const float *z_gmain, *z_greg, *z_dmain; /* [batch, z_dim] */
    const float *pl_noise;                   /* [batch/shrink, C, res, res] (NCHW as in the reference), unit normal */
};

/* One iteration: the phases due (Gmain, Gpl, Dmain, Dr1; a regulariser in iterations 0, i, 2i, ..), EMA, image count += batch.
 * reals: u8 [batch,res,res,C] interleaved (HWC) pixels, already in the order the sampler chose; labels: class numbers [batch] or
 * NULL. D's gradient phases use the same reals.
 * Queues the work and returns; allocates nothing. It waits for the device only every ada_interval iterations, for one number
 * (the mean sign behind ADA's p), and only when augmentation is on and ada_target > 0. */
void trainer_step(struct trainer *t, const uint8_t *reals, const int *labels, const struct trainer_override *o);

/* The data set on the device, so that a batch is numbers instead of pixels: room for n pictures, each put there once, before or when
 * it is first shown. The same bits as trainer_step with the pixels. ST_FAIL when there is not enough memory. */
enum status trainer_hold(struct trainer *t, int64_t n, struct error *e);
void trainer_hold_picture(struct trainer *t, int64_t number, const uint8_t *pixels); /* u8 [res,res,C] */
void trainer_step_held(struct trainer *t, const int64_t *numbers, const int *labels, const struct trainer_override *o); /* [batch] */

/* Sums since the last call, read from the device (waits). Values of phases that did not run are NaN. */
struct trainer_stats {
    double g_loss, d_loss, scores_real, scores_fake, signs_real, signs_fake, pl_penalty, r1_penalty; /* means */
    double augment_p, pl_mean, r_t; /* r_t: mean sign of D(real) behind the last change of p */
    int64_t nonfinite_grads;
};
struct trainer_stats trainer_read_stats(struct trainer *t);

/* ---- the whole state, for exact resume: every tensor and scalar, in a fixed order ---- */
struct trainer_item {
    const char *name;     /* "G.synthesis.b4.const", "D...", "G_ema...", "adam_G.m.synthesis...", "state.pl_mean" ... */
    enum dtype dtype;     /* F32, or I64/U64/F64 for counters */
    int ndim;
    int64_t dim[4];
};
int trainer_items(struct trainer *t);
struct trainer_item trainer_item(struct trainer *t, int i);
void trainer_item_get(struct trainer *t, int i, void *out);
void trainer_item_set(struct trainer *t, int i, const void *in);

int64_t trainer_images(const struct trainer *t);    /* images shown so far (cur_nimg) */
int64_t trainer_iterations(const struct trainer *t);
void trainer_profile(struct trainer *t, FILE *out);                     /* time by operation; trains a step on stale inputs */
/* One phase (0 .. 3) run `repeats` times on drawn inputs and whatever reals there are; false when the training has no such phase.
 * Parameters move as in training. For benchmarks. */
struct trainer_phase {
    const char *name;
    int every, launches;          /* iterations from run to run; launches a run */
    double flops, seconds;        /* of one run */
    double conv_seconds;          /* of its convolutions alone, one after another */
};
bool trainer_time_phase(struct trainer *t, int phase, int repeats, struct trainer_phase *out);
void trainer_print_plan(struct trainer *t, FILE *out); /* per phase: launches, FLOPs, memory */

#endif
