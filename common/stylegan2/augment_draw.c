/* augment_draw.c - the random draws of the augmentation, on the host: one affine matrix, colour matrix, set of filter taps, noise
 * strength and cutout box an image (Karras et al. 2020b, appendix B; the paper's table of distributions).
 *
 * Every draw is a uniform number u put through the quantile function of its distribution, so that the percentile mode is the
 * same code with a given u. The uniform numbers of image i are Philox (seed, i, use), always consumed in the same places: which
 * groups are on changes no other draw. Costs about 10 microseconds an image.
 */
#include <math.h>
#include <string.h>

#include "common/rng/philox.h"
#include "common/stylegan2/augment_internal.h"

/* Standard deviations and ranges. */
#define XINT_MAX 0.125
#define SCALE_STD 0.2
#define ROTATE_MAX 1.0
#define ANISO_STD 0.2
#define XFRAC_STD 0.125
#define BRIGHTNESS_STD 0.2
#define CONTRAST_STD 0.5
#define HUE_MAX 1.0
#define SATURATION_STD 1.0
#define FILTER_STD 1.0
#define NOISE_STD 0.1
#define CUTOUT_SIZE 0.5

/* Places of the uniform numbers; G_x says whether x happens. */
enum {
    G_XFLIP, U_XFLIP, G_ROTATE90, U_ROTATE90, G_XINT, U_XINT_X, U_XINT_Y, G_SCALE, U_SCALE, G_ROTATE0, U_ROTATE0, G_ANISO, U_ANISO,
    G_ROTATE1, U_ROTATE1, G_XFRAC, U_XFRAC_X, U_XFRAC_Y, G_BRIGHTNESS, U_BRIGHTNESS, G_CONTRAST, U_CONTRAST, G_LUMAFLIP,
    U_LUMAFLIP, G_HUE, U_HUE, G_SATURATION, U_SATURATION, G_FILTER, U_FILTER = G_FILTER + AUGMENT_BANDS,
    G_NOISE = U_FILTER + AUGMENT_BANDS, U_NOISE, G_CUTOUT, U_CUTOUT_X, U_CUTOUT_Y, PLACES
};

struct draw {
    float u[PLACES];
    double p, percentile;
};

static bool happens(const struct draw *d, int gate, double probability) {
    return d->percentile >= 0 ? probability > 0 : d->u[gate] < probability;
}

static double uniform(const struct draw *d, int place) { return d->percentile >= 0 ? d->percentile : (double)d->u[place]; }

/* Inverse of erf by Newton's method from Winitzki's approximation; |x| < 1. */
static double erf_inverse(double x) {
    if (fabs(x) >= 1)
        return x > 0 ? 6 : -6;
    double l = log(1 - x * x), b = 2 / (M_PI * 0.147) + l / 2, y = copysign(sqrt(sqrt(b * b - l / 0.147) - b), x);
    for (int i = 0; i < 4; i++)
        y -= (erf(y) - x) * sqrt(M_PI) / 2 * exp(y * y);
    return y;
}

/* The reference's percentile mode leaves out the factor sqrt(2) between erf_inverse and a normal quantile; so does ours. */
static double normal(const struct draw *d, int place) {
    return erf_inverse(2 * uniform(d, place) - 1) * (d->percentile >= 0 ? 1 : M_SQRT2);
}

/* ---- small matrices: n x n, row-major, `m` becomes a*m or m*a ---- */

static void multiply(int n, const double *a, const double *b, double *out) {
    double t[16];
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            t[i * n + j] = 0;
            for (int k = 0; k < n; k++)
                t[i * n + j] += a[i * n + k] * b[k * n + j];
        }
    memcpy(out, t, sizeof(double) * (size_t)(n * n));
}

static void right(double m[9], double a, double b, double c, double d, double tx, double ty) {
    multiply(3, m, (const double[]){a, b, tx, c, d, ty, 0, 0, 1}, m);
}

static void left(double m[9], double a, double d, double tx, double ty) {
    multiply(3, (const double[]){a, 0, tx, 0, d, ty, 0, 0, 1}, m, m);
}

/* ---- geometry ---- */

static void rotate(double m[9], double theta) { right(m, cos(theta), -sin(theta), sin(theta), cos(theta), 0, 0); }

