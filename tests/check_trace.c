/* check_trace.c - train-trace-*.safetensors: whole iterations of the schedule, from given state, pixels and latents to the final
 * networks; the logged losses of every iteration on the way.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/stylegan2/trainer.h"
#include "tests/check_graph.h"

#define TOLERANCE 1e-3

static bool recognises(const struct safetensors *s) {
    return safetensors_find(s, "in.reals_u8") && safetensors_find(s, "in.z_Gmain") && safetensors_find(s, "log.00");
}

static double meta(const struct safetensors *s, const char *key, double fallback) {
    const char *text = safetensors_metadata(s, key);
    return text ? strtod(text, NULL) : fallback;
}

static struct trainer_config configuration(const struct safetensors *s) {
    struct trainer_config c = {
        .net = check_config(s), .batch = (int)meta(s, "batch", 8), .beta2 = 0.99, .eps = 1e-8, .r1_gamma = meta(s, "r1_gamma", 1),
        .pl_weight = meta(s, "pl_weight", 2), .pl_decay = meta(s, "pl_decay", 0.01),
        .pl_batch_shrink = (int)meta(s, "pl_batch_shrink", 2), .g_reg_interval = (int)meta(s, "g_reg_interval", 4),
        .d_reg_interval = (int)meta(s, "d_reg_interval", 16), .ema_kimg = meta(s, "ema_kimg", 10),
        .ema_rampup = meta(s, "ema_rampup", 0.05), .w_avg_beta = meta(s, "w_avg_beta", 0.998), .noise = SG2_NOISE_CONST,
        .ada_kimg = 500, .ada_interval = 4};
    c.g_lr = c.d_lr = meta(s, "lr", 0.0025);
    return c;
}

/* A logged value: NaN on both sides agrees. */
static void log_value(struct report *r, int iteration, const char *what, double got, float want) {
    char name[64];
    snprintf(name, sizeof name, "log.%02d %s", iteration, what);
    if (isnan(want) || isnan(got)) {
        if (isnan(want) != isnan(got))
            report_verdict(r, name, false, "%s ran on one side only", what);
    } else {
        report_value(r, name, got, want, TOLERANCE);
    }
}

static void compare_net(const struct safetensors *s, struct report *r, const char *prefix, struct sg2_net *n) {
    for (int i = 0; i < n->n_tensors; i++) {
        const struct sg2_tensor *t = &n->tensors[i];
        char name[96];
        snprintf(name, sizeof name, "final.%s%s", prefix, t->name);
        if (!safetensors_find(s, name))
            continue;
        int64_t count;
        float *want = check_load(s, name, &count), *got = xmalloc((size_t)count * sizeof *got);
        sg2_tensor_get(t, t->trained ? n->params : n->state, got);
        report_tensor(r, name, got, want, count, TOLERANCE);
        free(want);
        free(got);
    }
}

static void run(const struct safetensors *s, struct report *r) {
    struct trainer_config c = configuration(s);
    struct trainer *t;
    struct error e;
    if (trainer_create(&t, check_device(), &c, &e)) {
        report_verdict(r, "trainer_create", false, "%s", e.text);
        return;
    }
    check_load_net(s, "init.G.", trainer_g(t));
    check_load_net(s, "init.D.", trainer_d(t));
    sg2_net_copy(trainer_g_ema(t), trainer_g(t));

    const struct st_tensor *reals = safetensors_find(s, "in.reals_u8");
    float *z_gmain = check_load(s, "in.z_Gmain", NULL), *z_greg = check_load(s, "in.z_Greg", NULL);
    float *z_dmain = check_load(s, "in.z_Dmain", NULL), *noise = check_load(s, "in.pl_noise_unit", NULL);
    int steps = (int)reals->dim[0], C = c.net.img_channels, R = c.net.res;
    int64_t pixels = (int64_t)c.batch * C * R * R, z = (int64_t)c.batch * c.net.z_dim;
    uint8_t *hwc = xmalloc((size_t)pixels);
    for (int i = 0; i < steps; i++) {
        const uint8_t *chw = (const uint8_t *)reals->data + i * pixels;
        for (int n = 0; n < c.batch; n++)
            for (int k = 0; k < C; k++)
                for (int p = 0; p < R * R; p++)
                    hwc[(n * R * R + p) * C + k] = chw[(n * C + k) * R * R + p];
        struct trainer_override o = {z_gmain + i * z, z_greg + i * z, z_dmain + i * z, noise + i * (pixels / c.pl_batch_shrink)};
        trainer_step(t, hwc, NULL, &o);
        struct trainer_stats got = trainer_read_stats(t);
        char name[16];
        snprintf(name, sizeof name, "log.%02d", i);
        if (safetensors_find(s, name)) {
            float *want = check_load(s, name, NULL);
            log_value(r, i, "G loss", got.g_loss, want[0]);
            log_value(r, i, "D loss", got.d_loss, want[1]);
            log_value(r, i, "path length", got.pl_penalty, want[2]);
            log_value(r, i, "R1", got.r1_penalty, want[3]);
            free(want);
        }
        if (i == steps - 1 && safetensors_find(s, "out.pl_mean")) {
            float *want = check_load(s, "out.pl_mean", NULL);
            report_value(r, "out.pl_mean", got.pl_mean, *want, TOLERANCE);
            free(want);
        }
    }
    compare_net(s, r, "G.", trainer_g(t));
    compare_net(s, r, "D.", trainer_d(t));
    compare_net(s, r, "G_ema.", trainer_g_ema(t));
    free(hwc);
    free(z_gmain);
    free(z_greg);
    free(z_dmain);
    free(noise);
    trainer_free(t);
}

const struct check check_trace = {"trace", recognises, run};
