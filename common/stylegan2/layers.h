/* layers.h - the layers both networks are made of, and the nodes of a network's tensors. Internal to common/stylegan2.
 *
 * Equalised learning rate (Karras et al. 2018): a stored weight is N(0,1); at run time it is multiplied by lr/sqrt(fan_in) and a
 * bias by lr, where lr is 1 but in the mapping network (0.01). Activations: leaky ReLU with slope 0.2, gain sqrt(2).
 */
#ifndef FACEMILL_STYLEGAN2_LAYERS_H
#define FACEMILL_STYLEGAN2_LAYERS_H

#include "common/stylegan2/network.h"

/* Mixed precision. Activations, and weights as the convolutions see them, are stored in this type; what is pointwise between two of
 * them computes in float32 registers and is rounded once, when stored. bfloat16 has float32's range: no loss scaling, no clamp, no
 * pre-scaling of weights and styles. Pictures, styles, demodulation, minibatch deviation and logits stay float32. The layers at 4x4
 * take part: in float32 their few convolutions were 9 % of a training step at 128x128. */
#define SG2_HALF DT_BF16

#define SG2_SLOPE 0.2f
#define SG2_SQRT2 1.41421356237309515f

struct sg2_vars {
    struct graph *g;
    struct sg2_net *net;
    bool constant;
    tensor **node; /* [n_tensors], made on first use */
    tensor *flat;
};

tensor *sg2_varf(struct sg2_vars *v, const char *format, ...) __attribute__((format(printf, 2, 3)));
const struct sg2_tensor *sg2_trained(const struct sg2_net *n, int i); /* i-th trained tensor, NULL past the end */

enum sg2_act { SG2_LINEAR, SG2_LRELU };
/* x [N,in] -> [N,out], weight and bias of `name`. */
tensor *sg2_fc(struct sg2_vars *v, const char *name, tensor *x, float lr, enum sg2_act act);
/* x + bias, activation times gain, clamp to +-limit (0 = none). bias NULL: none. */
tensor *sg2_bias_act(struct graph *g, tensor *x, tensor *bias, enum sg2_act act, float gain, float limit);
/* conv2d, in 16 bit where `half`; the result has that type. */
tensor *sg2_conv(struct graph *g, tensor *x, tensor *w, int stride, int pad, bool half);
/* Picture at half or twice the size through the 4x4 FIR filter f [4,4]. */
tensor *sg2_up2(struct graph *g, tensor *x, tensor *f);

/* Convolution with a style a sample (Karras et al. 2020, section 2.2): x [N,H,W,I], w [O,k,k,I], s [N,I] -> [N,P,Q,O].
 * up 1 or 2 (k = 3: transposed convolution, then FIR f). Never expands the weight: inputs are scaled by s, outputs by
 * d[n,o] = rsqrt(sum_i s[n,i]^2 q[o,i] + 1e-8), q[o,i] = sum_k w[o,k,i]^2. The result is 16-bit where `half`. */
tensor *sg2_modulated_conv(struct graph *g, tensor *x, tensor *w, tensor *s, bool demodulate, int up, tensor *f, bool half);
/* Standard deviation over groups as extra channels: x [N,H,W,C] -> [N,H,W,C+channels]. The batch is `parts` batches one after
 * another, which have no group in common. */
tensor *sg2_minibatch_std(struct graph *g, tensor *x, int parts, int group, int channels);
/* x [N,C] times rsqrt(mean over C of x^2 + 1e-8) */
tensor *sg2_normalise(struct graph *g, tensor *x);

#endif
