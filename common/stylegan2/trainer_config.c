/* trainer_config.c - presets of the training (DESIGN section 6), their limits and JSON. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "common/base/mem.h"
#include "common/stylegan2/trainer.h"
#include "common/stylegan2/trainer_internal.h"

enum status trainer_preset(struct trainer_config *t, const char *cfg, int res, int gpus, struct error *e) {
    static const struct {
        const char *name;
        int batch, mbstd;
        double fmaps, lr, gamma, ema_kimg;
        int map_layers;
    } presets[] = {
        {"stylegan2", 32, 4, 1, 0.002, 10, 10, 8},
        {"paper256", 64, 8, 0.5, 0.0025, 1, 20, 8},
        {"paper512", 64, 8, 1, 0.0025, 0.5, 20, 8},
        {"paper1024", 32, 4, 1, 0.002, 2, 10, 8},
    };
    if (res < 8 || res > 1024 || (res & (res - 1)))
        return st_bad(e, "training preset: resolution %d, must be a power of two, 8 to 1024", res);
    if (gpus < 1)
        return st_bad(e, "training preset: %d GPUs, at least 1 is needed", gpus);
    *t = (struct trainer_config){
        .net = {.res = res, .img_channels = 3, .z_dim = 512, .w_dim = 512, .channel_max = 512, .d_map_layers = 8,
                .mbstd_channels = 1, .conv_clamp = 0 /* bfloat16 needs none */},
        .beta1 = 0, .beta2 = 0.99, .eps = 1e-8, .pl_weight = 2, .pl_decay = 0.01, .pl_batch_shrink = 2, .g_reg_interval = 4,
        .d_reg_interval = 16, .style_mixing = 0.9, .w_avg_beta = 0.998, .noise = SG2_NOISE_RANDOM,
        .augment = *augment_by_name("bgc"), .ada_target = 0.6, .ada_kimg = 500, .ada_interval = 4};
    double fmaps = 0, lr = 0;
    if (!strcmp(cfg, "auto")) {
        int batch = gpus * (4096 / res < 32 ? 4096 / res : 32);
        batch = batch > 64 ? 64 : batch;
        t->batch = batch > gpus ? batch : gpus;
        t->net.mbstd_group = t->batch / gpus < 4 ? t->batch / gpus : 4;
        fmaps = res >= 512 ? 1 : 0.5;
        lr = res >= 1024 ? 0.002 : 0.0025;
        t->r1_gamma = 0.0002 * res * res / t->batch;
        t->ema_kimg = t->batch * 10 / 32.0;
        t->ema_rampup = 0.05;
        t->net.map_layers = 2;
    } else {
        size_t i = 0, n = sizeof presets / sizeof *presets;
        while (i < n && strcmp(cfg, presets[i].name))
            i++;
        if (i == n)
            return st_bad(e, "training preset \"%s\" is unknown: auto, stylegan2, paper256, paper512, paper1024", cfg);
        t->batch = presets[i].batch;
        t->net.mbstd_group = presets[i].mbstd;
        fmaps = presets[i].fmaps;
        lr = presets[i].lr;
        t->r1_gamma = presets[i].gamma;
        t->ema_kimg = presets[i].ema_kimg;
        t->net.map_layers = presets[i].map_layers;
    }
    t->net.channel_base = (int)(32768 * fmaps);
    t->g_lr = t->d_lr = lr;
    return ST_OK;
}

/* ---- the fields, one list each for checking, writing and reading: X(name, lowest, highest) ---- */

#define DOUBLES(X) \
    X(g_lr, 0, 10) X(d_lr, 0, 10) X(beta1, 0, 0.99999) X(beta2, 0, 0.9999999) X(eps, 0, 1) X(r1_gamma, 0, 1e6) \
    X(pl_weight, 0, 1e6) X(pl_decay, 0, 1) X(style_mixing, 0, 1) X(ema_kimg, 0, 1e9) X(ema_rampup, 0, 1e9) X(w_avg_beta, 0, 1) \
    X(ada_target, 0, 1) X(ada_kimg, 1e-3, 1e9) X(augment_p, 0, 1)
#define INTS(X) \
    X(batch, 1, 4096) X(pl_batch_shrink, 1, 4096) X(g_reg_interval, 0, 1 << 20) X(d_reg_interval, 0, 1 << 20) \
    X(ada_interval, 1, 1 << 20) X(freeze_d, 0, 64)
#define BOOLS(X) X(mirror) X(half)
#define MULTIPLIERS(X) \
    X(xflip) X(rotate90) X(xint) X(scale) X(rotate) X(aniso) X(xfrac) X(brightness) X(contrast) X(lumaflip) X(hue) X(saturation) \
    X(imgfilter) X(noise) X(cutout)
static const char *const noise_names[] = {"random", "const", "none"}; /* enum sg2_noise */

