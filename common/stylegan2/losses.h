/* losses.h - the four losses of the training as nodes. All F32 [1], means over the batch.
 *
 * Non-saturating logistic loss (Goodfellow et al. 2014); R1 (Mescheder et al. 2018); path length regularisation (Karras et al.
 * 2020, appendix B). The factors of lazy regularisation are not in here: the trainer multiplies gradients.
 */
#ifndef FACEMILL_STYLEGAN2_LOSSES_H
#define FACEMILL_STYLEGAN2_LOSSES_H

#include "common/engine/graph.h"

tensor *sg2_loss_gmain(struct graph *g, tensor *fake_logits);                      /* mean softplus(-D(G)) */
tensor *sg2_loss_dmain(struct graph *g, tensor *fake_logits, tensor *real_logits); /* mean softplus(D(G)) + mean softplus(-D(x)) */

/* |J_w^T y| for pictures img [N,H,W,C] made from ws [N,num_ws,w_dim] and unit normal y [N,H,W,C], scaled by 1/sqrt(HW):
 * sqrt(mean over num_ws of sum over w_dim of (d sum(img*y) / d ws)^2). [N,1,1]; *grads_ws (may be NULL) receives the gradient. */
tensor *sg2_path_lengths(struct graph *g, tensor *img, tensor *ws, tensor *noise, tensor **grads_ws);
/* weight * mean (length - m)^2, m = mean of the lengths + (1 - decay) * (pl_mean - mean): the updated mean, through which the
 * gradient flows. *new_mean [1] is m, for the caller to store; *penalty [1] the mean without weight. */
tensor *sg2_loss_gpl(struct graph *g, tensor *lengths, tensor *pl_mean, float decay, float weight, tensor **new_mean,
                     tensor **penalty);

/* gamma/2 * mean over the batch of |d logit / d img|^2. *penalty (may be NULL) [N,1,1,1] the squared norms, *grads_img (may be
 * NULL) the gradient. */
tensor *sg2_loss_dr1(struct graph *g, tensor *logits, tensor *img, float gamma, tensor **penalty, tensor **grads_img);

#endif
