/* ppl.c - see ppl.h. */
#include "common/metrics/ppl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/cli/cli.h"
#include "common/rng/numpy_rng.h"
#include "common/store/checkpoint.h"
#include "common/stylegan2/generator.h"

struct walk {
    const struct ppl_options *o;
    const struct sg2_config *config;
    struct sg2_generator *generator;
    struct extractor *extractor;
    struct numpy_rng rng;
    int side;       /* of the pictures compared: of a half with o->crop */
    int pairs;      /* at once */
    float *z, *ws;  /* [2*pairs, z], [2*pairs, num_ws, w] */
    float *w;       /* [2*pairs, w]: the two points of each pair */
    int *labels;    /* [2*pairs] */
    float *t;       /* [pairs] */
    float *pictures, *rgb, *features;
};

static void draw(struct walk *k, int pairs) {
    int dim = k->config->z_dim;
    for (int i = 0; i < pairs; i++) {
        for (int j = 0; j < 2 * dim; j++)
            k->z[(size_t)2 * i * dim + j] = (float)numpy_rng_gauss(&k->rng);
        k->t[i] = k->o->full ? (float)numpy_rng_double(&k->rng) : 0;
        k->labels[2 * i] = k->config->c_dim ? (int)(numpy_rng_double(&k->rng) * k->config->c_dim) : 0;
        k->labels[2 * i + 1] = k->labels[2 * i];
    }
}

/* From a to b on the unit sphere, [n]: the point after `share` of the angle, its length 1. */
static void slerp(const float *a, const float *b, int n, double share, float *out) {
    double aa = 0, bb = 0, ab = 0;
    for (int j = 0; j < n; j++) {
        aa += (double)a[j] * a[j];
        bb += (double)b[j] * b[j];
        ab += (double)a[j] * b[j];
    }
    double length = sqrt(aa), cosine = ab / (length * sqrt(bb)), angle = acos(fmin(1, fmax(-1, cosine)));
    double across = sqrt(fmax(bb - ab * ab / aa, 1e-300)); /* length of b less its part along a */
    for (int j = 0; j < n; j++)
        out[j] = (float)(cos(share * angle) * a[j] / length + sin(share * angle) * (b[j] - ab / aa * a[j]) / across);
}

/* The two points of each pair, z [2*pairs, z] or w [2*pairs, w]. */
static void take_steps(struct walk *k, int pairs) {
    const struct sg2_config *c = k->config;
    int num_ws = sg2_num_ws(c);
    if (k->o->z) {
        float *step = xmalloc((size_t)2 * c->z_dim * sizeof *step);
        for (int i = 0; i < pairs; i++) {
            float *a = k->z + (size_t)2 * i * c->z_dim, *b = a + c->z_dim;
            for (int s = 0; s < 2; s++)
                slerp(a, b, c->z_dim, k->t[i] + s * k->o->epsilon, step + s * c->z_dim);
            memcpy(a, step, (size_t)2 * c->z_dim * sizeof *step);
        }
        free(step);
        return;
    }
    struct sg2_latents from_z = {.n = 2 * pairs, .z = k->z, .labels = c->c_dim ? k->labels : NULL};
    sg2_generate_ws(k->generator, &from_z, k->ws);
    for (int i = 0; i < pairs; i++)
        for (int j = 0; j < c->w_dim; j++) {
            double w0 = k->ws[(size_t)(2 * i) * num_ws * c->w_dim + j], w1 = k->ws[(size_t)(2 * i + 1) * num_ws * c->w_dim + j];
            for (int s = 0; s < 2; s++)
                k->w[(size_t)(2 * i + s) * c->w_dim + j] = (float)(w0 + (w1 - w0) * (k->t[i] + s * k->o->epsilon));
        }
}

/* The pictures, or their middles, as RGB in 0..255. */
static void to_rgb(struct walk *k, int n) {
    const struct sg2_config *c = k->config;
    int left = k->side < c->res ? c->res / 4 : 0, top = k->side < c->res ? c->res * 3 / 8 : 0;
    float *to = k->rgb;
    for (int i = 0; i < n; i++)
        for (int y = 0; y < k->side; y++)
            for (int x = 0; x < k->side; x++) {
                const float *from = k->pictures + (((int64_t)i * c->res + top + y) * c->res + left + x) * c->img_channels;
                for (int ch = 0; ch < 3; ch++)
                    *to++ = (from[c->img_channels >= 3 ? ch : 0] + 1) * 127.5f;
            }
}

