/* check_stylegan2.c - stylegan2-*.safetensors: mapping, pictures, logits, the four losses and every gradient of each. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/stylegan2/layers.h"
#include "common/stylegan2/losses.h"
#include "tests/check_graph.h"

#define TOLERANCE 1e-4
/* In bfloat16 (2^-9 a rounding), once more where the device has it, by norms. Measured: pictures 5e-3, logits and losses up to 3e-2,
 * R1 up to 7e-2; gradients 5e-2 in the median, up to 0.4 (biases, in Dr1): in these small networks an activation near 0 that changes
 * its side of the leaky ReLU's kink counts for much. */
#define HALF_TOLERANCE 1e-1
#define HALF_GRADIENT_TOLERANCE 6e-1
static bool half;
static double tolerance = TOLERANCE;

struct networks {
    struct sg2_net *g, *d;
    struct sg2_vars *vg, *vd; /* of the graph at hand */
    bool labels;
};

static bool recognises(const struct safetensors *s) {
    return safetensors_find(s, "G.synthesis.b4.const") && safetensors_find(s, "in.z") && safetensors_find(s, "out.logits");
}

static void begin(struct check_graph *c, struct networks *n, const struct safetensors *s, struct report *r, const char *name) {
    check_graph_begin(c, s, r, name);
    c->norms = half;
    n->vg = sg2_vars_create(c->g, n->g, false);
    n->vd = sg2_vars_create(c->g, n->d, false);
}

static void end(struct check_graph *c, struct networks *n) {
    check_graph_run(c);
    sg2_vars_free(n->vg);
    sg2_vars_free(n->vd);
}

static tensor *labels(struct check_graph *c, const struct networks *n) { return n->labels ? check_input(c, "in.c") : NULL; }

static tensor *make_ws(struct check_graph *c, struct networks *n, float psi, int cutoff) {
    return sg2_broadcast_truncate(n->vg, sg2_mapping(n->vg, check_input(c, "in.z"), labels(c, n)), psi, cutoff);
}

static tensor *picture(struct networks *n, tensor *ws, enum sg2_noise noise) {
    return sg2_synthesis(n->vg, ws, (struct sg2_synthesis_opt){.noise = noise, .half = half});
}

/* The largest gradient of a noise strength. Such a gradient sums thousands of terms that may cancel: that of
 * b16.conv0 in stylegan2-r32-cond5, Gmain, is 2.633412e-4 by central differences in float64, and the reference's own float32
 * value is 3e-4 of that away. Its scale is that of its siblings. */
static double scalar_scale(const struct check_graph *c, const char *prefix, const struct sg2_net *n) {
    const struct sg2_tensor *t;
    double largest = 0;
    for (int i = 0; (t = sg2_trained(n, i)); i++) {
        char name[96];
        snprintf(name, sizeof name, "%s%s", prefix, t->name);
        const struct st_tensor *x = strstr(t->name, "noise_strength") ? safetensors_find(c->s, name) : NULL;
        float value;
        if (x && x->count == 1) {
            st_to_f32(x, &value);
            largest = fmax(largest, fabs((double)value));
        }
    }
    return largest;
}

/* Gradients of `loss` for all trained tensors of a network against grad_PHASE.NET.* */
static void expect_gradients(struct check_graph *c, const char *prefix, struct sg2_vars *v, tensor *loss) {
    const struct sg2_tensor *t;
    int n = 0;
    while (sg2_trained(v->net, n))
        n++;
    tensor **wrt = xcalloc((size_t)n, sizeof *wrt), **grad = xcalloc((size_t)n, sizeof *grad);
    for (int i = 0; i < n; i++)
        wrt[i] = sg2_var(v, sg2_trained(v->net, i)->name);
    graph_vjp(c->g, loss, scalar(c->g, 1), wrt, n, grad, true);
    double scale = scalar_scale(c, prefix, v->net);
    for (int i = 0; (t = sg2_trained(v->net, i)); i++) {
        char name[96];
        snprintf(name, sizeof name, "%s%s", prefix, t->name);
        if (half && strstr(t->name, "noise_strength")) /* one number, the sum of thousands that cancel */
            continue;
        check_expect_scaled(c, name, grad[i], strstr(t->name, "noise_strength") ? scale : 0, half ? HALF_GRADIENT_TOLERANCE : tolerance);
    }
    free(wrt);
    free(grad);
}