/* From output pixels to input pixels, origin at the picture's centre: the inverses of the transformations, last one rightmost. */
static void inverse_transform(const struct augment_config *c, const struct draw *d, int res, double m[9]) {
    static const double identity[9] = {1, 0, 0, 0, 1, 0, 0, 0, 1};
    memcpy(m, identity, sizeof identity);
    if (happens(d, G_XFLIP, c->xflip * d->p))
        right(m, 1 - 2 * floor(uniform(d, U_XFLIP) * 2), 0, 0, 1, 0, 0);
    if (happens(d, G_ROTATE90, c->rotate90 * d->p))
        rotate(m, M_PI / 2 * floor(uniform(d, U_ROTATE90) * 4));
    if (happens(d, G_XINT, c->xint * d->p))
        right(m, 1, 0, 0, 1, -rint((uniform(d, U_XINT_X) * 2 - 1) * XINT_MAX * res),
              -rint((uniform(d, U_XINT_Y) * 2 - 1) * XINT_MAX * res));
    if (happens(d, G_SCALE, c->scale * d->p)) {
        double s = exp2(normal(d, U_SCALE) * SCALE_STD);
        right(m, 1 / s, 0, 0, 1 / s, 0, 0);
    }
    /* two rotations, one before and one after stretching, that leave the picture alone with probability 1 - rotate*p together */
    double stay = 1 - c->rotate * d->p, p_rotate = 1 - sqrt(stay < 0 ? 0 : stay > 1 ? 1 : stay);
    if (happens(d, G_ROTATE0, p_rotate))
        rotate(m, (uniform(d, U_ROTATE0) * 2 - 1) * M_PI * ROTATE_MAX);
    if (happens(d, G_ANISO, c->aniso * d->p)) {
        double s = exp2(normal(d, U_ANISO) * ANISO_STD);
        right(m, 1 / s, 0, 0, s, 0, 0);
    }
    if (d->percentile < 0 && happens(d, G_ROTATE1, p_rotate)) /* percentile mode: none */
        rotate(m, (uniform(d, U_ROTATE1) * 2 - 1) * M_PI * ROTATE_MAX);
    if (happens(d, G_XFRAC, c->xfrac * d->p))
        right(m, 1, 0, 0, 1, -normal(d, U_XFRAC_X) * XFRAC_STD * res, -normal(d, U_XFRAC_Y) * XFRAC_STD * res);
}

/* The same between the normalised coordinates of affine_sample: from [2R+12]^2 output positions into the padded picture at twice
 * its size, whose pixel grid lies half a pixel off. */
static void sampling_matrix(const struct augment *a, const double inverse[9], float theta[6]) {
    double m[9], in = 2.0 * augment_padded(a), out = 2.0 * (a->res + 2 * GEOM_PAD);
    memcpy(m, inverse, sizeof m);
    left(m, 2, 2, 0, 0);
    right(m, 0.5, 0, 0, 0.5, 0, 0);
    left(m, 1, 1, -0.5, -0.5);
    right(m, 1, 0, 0, 1, 0.5, 0.5);
    left(m, 2 / in, 2 / in, 0, 0);
    right(m, out / 2, 0, 0, out / 2, 0, 0);
    for (int i = 0; i < 6; i++)
        theta[i] = (float)m[i];
}

/* ---- colour: 4x4 matrices on (r,g,b,1), applied in order ---- */

static void then(double m[16], double diagonal, double along, const double spin[3], double shift) {
    /* diagonal * I + along * v v^T + spin (row offsets of a circulant) + shift, v = (1,1,1)/sqrt(3) */
    double t[16] = {0};
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < 3; j++)
            t[i * 4 + j] = (i == j ? diagonal : 0) + along / 3 + (spin ? spin[(j - i + 3) % 3] : 0);
        t[i * 4 + 3] = shift;
    }
    t[15] = 1;
    multiply(4, t, m, m);
}

static void colour_transform(const struct augment_config *c, const struct draw *d, int channels, double m[16]) {
    memset(m, 0, 16 * sizeof *m);
    m[0] = m[5] = m[10] = m[15] = 1;
    if (happens(d, G_BRIGHTNESS, c->brightness * d->p))
        then(m, 1, 0, NULL, normal(d, U_BRIGHTNESS) * BRIGHTNESS_STD);
    if (happens(d, G_CONTRAST, c->contrast * d->p))
        then(m, exp2(normal(d, U_CONTRAST) * CONTRAST_STD), 0, NULL, 0);
    if (happens(d, G_LUMAFLIP, c->lumaflip * d->p))
        then(m, 1, -2 * floor(uniform(d, U_LUMAFLIP) * 2), NULL, 0); /* mirror at the plane of grey 0 */
    if (channels == 1)
        return;
    if (happens(d, G_HUE, c->hue * d->p)) { /* rotation about the grey axis */
        double theta = (uniform(d, U_HUE) * 2 - 1) * M_PI * HUE_MAX, s = sin(theta) / sqrt(3);
        then(m, cos(theta), 1 - cos(theta), (const double[]){0, -s, s}, 0);
    }
    if (happens(d, G_SATURATION, c->saturation * d->p)) {
        double s = exp2(normal(d, U_SATURATION) * SATURATION_STD);
        then(m, s, 1 - s, NULL, 0);
    }
}

