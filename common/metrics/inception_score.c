/* inception_score.c - see inception_score.h. */
#include "common/metrics/inception_score.h"

#include <math.h>
#include <stdlib.h>

#include "common/base/mem.h"

/* log p [classes] of one row */
static void log_softmax(const double *logit, int classes, double *out) {
    double top = logit[0], sum = 0;
    for (int c = 1; c < classes; c++)
        top = fmax(top, logit[c]);
    for (int c = 0; c < classes; c++)
        sum += exp(logit[c] - top);
    for (int c = 0; c < classes; c++)
        out[c] = logit[c] - top - log(sum);
}

/* exp(mean KL(p || mean p)) = exp(mean sum p log p - sum q log q), q = mean p */
static double one_split(const double *logits, int64_t n, int classes, double *logp, double *q) {
    double entropy = 0;
    for (int c = 0; c < classes; c++)
        q[c] = 0;
    for (int64_t i = 0; i < n; i++) {
        log_softmax(logits + i * classes, classes, logp);
        for (int c = 0; c < classes; c++) {
            double p = exp(logp[c]);
            entropy += p * logp[c] / n;
            q[c] += p / n;
        }
    }
    for (int c = 0; c < classes; c++)
        if (q[c] > 0)
            entropy -= q[c] * log(q[c]);
    return exp(entropy);
}

enum status inception_score(const double *logits, int64_t n, int classes, int splits, struct inception_score *s, struct error *e) {
    if (splits < 1 || n < splits)
        return st_bad(e, "Inception score in %d splits needs as many samples, there are %lld", splits, (long long)n);
    double *logp = xmalloc((size_t)classes * sizeof *logp), *q = xmalloc((size_t)classes * sizeof *q);
    double *value = xmalloc((size_t)splits * sizeof *value), mean = 0, var = 0;
    for (int k = 0; k < splits; k++) {
        int64_t first = n * k / splits, last = n * (k + 1) / splits;
        value[k] = one_split(logits + first * classes, last - first, classes, logp, q);
        mean += value[k] / splits;
    }
    for (int k = 0; k < splits; k++)
        var += (value[k] - mean) * (value[k] - mean) / splits;
    *s = (struct inception_score){.mean = mean, .std = sqrt(var), .splits = splits};
    free(logp);
    free(q);
    free(value);
    return ST_OK;
}