static void check_all(const struct safetensors *s, struct report *r) {
    struct sg2_config config = check_config(s);
    struct networks n = {.g = sg2_net_create(check_device(), SG2_G, &config), .d = sg2_net_create(check_device(), SG2_D, &config),
                         .labels = config.c_dim > 0};
    struct check_graph c;
    check_load_net(s, "G.", n.g);
    check_load_net(s, "D.", n.d);

    begin(&c, &n, s, r, "outputs");
    tensor *ws = make_ws(&c, &n, 1, -1), *ws_psi = make_ws(&c, &n, 0.5f, -1);
    check_expect(&c, "out.ws", ws, tolerance);
    check_expect(&c, "out.ws_psi0.5", ws_psi, tolerance);
    check_expect(&c, "out.ws_psi0.7_cutoff2", make_ws(&c, &n, 0.7f, 2), tolerance);
    check_expect(&c, "out.img_noise_const", picture(&n, ws, SG2_NOISE_CONST), tolerance);
    check_expect(&c, "out.img_noise_none", picture(&n, ws, SG2_NOISE_NONE), tolerance);
    check_expect(&c, "out.img_noise_const_psi0.5", picture(&n, ws_psi, SG2_NOISE_CONST), tolerance);
    check_expect(&c, "out.logits", sg2_discriminator(n.vd, check_input(&c, "in.img"), labels(&c, &n), half), tolerance);
    end(&c, &n);

    begin(&c, &n, s, r, "Gmain");
    tensor *img = picture(&n, make_ws(&c, &n, 1, -1), SG2_NOISE_CONST);
    tensor *loss = sg2_loss_gmain(c.g, sg2_discriminator(n.vd, img, labels(&c, &n), half));
    check_expect(&c, "out.loss_Gmain", loss, tolerance);
    expect_gradients(&c, "grad_Gmain.G.", n.vg, loss);
    end(&c, &n);

    begin(&c, &n, s, r, "Gpl");
    tensor *new_mean, *penalty, *grads;
    ws = make_ws(&c, &n, 1, -1);
    img = picture(&n, ws, SG2_NOISE_CONST);
    tensor *lengths = sg2_path_lengths(c.g, img, ws, check_input(&c, "in.pl_noise_unit"), &grads);
    loss = sg2_loss_gpl(c.g, lengths, scalar(c.g, 0), 0.01f, 2, &new_mean, &penalty);
    check_expect(&c, "out.pl_lengths", lengths, tolerance);
    check_expect(&c, "out.pl_grads_ws", grads, half ? HALF_GRADIENT_TOLERANCE : tolerance);
    check_expect(&c, "out.pl_mean_new", new_mean, tolerance);
    check_expect(&c, "out.loss_Gpl", loss, tolerance);
    expect_gradients(&c, "grad_Gpl.G.", n.vg, loss);
    end(&c, &n);

    begin(&c, &n, s, r, "Dmain");
    tensor *fake = sg2_discriminator_parts(n.vd, picture(&n, make_ws(&c, &n, 1, -1), SG2_NOISE_CONST), labels(&c, &n), 1, half);
    tensor *real = sg2_discriminator_parts(n.vd, check_input(&c, "in.img"), labels(&c, &n), 1, half);
    loss = sg2_loss_dmain(c.g, fake, real);
    check_expect(&c, "out.loss_Dmain", loss, tolerance);
    expect_gradients(&c, "grad_Dmain.D.", n.vd, loss);
    end(&c, &n);

    begin(&c, &n, s, r, "Dr1");
    tensor *x = check_input(&c, "in.img"), *norms;
    loss = sg2_loss_dr1(c.g, sg2_discriminator(n.vd, x, labels(&c, &n), half), x, 5, &norms, &grads);
    check_expect(&c, "out.r1_penalty", norms, tolerance);
    check_expect(&c, "out.r1_grad_img", grads, half ? HALF_GRADIENT_TOLERANCE : tolerance);
    check_expect(&c, "out.loss_Dr1_gamma5", loss, tolerance);
    expect_gradients(&c, "grad_Dr1.D.", n.vd, loss);
    end(&c, &n);

    sg2_net_free(n.g);
    sg2_net_free(n.d);
}

static void run(const struct safetensors *s, struct report *r) {
    check_all(s, r);
    if (!strcmp(device_name(check_device()), "cpu"))
        return;
    half = true, tolerance = HALF_TOLERANCE;
    check_all(s, r);
    half = false, tolerance = TOLERANCE;
}

const struct check check_stylegan2 = {"stylegan2", recognises, run};
