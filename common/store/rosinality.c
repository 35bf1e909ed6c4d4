/* rosinality.c - see rosinality.h. The k-th block doubles the size to 8 << k; its two convolutions are convs.2k and convs.2k+1. */
#include "common/store/rosinality.h"

#include <stdarg.h>
#include <stdio.h>

struct walk {
    rosinality_visit *visit;
    void *context;
    char ours[48], theirs[48]; /* of the layer */
};

__attribute__((format(printf, 3, 4))) static void name(struct walk *w, bool ours, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(ours ? w->ours : w->theirs, sizeof w->ours, format, args);
    va_end(args);
}

/* A tensor of the layer: "LAYER.ours" and "LAYER.theirs"; a name that begins with "=" stands alone. */
static void put(const struct walk *w, const char *ours, const char *theirs, int ndim, int lead, int trail, float scale) {
    struct rosinality_pair p = {.ndim = ndim, .lead = lead, .trail = trail, .scale = scale};
    snprintf(p.ours, sizeof p.ours, "%s.%s", w->ours, ours);
    if (*theirs == '=')
        snprintf(p.theirs, sizeof p.theirs, "%s", theirs + 1);
    else
        snprintf(p.theirs, sizeof p.theirs, "%s.%s", w->theirs, theirs);
    w->visit(w->context, &p);
}

static void put_linear(const struct walk *w) {
    put(w, "weight", "weight", 2, 0, 0, 1);
    put(w, "bias", "bias", 1, 0, 0, 1);
}

static void put_modulated(const struct walk *w) {
    put(w, "weight", "conv.weight", 4, 1, 0, 1);
    put(w, "affine.weight", "conv.modulation.weight", 2, 0, 0, 1);
    put(w, "affine.bias", "conv.modulation.bias", 1, 0, 0, 1);
}

void rosinality_generator(int res, int map_layers, rosinality_visit *visit, void *context) {
    struct walk w = {.visit = visit, .context = context};
    for (int i = 0; i < map_layers; i++) {
        name(&w, true, "mapping.fc%d", i);
        name(&w, false, "style.%d", i + 1); /* style.0 normalises z */
        put_linear(&w);
    }
    name(&w, true, "synthesis.b4");
    put(&w, "const", "=input.input", 3, 1, 0, 1);
    for (int r = 4, k = -1; r <= res; r *= 2, k++) {
        for (int conv = r == 4; conv < 2; conv++) {
            char noise[40];
            name(&w, true, "synthesis.b%d.conv%d", r, conv);
            if (r == 4)
                name(&w, false, "conv1");
            else
                name(&w, false, "convs.%d", 2 * k + conv);
            put_modulated(&w);
            put(&w, "bias", "activate.bias", 1, 0, 0, 1);
            put(&w, "noise_strength", "noise.weight", 1, 0, 0, 1);
            snprintf(noise, sizeof noise, "=noises.noise_%d", r == 4 ? 0 : 2 * k + conv + 1);
            put(&w, "noise_const", noise, 2, 2, 0, 1);
            if (!conv)
                put(&w, "resample_filter", "conv.blur.kernel", 2, 0, 0, 4);
        }
        name(&w, true, "synthesis.b%d.torgb", r);
        if (r == 4)
            name(&w, false, "to_rgb1");
        else
            name(&w, false, "to_rgbs.%d", k);
        put_modulated(&w);
        put(&w, "bias", "bias", 1, 1, 2, 1);
        name(&w, true, "synthesis.b%d", r);
        if (r > 4)
            put(&w, "resample_filter", "upsample.kernel", 2, 0, 0, 4);
    }
}

void rosinality_discriminator(int res, rosinality_visit *visit, void *context) {
    struct walk w = {.visit = visit, .context = context};
    name(&w, true, "b%d", res);
    name(&w, false, "convs.0");
    put(&w, "fromrgb.weight", "0.weight", 4, 0, 0, 1);
    put(&w, "fromrgb.bias", "1.bias", 1, 0, 0, 1);
    for (int r = res, i = 1; r > 4; r /= 2, i++) {
        name(&w, true, "b%d", r);
        name(&w, false, "convs.%d", i);
        put(&w, "conv0.weight", "conv1.0.weight", 4, 0, 0, 1);
        put(&w, "conv0.bias", "conv1.1.bias", 1, 0, 0, 1);
        put(&w, "conv1.resample_filter", "conv2.0.kernel", 2, 0, 0, 1);
        put(&w, "conv1.weight", "conv2.1.weight", 4, 0, 0, 1);
        put(&w, "conv1.bias", "conv2.2.bias", 1, 0, 0, 1);
        put(&w, "skip.resample_filter", "skip.0.kernel", 2, 0, 0, 1);
        put(&w, "skip.weight", "skip.1.weight", 4, 0, 0, 1);
    }
    name(&w, true, "b4.conv");
    name(&w, false, "final_conv");
    put(&w, "weight", "0.weight", 4, 0, 0, 1);
    put(&w, "bias", "1.bias", 1, 0, 0, 1);
    name(&w, true, "b4.fc");
    name(&w, false, "final_linear.0");
    put_linear(&w);
    name(&w, true, "b4.out");
    name(&w, false, "final_linear.1");
    put_linear(&w);
}
