/* augment.c - the graph of the augmentation: six groups, each left out when its multipliers are zero.
 *
 * Geometry resamples once, as in the reference: mirror padding, upsampling by 2 with sym6, bilinear sampling at affine
 * positions (these three are one operation, mirror_sample), downsampling by 2 with sym6. The reference pads by what the batch's
 * transformed corners need, at most res - 1; here shapes are static, so the padding is always res - 1. Where the reference pads less,
 * what it samples lies inside its padding, so the values are the same (only when a picture shrinks below about half do the outermost
 * taps of its filters see zeros where ours still see the mirror image).
 */
#include "common/stylegan2/augment.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/stylegan2/augment_internal.h"

/* ---- groups by name ---- */

#define BLIT .xflip = 1, .rotate90 = 1, .xint = 1
#define GEOM .scale = 1, .rotate = 1, .aniso = 1, .xfrac = 1
#define COLOR .brightness = 1, .contrast = 1, .lumaflip = 1, .hue = 1, .saturation = 1
static const struct {
    const char *name;
    struct augment_config config;
} groups[] = {
    {"none", {.xflip = 0}},
    {"blit", {BLIT}},
    {"geom", {GEOM}},
    {"color", {COLOR}},
    {"filter", {.imgfilter = 1}},
    {"noise", {.noise = 1}},
    {"cutout", {.cutout = 1}},
    {"bg", {BLIT, GEOM}},
    {"bgc", {BLIT, GEOM, COLOR}},
    {"bgcf", {BLIT, GEOM, COLOR, .imgfilter = 1}},
    {"bgcfn", {BLIT, GEOM, COLOR, .imgfilter = 1, .noise = 1}},
    {"bgcfnc", {BLIT, GEOM, COLOR, .imgfilter = 1, .noise = 1, .cutout = 1}},
};

const struct augment_config *augment_by_name(const char *name) {
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        if (!strcmp(groups[i].name, name))
            return &groups[i].config;
    return NULL;
}

/* ---- filters ---- */

/* Scaling filters of Daubechies' least asymmetric wavelets with 2 and 6 vanishing moments ("Ten Lectures on Wavelets", table
 * 6.3; normalised to sum sqrt(2)). */
static const double sym2[4] = {-0.12940952255092145, 0.22414386804185735, 0.836516303737469, 0.48296291314469025};
static const double sym6[12] = {0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633,
                                0.4910559419267466,   0.787641141030194,     0.3379294217276218,   -0.07263752278646252,
                                -0.021060292512300564, 0.04472490177066578,  0.0017677118642428036, -0.007800708325034148};

/* Half the autocorrelation of f, 7 taps. */
static void autocorrelation(const double f[4], double out[7]) {
    for (int k = 0; k < 7; k++) {
        out[k] = 0;
        for (int i = 0; i < 4; i++) {
            int j = i - (k - 3);
            if (j >= 0 && j < 4)
                out[k] += f[i] * f[j] / 2;
        }
    }
}

/* Three levels of a two-band split (Karras et al. 2020b, appendix B.4): each level stretches the bands so far by two, smooths
 * them with the low-pass filter, and adds the octave on top as a new band. All are centred, so the number of taps is
 * ((1*2-1 + 6)*2-1 + 6)*2-1 + 6 = 43. */
void augment_constants(double geom[AUGMENT_GEOM_TAPS], double bank[AUGMENT_BANDS][AUGMENT_BAND_TAPS]) {
    double sum = 0, high[4], low2[7], high2[7];
    for (int i = 0; i < AUGMENT_GEOM_TAPS; i++)
        sum += sym6[i];
    for (int i = 0; i < AUGMENT_GEOM_TAPS; i++)
        geom[i] = sym6[i] / sum;
    for (int i = 0; i < 4; i++)
        high[i] = i % 2 ? -sym2[i] : sym2[i];
    autocorrelation(sym2, low2);
    autocorrelation(high, high2);
    memset(bank, 0, sizeof(double) * AUGMENT_BANDS * AUGMENT_BAND_TAPS);
    bank[0][0] = 1;
    int taps = 1;
    for (int level = 1; level < AUGMENT_BANDS; level++) {
        int stretched = 2 * taps - 1, next = stretched + 6;
        for (int b = 0; b < level; b++) {
            double out[AUGMENT_BAND_TAPS] = {0};
            for (int i = 0; i < taps; i++)
                for (int k = 0; k < 7; k++)
                    out[2 * i + k] += bank[b][i] * low2[k];
            memcpy(bank[b], out, sizeof out);
        }
        for (int k = 0; k < 7; k++)
            bank[level][(next - 7) / 2 + k] += high2[k];
        taps = next;
    }
}

/* ---- set-up ---- */

static int64_t place(struct augment *a, int64_t floats) {
    int64_t at = a->floats;
    a->floats += (floats + 63) / 64 * 64;
    return at;
}

