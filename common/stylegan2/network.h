/* network.h - the two StyleGAN2 networks: configuration, parameters, and their graphs. Knows no files.
 *
 * Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020 (config F): mapping network, synthesis with
 * skip outputs and weight demodulation, residual discriminator with minibatch standard deviation. Tensor names and shapes as
 * seen from outside are those of the NVIDIA PyTorch networks ("synthesis.b64.conv0.weight", [out,in,kh,kw]); on the device a
 * convolution weight lies as [out,kh,kw,in], converted when read or written.
 */
#ifndef FACEMILL_NETWORK_H
#define FACEMILL_NETWORK_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/dtype.h"
#include "common/base/status.h"
#include "common/engine/device.h"
#include "common/engine/graph.h"

struct sg2_config {
    int res;            /* 8 .. 1024, a power of two */
    int img_channels;   /* 1, 3 or 4 */
    int z_dim, w_dim;   /* 512 */
    int c_dim;          /* classes; 0 = unconditional */
    int channel_base;   /* channels at resolution r: min(channel_base / r, channel_max); 32768 * fmaps */
    int channel_max;    /* 512 */
    int map_layers;     /* 2 or 8 */
    int d_map_layers;   /* 8; the discriminator's mapping when c_dim > 0 */
    int mbstd_group;    /* 4; 0 = batch */
    int mbstd_channels; /* 1 */
    float conv_clamp;   /* limit of activations: 256 in networks trained in fp16, 0 = none */
};
int sg2_channels(const struct sg2_config *c, int res);
int sg2_num_ws(const struct sg2_config *c); /* 2*log2(res) - 2 */
/* ST_BAD with the reason when a field is out of range. */
enum status sg2_config_check(const struct sg2_config *c, struct error *e);
enum status sg2_config_class(const struct sg2_config *c, int64_t k, struct error *e); /* ST_BAD when there is no class k */
char *sg2_config_json(const struct sg2_config *c);                                    /* caller frees */
enum status sg2_config_parse(struct sg2_config *c, const char *json, struct error *e); /* unknown fields are ignored */

enum sg2_kind { SG2_G, SG2_D };

/* One named tensor of a network. */
struct sg2_tensor {
    char name[64];      /* "synthesis.b4.conv1.weight", without "G." */
    int ndim;           /* file shape */
    int64_t dim[4];
    bool trained;       /* false: buffers (noise_const, w_avg, resample_filter) */
    bool conv;          /* [out,in,kh,kw] in files, [out,kh,kw,in] on the device */
    bool offset_only;   /* the output is linear in it (bias of a ToRGB or of D's last layer): no regulariser depends on it */
    int64_t offset;     /* elements from the start of the flat parameter (or state) buffer; multiples of 64 */
    float init_std, init_value; /* init_std > 0: normal; else constant */
};

/* All tensors of one network: trained ones in one flat float32 buffer, the rest in another. */
struct sg2_net {
    enum sg2_kind kind;
    struct sg2_config config;
    struct device *device;
    struct sg2_tensor *tensors;
    int n_tensors;
    int64_t n_params, n_state; /* elements, padding included (padding is zero and stays zero) */
    int64_t n_regular;         /* the first n_regular elements of params are those that regularisers depend on */
    struct buffer *params, *state;
};
struct sg2_net *sg2_net_create(struct device *d, enum sg2_kind kind, const struct sg2_config *c); /* zeros */
void sg2_net_free(struct sg2_net *n);
void sg2_net_init(struct sg2_net *n, uint64_t seed); /* the published initialisation, drawn by Philox keyed by tensor name */
const struct sg2_tensor *sg2_net_find(const struct sg2_net *n, const char *name);
/* Whole tensors in file order and layout, float32. `flat` = any buffer laid out like params or state (Adam's m and v too). */
void sg2_tensor_get(const struct sg2_tensor *t, struct buffer *flat, float *out);
void sg2_tensor_set(const struct sg2_tensor *t, struct buffer *flat, const float *in);
void sg2_net_copy(struct sg2_net *to, const struct sg2_net *from);

