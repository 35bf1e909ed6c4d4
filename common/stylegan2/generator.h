/* generator.h - pictures from latents: the synthesis side of a trained network, batch by batch. Knows no files.
 *
 *     struct sg2_generator_opt o = {.batch = 16, .noise = SG2_NOISE_CONST, .psi = 0.7f, .cutoff = -1};
 *     struct sg2_generator *gen;
 *     sg2_generator_create(&gen, device, net, &o, &e);
 *     sg2_generate(gen, &(struct sg2_latents){.z = z, .n = 100}, pixels);   // u8 [100,res,res,C]
 *     sg2_generator_free(gen);
 *
 * The network is read in place (buffers of `net`, which must outlive the generator); what depends on the weights alone is
 * computed once, so call sg2_generator_refresh after the weights changed (training grids).
 * A picture depends on its own latent, label and noise seed only, not on its place in a batch: every run has the full batch
 * size, a short one is filled up with copies and those are dropped.
 * On the CPU it does not depend on the batch size either, to the bit: libraries sum in another order when there are more rows, so
 * pictures are computed one at a time, all threads on each (measured at 128x128: 10 % slower than 16 together). On a GPU, batch
 * sizes agree to rounding: 1e-5 in float32.
 */
#ifndef FACEMILL_GENERATOR_H
#define FACEMILL_GENERATOR_H

#include "common/stylegan2/network.h"

struct sg2_generator_opt {
    int batch;            /* pictures a run on a GPU, 1 .. SG2_MAX_BATCH; one on the CPU */
    enum sg2_noise noise; /* RANDOM is drawn from each picture's noise seed */
    float psi;            /* truncation towards w_avg; 1 = none */
    int cutoff;           /* layers that are truncated; -1 = all */
    const float *noise_scale; /* [num_ws] factors on each layer's noise, see sg2_synthesis_opt; NULL = 1. Read by create only */
    bool half;            /* 16-bit convolutions where the device has them; the CPU has not and computes in float32 */
    bool mapping_only;    /* sg2_generate_ws is all that will be asked: no memory for pictures, and sg2_generator_program is NULL */
};
#define SG2_MAX_BATCH 4096

/* What to draw; exactly one of z, w, ws is given. Rows lie one after another. */
struct sg2_latents {
    int64_t n;                   /* pictures, any number */
    const float *z;              /* [n,z_dim]: mapped, truncated */
    const float *w;              /* [n,w_dim]: truncated, the same w for every layer */
    const float *ws;             /* [n,num_ws,w_dim]: taken as they are */
    const int *labels;           /* [n] class numbers, 0 .. c_dim-1; NULL when c_dim = 0 (ignored without z) */
    const uint64_t *noise_seeds; /* [n] for SG2_NOISE_RANDOM; NULL = 0, 1, 2 .. */
};

struct sg2_generator;
/* ST_BAD when an option is out of range or the network is not a generator, ST_FAIL when the device cannot hold it. */
enum status sg2_generator_create(struct sg2_generator **gen, struct device *d, struct sg2_net *net,
                                 const struct sg2_generator_opt *o, struct error *e);
void sg2_generator_free(struct sg2_generator *gen); /* NULL is fine */
void sg2_generator_refresh(struct sg2_generator *gen);

/* u8 [n,res,res,C], rows top to bottom, channels interleaved. out NULL: drawn and left on the device (benchmarks). */
void sg2_generate(struct sg2_generator *gen, const struct sg2_latents *l, uint8_t *out);
/* The same in two steps, between which the caller has other work while a GPU draws: begin queues the last run (of more pictures than a run
 * makes, the runs before are waited for) and has no more need of the latents; end waits until `out` is whole. In between nothing else is
 * asked of gen, and `out` stays. */
void sg2_generate_begin(struct sg2_generator *gen, const struct sg2_latents *l, uint8_t *out);
void sg2_generate_end(struct sg2_generator *gen);
/* The same picture before rounding, float32 about [-1,1], [n,res,res,C]. */
void sg2_generate_float(struct sg2_generator *gen, const struct sg2_latents *l, float *out);
/* z or w only: the layers' inputs after mapping and truncation, [n,num_ws,w_dim] (style mixing: exchange rows, then draw `ws`). */
void sg2_generate_ws(struct sg2_generator *gen, const struct sg2_latents *l, float *out);
/* The plan of the synthesis program, for --plan and --profile, and how many pictures a run of it makes. */
struct program *sg2_generator_program(struct sg2_generator *gen);
int sg2_generator_batch(const struct sg2_generator *gen);

#endif