struct augment *augment_create(struct device *d, const struct augment_config *c, int batch, int res, int channels) {
    struct augment *a = xcalloc(1, sizeof *a);
    a->config = *c;
    a->device = d;
    a->batch = batch, a->res = res, a->channels = channels;
    a->geometry = c->xflip > 0 || c->rotate90 > 0 || c->xint > 0 || c->scale > 0 || c->rotate > 0 || c->aniso > 0 || c->xfrac > 0;
    a->colour = c->brightness > 0 || c->contrast > 0 || c->lumaflip > 0 || c->hue > 0 || c->saturation > 0;
    a->filter = c->imgfilter > 0;
    a->noise = c->noise > 0;
    a->cutout = c->cutout > 0;
    a->at_theta = place(a, 6 * (int64_t)batch);
    a->at_matrix = place(a, (int64_t)batch * channels * channels);
    a->at_offset = place(a, (int64_t)batch * channels);
    a->at_taps = place(a, (int64_t)batch * AUGMENT_BAND_TAPS);
    a->at_sigma = place(a, batch);
    a->at_keep_x = place(a, (int64_t)batch * res);
    a->at_keep_y = place(a, (int64_t)batch * res);
    a->host = xcalloc((size_t)a->floats, sizeof *a->host);
    a->draws = buffer_create(d, a->floats * 4, "augment.draws");
    a->key = buffer_create(d, 16, "augment.key");
    a->filter_geom = buffer_create(d, AUGMENT_GEOM_TAPS * 4, "augment.geom");
    double geom[AUGMENT_GEOM_TAPS];
    float f[AUGMENT_GEOM_TAPS];
    augment_constants(geom, a->bank);
    for (int i = 0; i < AUGMENT_GEOM_TAPS; i++)
        f[i] = (float)geom[i];
    buffer_write(a->filter_geom, 0, f, sizeof f);
    return a;
}

void augment_free(struct augment *a) {
    if (!a)
        return;
    buffer_free(a->draws);
    buffer_free(a->key);
    buffer_free(a->filter_geom);
    free(a->host);
    free(a);
}

/* ---- the graph ---- */

static tensor *geometry(struct augment *a, struct graph *g, tensor *img) {
    int out = 2 * (a->res + 2 * GEOM_PAD);
    tensor *f = graph_input(g, a->filter_geom, 0, DT_F32, "Hz_geom", 1, AUGMENT_GEOM_TAPS);
    graph_mark_constant(f);
    tensor *fx = reshape(g, f, 2, 1, AUGMENT_GEOM_TAPS), *fy = reshape(g, f, 2, AUGMENT_GEOM_TAPS, 1);
    tensor *theta = graph_input(g, a->draws, a->at_theta * 4, DT_F32, "theta", 3, a->batch, 2, 3);
    tensor *x = mirror_sample(g, img, theta, f, out, out); /* [N,2R+12,2R+12,C] */
    struct upfirdn down_x = {.up_y = 1, .up_x = 1, .down_y = 1, .down_x = 2, .pad_x0 = -1, .pad_x1 = -1, .flip = true, .gain = 1};
    struct upfirdn down_y = {.up_y = 1, .up_x = 1, .down_y = 2, .down_x = 1, .pad_y0 = -1, .pad_y1 = -1, .flip = true, .gain = 1};
    return upfirdn2d(g, upfirdn2d(g, x, fx, down_x), fy, down_y); /* [N,R,R,C] */
}

static tensor *colour(struct augment *a, struct graph *g, tensor *img) {
    int N = a->batch, R = a->res, C = a->channels;
    tensor *matrix = graph_input(g, a->draws, a->at_matrix * 4, DT_F32, "colour", 3, N, C, C);
    tensor *offset = graph_input(g, a->draws, a->at_offset * 4, DT_F32, "colour offset", 4, N, 1, 1, C);
    tensor *x = matmul(g, reshape(g, img, 3, N, R * R, C), false, matrix, true); /* [N,RR,C] */
    return add(g, reshape(g, x, 4, N, R, R, C), offset);
}

static tensor *filter(struct augment *a, struct graph *g, tensor *img) {
    int N = a->batch, R = a->res, left = AUGMENT_BAND_TAPS / 2;
    tensor *fx = graph_input(g, a->draws, a->at_taps * 4, DT_F32, "taps", 3, N, 1, AUGMENT_BAND_TAPS);
    tensor *fy = graph_input(g, a->draws, a->at_taps * 4, DT_F32, "taps", 3, N, AUGMENT_BAND_TAPS, 1);
    tensor *x = img;
    while (left > 0) { /* pictures of up to 21 pixels are mirrored more than once */
        int size = (int)x->dim[1], pad = left < size ? left : size - 1;
        x = reflect_pad2d(g, x, pad, pad, pad, pad);
        left -= pad;
    }
    struct upfirdn u = {.up_y = 1, .up_x = 1, .down_y = 1, .down_x = 1, .flip = true, .gain = 1};
    x = upfirdn2d(g, upfirdn2d(g, x, fx, u), fy, u);
    return reshape(g, x, 4, N, R, R, a->channels);
}

static tensor *noise(struct augment *a, struct graph *g, tensor *img) {
    tensor *key = graph_input(g, a->key, 0, DT_U64, "augment key", 1, 2);
    tensor *sigma = graph_input(g, a->draws, a->at_sigma * 4, DT_F32, "sigma", 4, a->batch, 1, 1, 1);
    return add(g, img, mul(g, random_normal(g, key, 0, 4, img->dim), sigma));
}

static tensor *cutout(struct augment *a, struct graph *g, tensor *img) {
    tensor *x = graph_input(g, a->draws, a->at_keep_x * 4, DT_F32, "keep columns", 4, a->batch, 1, a->res, 1);
    tensor *y = graph_input(g, a->draws, a->at_keep_y * 4, DT_F32, "keep rows", 4, a->batch, a->res, 1, 1);
    tensor *keep = sub(g, add(g, x, y), mul(g, x, y)); /* x or y */
    return mul(g, img, keep);
}

tensor *augment_graph(struct augment *a, struct graph *g, tensor *img) {
    if (a->geometry)
        img = geometry(a, g, img);
    if (a->colour)
        img = colour(a, g, img);
    if (a->filter)
        img = filter(a, g, img);
    if (a->noise)
        img = noise(a, g, img);
    if (a->cutout)
        img = cutout(a, g, img);
    return img;
}
