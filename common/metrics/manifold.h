/* manifold.h - precision and recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020): set against set,
 * each set described by balls around its vectors that reach to the k-th nearest neighbour in the same set.
 *
 * Distances are float64 and computed in tiles: memory is O(n), time O((n + m)^2 d).
 */
#ifndef FACEMILL_MANIFOLD_H
#define FACEMILL_MANIFOLD_H

#include <stdint.h>

#include "common/base/status.h"

struct manifold {
    double precision; /* share of generated vectors inside some ball of the real ones */
    double recall;    /* share of real vectors inside some ball of the generated ones */
    double f_score;   /* harmonic mean of the two */
    double density;   /* real balls around a generated vector, divided by k */
    double coverage;  /* share of real balls with a generated vector inside */
    int k_pr, k_dc;
};

/* real [n, d], generated [m, d]. The field's values are k_pr = 3 and k_dc = 5. ST_BAD when a set has no k-th neighbour. */
enum status manifold_scores(const float *real, int64_t n, const float *generated, int64_t m, int d, int k_pr, int k_dc,
                            struct manifold *s, struct error *e);

#endif
