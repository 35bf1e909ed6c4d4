/* inception_score.h - Inception score: exp of the mean divergence between each sample's class distribution and the average one
 * (Salimans et al. 2016), over consecutive splits of the samples in the order given. */
#ifndef FACEMILL_INCEPTION_SCORE_H
#define FACEMILL_INCEPTION_SCORE_H

#include <stdint.h>

#include "common/base/status.h"

struct inception_score {
    double mean, std; /* over the splits; std with divisor `splits` */
    int splits;
};

/* logits [n, classes]. ST_BAD when n < splits. */
enum status inception_score(const double *logits, int64_t n, int classes, int splits, struct inception_score *s, struct error *e);

#endif