static enum status measure(struct walk *k, int pairs, double *distance, struct error *e) {
    const struct sg2_config *c = k->config;
    int dim = extractor_dim(k->extractor);
    draw(k, pairs);
    take_steps(k, pairs);
    struct sg2_latents points = {.n = 2 * pairs, .z = k->o->z ? k->z : NULL, .w = k->o->z ? NULL : k->w,
                                 .labels = k->o->z && c->c_dim ? k->labels : NULL};
    sg2_generate_float(k->generator, &points, k->pictures);
    to_rgb(k, 2 * pairs);
    enum status st = extractor_run_float(k->extractor, k->rgb, 2 * pairs, k->side, k->side, k->features, e);
    for (int i = 0; i < pairs && st == ST_OK; i++) {
        const float *a = k->features + (size_t)2 * i * dim, *b = a + dim;
        double sum = 0;
        for (int j = 0; j < dim; j++)
            sum += ((double)a[j] - b[j]) * ((double)a[j] - b[j]);
        distance[i] = sum / (k->o->epsilon * k->o->epsilon);
    }
    return st;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Mean of what lies between the 1st percentile (the lower neighbour) and the 99th (the upper one). */
static void trim(double *value, int n, struct ppl *p) {
    qsort(value, (size_t)n, sizeof *value, ascending);
    int low = (int)floor(0.01 * (n - 1)), high = (int)ceil(0.99 * (n - 1));
    p->mean = 0;
    for (int i = low; i <= high; i++)
        p->mean += value[i] / (high - low + 1);
    p->samples = n;
    p->kept = high - low + 1;
}

static enum status walk(struct walk *k, struct ppl *p, struct error *e) {
    const struct sg2_config *c = k->config;
    size_t n = 2 * (size_t)k->pairs, pixels = (size_t)c->res * c->res;
    double *distance = xmalloc((size_t)k->o->samples * sizeof *distance);
    enum status st = ST_OK;
    struct cli_progress progress;
    k->z = xmalloc(n * c->z_dim * sizeof *k->z);
    k->ws = xmalloc(n * sg2_num_ws(c) * c->w_dim * sizeof *k->ws);
    k->w = xmalloc(n * c->w_dim * sizeof *k->w);
    k->labels = xmalloc(n * sizeof *k->labels);
    k->t = xmalloc(n * sizeof *k->t);
    k->pictures = xmalloc(n * pixels * c->img_channels * sizeof *k->pictures);
    k->rgb = xmalloc(n * pixels * 3 * sizeof *k->rgb);
    k->features = xmalloc(n * extractor_dim(k->extractor) * sizeof *k->features);
    cli_progress_start(&progress, "pairs", k->o->samples);
    for (int first = 0; first < k->o->samples && st == ST_OK; first += k->pairs) {
        int pairs = k->o->samples - first < k->pairs ? k->o->samples - first : k->pairs;
        st = measure(k, pairs, distance + first, e);
        cli_progress_add(&progress, pairs);
    }
    cli_progress_end(&progress);
    if (st == ST_OK)
        trim(distance, k->o->samples, p);
    free(k->z);
    free(k->ws);
    free(k->w);
    free(k->labels);
    free(k->t);
    free(k->pictures);
    free(k->rgb);
    free(k->features);
    free(distance);
    return st;
}

enum status ppl_measure(const char *network, struct extractor *x, const struct ppl_options *o, struct ppl *p, struct error *e) {
    struct checkpoint *c = NULL;
    struct device *d = NULL;
    struct sg2_net *net = NULL;
    struct walk k = {.o = o, .extractor = x, .pairs = 8};
    enum status st = sha256_file(network, p->network, e);
    numpy_rng_seed(&k.rng, o->seed);
    if (st == ST_OK)
        st = checkpoint_open(&c, network, e);
    if (st == ST_OK)
        st = device_open(&d, o->device, o->threads, e);
    if (st == ST_OK)
        st = checkpoint_generator(c, d, &net, e);
    if (st == ST_OK) {
        struct sg2_generator_opt g = {.batch = 2 * k.pairs, .noise = SG2_NOISE_CONST, .psi = 1, .cutoff = -1};
        k.config = checkpoint_config(c);
        k.side = o->crop ? k.config->res / 2 : k.config->res;
        st = sg2_generator_create(&k.generator, d, net, &g, e);
    }
    if (st == ST_OK)
        st = walk(&k, p, e);
    sg2_generator_free(k.generator);
    if (net)
        sg2_net_free(net);
    if (d)
        device_close(d);
    checkpoint_close(c);
    return st;
}