/* ---- graphs. `params` of graph nodes are made on first use in a graph and shared: */
struct sg2_vars; /* the network's tensors as nodes of one graph */
struct sg2_vars *sg2_vars_create(struct graph *g, struct sg2_net *n, bool constant);
void sg2_vars_free(struct sg2_vars *v);
tensor *sg2_var(struct sg2_vars *v, const char *name); /* aborts when there is no such tensor */
/* The whole flat parameter buffer as one tensor [n_params], for Adam and EMA. */
tensor *sg2_vars_flat(struct sg2_vars *v);

/* z [N,z_dim], c [N,c_dim] or NULL -> w [N,w_dim] */
tensor *sg2_mapping(struct sg2_vars *v, tensor *z, tensor *c);
/* w [N,w_dim] -> ws [N,num_ws,w_dim], truncated to w_avg + psi*(w - w_avg) in the first `cutoff` layers (cutoff < 0: all) */
tensor *sg2_broadcast_truncate(struct sg2_vars *v, tensor *w, float psi, int cutoff);

enum sg2_noise { SG2_NOISE_RANDOM, SG2_NOISE_CONST, SG2_NOISE_NONE, SG2_NOISE_GIVEN };
struct sg2_synthesis_opt {
    enum sg2_noise noise;
    tensor *noise_key; /* for SG2_NOISE_RANDOM, U64: [2] = {seed, index of the first image}, or [N,2] = one such pair an image */
    uint32_t noise_use; /* layer k draws use noise_use + k */
    const float *noise_scale; /* [num_ws] factors on the noise of each layer, 0 = none there; NULL = 1. Layer = row of w+;
                               * the last row feeds a ToRGB only and has no noise */
    tensor **noise_maps; /* for SG2_NOISE_GIVEN: layer k adds noise_maps[k], [1 or N,r,r,1] with r = sg2_noise_res(k) */
    bool half;          /* activations and convolutions in 16 bit (SG2_HALF); pictures, styles and the rest stay
                         * float32. The CPU has no 16-bit convolution: the trainer and the generator clear it there */
};
/* The layers that take noise, 2*log2(res) - 3 of them, and the side of layer k's map: 4, 8, 8, 16, 16 ... */
int sg2_noise_layers(const struct sg2_config *c);
int sg2_noise_res(int k);
void sg2_noise_name(int k, char name[64]); /* of the buffer with the network's own: "synthesis.b8.conv0.noise_const" */
/* ws [N,num_ws,w_dim] -> img [N,res,res,img_channels] */
tensor *sg2_synthesis(struct sg2_vars *v, tensor *ws, struct sg2_synthesis_opt o);
/* img [N,res,res,C], c [N,c_dim] or NULL -> logits [N,1] */
tensor *sg2_discriminator(struct sg2_vars *v, tensor *img, tensor *c, bool half);
/* The same for `parts` batches of one size, one after another: as if each had come alone, at the speed of a large batch. For
 * gradients of D: that of img is right, but slow. */
tensor *sg2_discriminator_parts(struct sg2_vars *v, tensor *img, tensor *c, int parts, bool half);

/* The discriminator as a judge of likeness: what its blocks make of a picture, from the first (half the picture's size) to the last at
 * 4x4, before anything looks at the rest of the batch. out [SG2_MAX_FEATURES], F32 [N,r,r,C] each; returns their number. */
#define SG2_MAX_FEATURES 8
int sg2_discriminator_features(struct sg2_vars *v, tensor *img, bool half, tensor **out);

/* The last hidden layer, [N, channels at 4x4], of each picture by itself: minibatch deviation is taken over groups of one. */
tensor *sg2_discriminator_hidden(struct sg2_vars *v, tensor *img, bool half);

/* Float picture -> 8 bit: x*127.5 + 128, clamped to 0..255, truncated (DESIGN section 5). n values. */
void sg2_to_u8(const float *x, uint8_t *out, int64_t n);

#endif
