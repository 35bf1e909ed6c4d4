/* trainer_internal.h - the training state, shared by trainer.c (step), trainer_graphs.c (programs), trainer_items.c (save and
 * restore) and trainer_config.c. */
#ifndef FACEMILL_TRAINER_INTERNAL_H
#define FACEMILL_TRAINER_INTERNAL_H

#include "common/stylegan2/trainer.h"

enum phase { GMAIN, GPL, DMAIN, DR1, PHASES };

/* What Philox numbers are for: the `use` of a draw, plus the phase (times 64 for the noise of up to 64 layers). */
enum {
    USE_Z = 0x100, USE_MIX_Z = 0x110, USE_MIX_CUT = 0x120, USE_PL_NOISE = 0x130, USE_LABEL = 0x140, USE_MIRROR = 0x150,
    USE_AUGMENT_FAKE = 0x160, USE_AUGMENT_REAL = 0x170, USE_NOISE = 0x1000
};

/* Sums on the device since the last trainer_read_stats, but for ADA_SIGNS: since the last change of p. F32. */
enum { S_G_LOSS, S_D_LOSS, S_SCORES_REAL, S_SCORES_FAKE, S_SIGNS_REAL, S_SIGNS_FAKE, S_PL_PENALTY, S_R1_PENALTY, S_NONFINITE,
       S_ADA_SIGNS, S_COUNT };

/* One trained network: its gradient in one contiguous buffer (one all-reduce), Adam's moments laid out like the parameters. */
struct optimised {
    struct sg2_net *net;
    struct buffer *grad, *m, *v; /* [n_params] */
    int64_t steps;               /* Adam steps of both phases */
    int64_t main_steps;          /* of the main phase alone: what tensors that no regulariser depends on have seen */
    int first;                   /* trained tensors before this one are frozen (a prefix of the buffer) */
    double lr, beta1, beta2;     /* after the correction for lazy regularisation */
};

/* Values that the host sets before a step, in one buffer with one write. Offsets in bytes, multiples of 256. */
struct control {
    int64_t key;                 /* U64 [2]: seed, index of the first image */
    int64_t hyper[PHASES];       /* F32 [6] for adam */
    int64_t hyper_rest[PHASES];  /* the same for tensors that no regulariser depends on; main phases */
    int64_t ema;                 /* F32 [1] */
    int64_t draw;                /* F32 [1]: 1 = z and path noise are drawn, 0 = given */
    int64_t mix[PHASES];         /* F32 [N,num_ws,1]: 1 where the first w is used */
    int64_t labels[PHASES];      /* F32 [N,c_dim] of the fakes, one-hot */
    int64_t labels_real;         /* F32 [N,c_dim] */
    int64_t pick;                /* I64 [N]: numbers of the reals in `held`, -1 - number where mirrored */
    int64_t bytes;
};

struct item;
struct trainer {
    struct trainer_config c;
    struct device *device;
    bool half;
    struct sg2_net *g_ema;
    struct optimised g, d;
    struct control at;
    unsigned char *host;          /* mirror of the control buffer */
    struct buffer *control;
    struct buffer *reals;         /* U8 [N,res,res,C] */
    uint8_t *host_reals;
    struct buffer *held;          /* U8 [n_held,res,res,C] of trainer_hold, or NULL */
    int64_t n_held;
    struct program *pick;         /* held to reals */
    struct buffer *z[PHASES];     /* given latents [N,z_dim], zero when drawn */
    struct buffer *pl_noise;      /* given path noise [N/shrink,res,res,C], zero when drawn */
    float *host_pl_noise;
    bool given;                   /* the buffers above hold something */
    struct buffer *pl_mean;       /* F32 [1] */
    struct buffer *stats;         /* F32 [S_COUNT] */
    struct augment *augment_fake[PHASES], *augment_real[PHASES]; /* NULL where a phase has none */
    struct program *program[PHASES], *ema;
    int64_t images, iterations, ada_count; /* ada_count: batches of signs since p changed */
    int64_t runs[PHASES];                  /* phases since the statistics were read */
    double augment_p, r_t;
    int64_t *label_counts;                 /* [c_dim] */
    double *label_cdf;                     /* [c_dim] */
    struct item *items;
    int n_items;
};

enum status trainer_config_check(const struct trainer_config *t, struct error *e);
/* Number of leading trained tensors of D that freezing n layers keeps fixed. */
int trainer_frozen_tensors(const struct sg2_net *d, int layers);
int trainer_pl_batch(const struct trainer_config *c);
/* Builds and plans the program of every phase and of the EMA. */
enum status trainer_build(struct trainer *t, struct error *e);
enum status trainer_build_pick(struct trainer *t, struct error *e); /* after `held` is there */
void trainer_items_create(struct trainer *t);
void trainer_items_free(struct trainer *t);
void trainer_update_label_cdf(struct trainer *t);

#endif
