/* check_metrics.c - files with in.real, in.generated [n, d], in.logits [n, classes] and the expected scores in their metadata.
 * Criteria: distances and scores within 1e-6 relative, shares exact. */
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/metrics/frechet.h"
#include "common/metrics/inception_score.h"
#include "common/metrics/kid.h"
#include "common/metrics/manifold.h"
#include "common/metrics/moments.h"
#include "tests/check.h"

static bool recognises(const struct safetensors *s) {
    return safetensors_find(s, "in.real") && safetensors_find(s, "in.generated") && safetensors_metadata(s, "fid");
}

static float *features(const struct safetensors *s, const char *name, int64_t *n, int *d) {
    const struct st_tensor *t = safetensors_find(s, name);
    float *x = xmalloc((size_t)t->count * sizeof *x);
    *n = t->dim[0];
    *d = (int)t->dim[1];
    st_to_f32(t, x);
    return x;
}

static void expect(const struct safetensors *s, struct report *r, const char *key, double got, double tolerance) {
    const char *text = safetensors_metadata(s, key);
    if (text)
        report_value(r, key, got, atof(text), tolerance);
}

static void check_fid(const struct safetensors *s, struct report *r, const float *real, int64_t n, const float *made, int64_t m, int d) {
    const float *x[2] = {real, made};
    int64_t count[2] = {n, m};
    double *mu[2], *sigma[2];
    for (int i = 0; i < 2; i++) {
        struct moments *k = moments_create(d);
        mu[i] = xmalloc((size_t)d * sizeof(double));
        sigma[i] = xmalloc((size_t)d * d * sizeof(double));
        moments_add(k, x[i], count[i]);
        moments_finish(k, false, mu[i], sigma[i]);
        moments_free(k);
    }
    struct frechet f;
    struct error e;
    if (frechet_distance(d, mu[0], sigma[0], n, mu[1], sigma[1], m, &f, &e) == ST_OK)
        expect(s, r, "fid", f.distance, 1e-6);
    else
        report_verdict(r, "fid", false, "%s", e.text);
    for (int i = 0; i < 2; i++) {
        free(mu[i]);
        free(sigma[i]);
    }
}

static void run(const struct safetensors *s, struct report *r) {
    int64_t n, m;
    int d;
    float *real = features(s, "in.real", &n, &d), *made = features(s, "in.generated", &m, &d);
    struct error e;
    check_fid(s, r, real, n, made, m, d);

    const char *rows = safetensors_metadata(s, "kid_rows");
    int64_t block = rows ? atoll(rows) : 0;
    if (block >= 2 && block <= n && block <= m)
        expect(s, r, "kid_unbiased_full_block_degree3", kid_block(real, block, made, block, d), 1e-6);

    struct manifold p;
    if (manifold_scores(real, n, made, m, d, 3, 5, &p, &e) == ST_OK) {
        expect(s, r, "precision_k3", p.precision, 1e-15);
        expect(s, r, "recall_k3", p.recall, 1e-15);
        expect(s, r, "density_k5", p.density, 1e-6);
        expect(s, r, "coverage_k5", p.coverage, 1e-15);
    } else
        report_verdict(r, "precision, recall, density, coverage", false, "%s", e.text);

    const struct st_tensor *t = safetensors_find(s, "in.logits");
    struct inception_score score;
    if (t && t->dtype == DT_F64 && t->ndim == 2) {
        double *logits = xmalloc((size_t)t->count * sizeof *logits);
        memcpy(logits, t->data, (size_t)t->count * sizeof *logits);
        if (inception_score(logits, t->dim[0], (int)t->dim[1], 1, &score, &e) == ST_OK)
            expect(s, r, "inception_score_1_split", score.mean, 1e-6);
        else
            report_verdict(r, "inception_score_1_split", false, "%s", e.text);
        free(logits);
    }
    free(real);
    free(made);
}

const struct check check_metrics = {"metrics", recognises, run};
