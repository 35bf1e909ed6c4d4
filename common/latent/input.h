/* input.h - what a generator is to draw: the z of seeds, or the rows of latent streams in files or on standard input, batch by batch.
 *
 *     struct latent_input *in;
 *     latent_input_open(&in, &(struct latent_input_options){.config = c, .seeds = seeds, .n_seeds = 9, .batch = 16}, &e);
 *     while ((st = latent_input_next(in, &b, &e)) == ST_OK)
 *         ... b.n rows in one of b.z, b.w, b.ws
 *     latent_input_close(in);
 *
 * Memory is that of a batch, however long the stream. What is read is checked: shapes that fit the network, finite numbers.
 */
#ifndef FACEMILL_LATENT_INPUT_H
#define FACEMILL_LATENT_INPUT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/status.h"
#include "common/stylegan2/network.h"

struct latent_input_options {
    const struct sg2_config *config; /* of the network; must live on */
    const uint64_t *seeds;           /* [n_seeds]; NULL: read files. Must live on */
    int64_t n_seeds;
    bool philox;                     /* z from Philox rather than NumPy's RandomState */
    char **files;                    /* [n_files], "-" = stdin; none: stdin */
    int n_files;
    bool as_w;                       /* [N,D] arrays are w where z and w have one size */
    int batch;                       /* rows at a time, at most */
};

struct latent_batch {
    int64_t n;
    const float *z, *w, *ws;  /* one is set: [n,z_dim], [n,w_dim] or [n,num_ws,w_dim] */
    const uint64_t *names;    /* [n] the seeds, or positions counted through all arrays */
    int64_t begins;           /* rows of the array that begins here, or of all seeds; -1 within one */
};

struct latent_input;
enum status latent_input_open(struct latent_input **in, const struct latent_input_options *o, struct error *e);
/* The next rows, valid until the next call. ST_END at the end; ST_FAIL when a file cannot be read, ends within an array, holds what is no
 * latent of this network, or when there was no row at all. */
enum status latent_input_next(struct latent_input *in, struct latent_batch *b, struct error *e);
void latent_input_close(struct latent_input *in); /* NULL is fine */

#endif
