/* mapping.c - z (and a class) to w, and w to the inputs of the layers. */
#include <stdio.h>

#include "common/stylegan2/layers.h"

tensor *sg2_mapping(struct sg2_vars *v, tensor *z, tensor *c) {
    struct graph *g = v->g;
    const struct sg2_config *k = &v->net->config;
    int layers = v->net->kind == SG2_G ? k->map_layers : k->d_map_layers;
    tensor *x = z ? sg2_normalise(g, z) : NULL;
    if (k->c_dim && c) {
        tensor *y = sg2_normalise(g, sg2_fc(v, "mapping.embed", c, 1, SG2_LINEAR));
        x = x ? concat(g, (tensor *[]){x, y}, 2, 1) : y;
    }
    for (int i = 0; i < layers; i++) {
        char name[32];
        snprintf(name, sizeof name, "mapping.fc%d", i);
        x = sg2_fc(v, name, x, 0.01f, SG2_LRELU);
    }
    return x;
}

tensor *sg2_broadcast_truncate(struct sg2_vars *v, tensor *w, float psi, int cutoff) {
    struct graph *g = v->g;
    int n = (int)w->dim[0], dim = (int)w->dim[1], num_ws = sg2_num_ws(&v->net->config);
    int cut = psi == 1 ? 0 : cutoff < 0 || cutoff > num_ws ? num_ws : cutoff;
    tensor *part[2], *full = reshape(g, w, 3, n, 1, dim);
    int parts = 0;
    if (cut > 0) {
        tensor *avg = sg2_var(v, "mapping.w_avg"); /* [w_dim] */
        tensor *t = add(g, avg, scale(g, sub(g, w, avg), psi, 0));
        /* add takes the type of its first operand and broadcasts: [w_dim] + [N,w_dim] */
        part[parts++] = broadcast(g, reshape(g, t, 3, n, 1, dim), 3, (const int64_t[]){n, cut, dim});
    }
    if (cut < num_ws)
        part[parts++] = broadcast(g, full, 3, (const int64_t[]){n, num_ws - cut, dim});
    return parts == 1 ? part[0] : concat(g, part, 2, 1);
}