static void write_colour(int channels, const double m[16], float *matrix, float *offset) {
    if (channels == 1) { /* a grey picture goes through as r = g = b and comes back as their mean */
        double sum = 0, shift = 0;
        for (int i = 0; i < 3; i++) {
            sum += (m[i * 4] + m[i * 4 + 1] + m[i * 4 + 2]) / 3;
            shift += m[i * 4 + 3] / 3;
        }
        *matrix = (float)sum;
        *offset = (float)shift;
        return;
    }
    for (int i = 0; i < channels; i++) {
        for (int j = 0; j < channels; j++)
            matrix[i * channels + j] = i < 3 && j < 3 ? (float)m[i * 4 + j] : i == j;
        offset[i] = i < 3 ? (float)m[i * 4 + 3] : 0;
    }
}

/* ---- filter ---- */

/* Bands are amplified one after another, each time rescaled so that a picture with the usual 1/f spectrum keeps its power. */
static void filter_taps(const struct augment *a, const struct draw *d, float *taps) {
    static const double power[AUGMENT_BANDS] = {10 / 13.0, 1 / 13.0, 1 / 13.0, 1 / 13.0};
    double gain[AUGMENT_BANDS] = {1, 1, 1, 1};
    for (int i = 0; i < AUGMENT_BANDS; i++) {
        if (!happens(d, G_FILTER + i, a->config.imgfilter * d->p))
            continue;
        double t = exp2(normal(d, U_FILTER + i) * FILTER_STD), scale = 1 / sqrt(1 + power[i] * (t * t - 1));
        for (int k = 0; k < AUGMENT_BANDS; k++)
            gain[k] *= k == i ? t * scale : scale;
    }
    for (int k = 0; k < AUGMENT_BAND_TAPS; k++) {
        double sum = 0;
        for (int i = 0; i < AUGMENT_BANDS; i++)
            sum += gain[i] * a->bank[i][k];
        taps[k] = (float)sum;
    }
}

/* ---- cutout ---- */

static void keep(float *out, int res, bool cut, double centre) {
    for (int i = 0; i < res; i++)
        out[i] = !cut || fabs((i + 0.5) / res - centre) >= CUTOUT_SIZE / 2;
}

void augment_draw(struct augment *a, uint64_t seed, uint64_t first_index, uint32_t use, double p, double percentile) {
    const struct augment_config *c = &a->config;
    struct draw d = {.p = percentile >= 0 ? 1 : p, .percentile = percentile};
    for (int n = 0; n < a->batch; n++) {
        double m[16];
        philox_fill_uniform(seed, first_index + (uint64_t)n, use, d.u, PLACES);
        inverse_transform(c, &d, a->res, m);
        sampling_matrix(a, m, a->host + a->at_theta + 6 * n);
        colour_transform(c, &d, a->channels, m);
        write_colour(a->channels, m, a->host + a->at_matrix + n * a->channels * a->channels,
                     a->host + a->at_offset + n * a->channels);
        filter_taps(a, &d, a->host + a->at_taps + n * AUGMENT_BAND_TAPS);
        a->host[a->at_sigma + n] = 0;
        if (happens(&d, G_NOISE, c->noise * d.p)) /* half normal: |z| has the quantile function of z at (1 + u)/2 */
            a->host[a->at_sigma + n] =
                (float)(erf_inverse(uniform(&d, U_NOISE)) * (percentile >= 0 ? 1 : M_SQRT2) * NOISE_STD);
        bool cut = happens(&d, G_CUTOUT, c->cutout * d.p);
        keep(a->host + a->at_keep_x + n * a->res, a->res, cut, uniform(&d, U_CUTOUT_X));
        keep(a->host + a->at_keep_y + n * a->res, a->res, cut, uniform(&d, U_CUTOUT_Y));
    }
    buffer_write(a->draws, 0, a->host, a->floats * 4);
    /* the graph's random numbers have a fixed use, so the use goes into the seed */
    uint64_t key[2] = {seed ^ (use + 1) * 0x9e3779b97f4a7c15u, first_index};
    buffer_write(a->key, 0, key, sizeof key);
}
