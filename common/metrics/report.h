/* report.h - what fid-score found out, as a table for people and as one JSON object for programs. */
#ifndef FACEMILL_REPORT_H
#define FACEMILL_REPORT_H

#include <stdbool.h>

#include "common/metrics/bootstrap.h"
#include "common/metrics/frechet.h"
#include "common/metrics/inception_score.h"
#include "common/metrics/kid.h"
#include "common/metrics/manifold.h"
#include "common/metrics/ppl.h"
#include "common/metrics/side.h"

enum { METRIC_FID = 1, METRIC_KID = 2, METRIC_PRDC = 4, METRIC_IS = 8, METRIC_PPL = 16 };

struct scores {
    unsigned wanted; /* METRIC_... that were computed */
    struct frechet fid;
    struct kid kid;
    struct manifold prdc;
    struct inception_score is;
    int resamples;   /* 0: no intervals */
    bool both_resampled;
    long seed;
    struct interval fid_interval, kid_interval;
    struct ppl ppl;
    const char *ppl_network;
    double ppl_epsilon;
    bool ppl_full, ppl_z, ppl_crop;
    char doubts[2048]; /* lines */
};

/* What described the pictures. */
struct features_used {
    const char *name, *hash, *preprocessing, *precision;
    int dim;
};

/* To stdout. ref, made: NULL when there is no such side. */
void report_text(const struct side *ref, const struct side *made, const struct features_used *f, const struct scores *r);
void report_json(const struct side *ref, const struct side *made, const struct features_used *f, const struct scores *r);

#endif