enum status trainer_config_check(const struct trainer_config *t, struct error *e) {
    enum status st = sg2_config_check(&t->net, e);
    if (st)
        return st;
#define X(field, low, high) \
    if (!(t->field >= (low) && t->field <= (high))) \
        return st_bad(e, "training configuration: " #field " is %g, allowed are %g to %g", (double)t->field, (double)(low), (double)(high));
    DOUBLES(X)
    INTS(X)
#undef X
#define X(field) \
    if (!(t->augment.field >= 0 && t->augment.field <= 1000)) \
        return st_bad(e, "training configuration: augment." #field " is %g, allowed are 0 to 1000", (double)t->augment.field);
    MULTIPLIERS(X)
#undef X
    if ((unsigned)t->noise > SG2_NOISE_NONE)
        return st_bad(e, "training configuration: noise mode %d is unknown", t->noise);
    int group = t->net.mbstd_group > 0 && t->net.mbstd_group < t->batch ? t->net.mbstd_group : t->batch;
    if (t->net.mbstd_channels > 0 && t->batch % group)
        return st_bad(e, "training configuration: batch %d is not a multiple of the minibatch-standard-deviation group %d", t->batch,
                      group);
    return ST_OK;
}

char *trainer_config_json(const struct trainer_config *t) {
    cJSON *o = cJSON_CreateObject(), *a = cJSON_CreateObject();
    char *net = sg2_config_json(&t->net), seed[32];
    cJSON_AddItemToObject(o, "net", cJSON_Parse(net));
    free(net);
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)t->seed);
    cJSON_AddStringToObject(o, "seed", seed); /* 64 bits do not fit into a JSON number */
#define X(field, low, high) cJSON_AddNumberToObject(o, #field, t->field);
    INTS(X)
    DOUBLES(X)
#undef X
#define X(field) cJSON_AddBoolToObject(o, #field, t->field);
    BOOLS(X)
#undef X
    cJSON_AddStringToObject(o, "noise", noise_names[t->noise]);
#define X(field) cJSON_AddNumberToObject(a, #field, (double)t->augment.field);
    MULTIPLIERS(X)
#undef X
    cJSON_AddItemToObject(o, "augment", a);
    char *text = cJSON_PrintUnformatted(o);
    cJSON_Delete(o);
    return text;
}

static bool number(const cJSON *o, const char *field, double *out) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(o, field);
    if (!cJSON_IsNumber(item) || !isfinite(item->valuedouble) || fabs(item->valuedouble) > 1e12)
        return false;
    *out = item->valuedouble;
    return true;
}

static enum status parse(struct trainer_config *t, const cJSON *o, struct error *e) {
    enum status st;
    double value;
    const cJSON *a = cJSON_GetObjectItemCaseSensitive(o, "augment"), *item;
    char *net = cJSON_PrintUnformatted(cJSON_GetObjectItemCaseSensitive(o, "net"));
    st = net ? sg2_config_parse(&t->net, net, e) : st_bad(e, "training configuration: no \"net\"");
    free(net);
    if (st)
        return st;
#define X(field, low, high) \
    if (!number(o, #field, &value)) \
        return st_bad(e, "training configuration: \"" #field "\" is missing or not a number"); \
    t->field = value;
    DOUBLES(X)
#undef X
#define X(field, low, high) \
    if (!number(o, #field, &value) || value != floor(value) || fabs(value) > 1e9) \
        return st_bad(e, "training configuration: \"" #field "\" is missing or not a whole number"); \
    t->field = (int)value;
    INTS(X)
#undef X
#define X(field) \
    item = cJSON_GetObjectItemCaseSensitive(o, #field); \
    if (!cJSON_IsBool(item)) \
        return st_bad(e, "training configuration: \"" #field "\" is missing or not true or false"); \
    t->field = cJSON_IsTrue(item);
    BOOLS(X)
#undef X
#define X(field) \
    if (!number(a, #field, &value)) \
        return st_bad(e, "training configuration: \"augment." #field "\" is missing or not a number"); \
    t->augment.field = (float)value;
    MULTIPLIERS(X)
#undef X
    item = cJSON_GetObjectItemCaseSensitive(o, "seed");
    char *end = NULL;
    if (!cJSON_IsString(item) || (t->seed = strtoull(item->valuestring, &end, 10), end == item->valuestring || *end))
        return st_bad(e, "training configuration: \"seed\" is missing or not a number in quotes");
    item = cJSON_GetObjectItemCaseSensitive(o, "noise");
    for (int i = 0; i < 3; i++)
        if (cJSON_IsString(item) && !strcmp(item->valuestring, noise_names[i])) {
            t->noise = (enum sg2_noise)i;
            return trainer_config_check(t, e);
        }
    return st_bad(e, "training configuration: \"noise\" is not random, const or none");
}

enum status trainer_config_parse(struct trainer_config *t, const char *json, struct error *e) {
    cJSON *o = cJSON_Parse(json);
    memset(t, 0, sizeof *t);
    enum status st = cJSON_IsObject(o) ? parse(t, o, e) : st_bad(e, "training configuration: not a JSON object");
    cJSON_Delete(o);
    return st;
}
