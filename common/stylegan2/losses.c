/* losses.c - see losses.h. */
#include "common/stylegan2/losses.h"

#include <math.h>

tensor *sg2_loss_gmain(struct graph *g, tensor *fake_logits) {
    return mean_all(g, softplus(g, scale(g, fake_logits, -1, 0)));
}

tensor *sg2_loss_dmain(struct graph *g, tensor *fake_logits, tensor *real_logits) {
    return add(g, mean_all(g, softplus(g, fake_logits)), mean_all(g, softplus(g, scale(g, real_logits, -1, 0))));
}

tensor *sg2_path_lengths(struct graph *g, tensor *img, tensor *ws, tensor *noise, tensor **grads_ws) {
    tensor *dws, *dy = scale(g, noise, 1 / sqrtf((float)(img->dim[1] * img->dim[2])), 0);
    graph_vjp(g, img, dy, &ws, 1, &dws, false);
    if (grads_ws)
        *grads_ws = dws;
    tensor *length2 = sum_axes(g, square(g, dws), 1u << 1 | 1u << 2); /* [N,1,1] */
    return sqrt1(g, scale(g, length2, 1 / (float)ws->dim[1], 0));
}

tensor *sg2_loss_gpl(struct graph *g, tensor *lengths, tensor *pl_mean, float decay, float weight, tensor **new_mean,
                     tensor **penalty) {
    tensor *mean = mean_all(g, lengths);
    tensor *m = add(g, pl_mean, scale(g, sub(g, mean, pl_mean), decay, 0)); /* [1] */
    *new_mean = m;
    *penalty = mean_all(g, square(g, sub(g, lengths, m)));
    return scale(g, *penalty, weight, 0);
}

tensor *sg2_loss_dr1(struct graph *g, tensor *logits, tensor *img, float gamma, tensor **penalty, tensor **grads_img) {
    tensor *dimg;
    graph_vjp(g, logits, fill_like(g, 1, logits), &img, 1, &dimg, false);
    tensor *norm2 = sum_axes(g, square(g, dimg), 1u << 1 | 1u << 2 | 1u << 3); /* [N,1,1,1] */
    if (penalty)
        *penalty = norm2;
    if (grads_img)
        *grads_img = dimg;
    return scale(g, mean_all(g, norm2), gamma / 2, 0);
}
