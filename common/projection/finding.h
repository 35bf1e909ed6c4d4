/* finding.h - what a projection found for one picture, as JSON: a line of the report, and a step in the history of pictures written.
 *
 * A line:  {"index":0,"key":"me","psnr":24.1,"psnr_network_noise":24.1,"loss":{"pixel":...},"space":"w+","distance":"pixel",
 *           "noise":"const","steps":400,"seed":0,"network":"SHA-256"}
 */
#ifndef FACEMILL_FINDING_H
#define FACEMILL_FINDING_H

#include "common/stream/sample.h"
#include "common/stylegan2/projector.h"

/* How it was sought. */
struct search {
    const char *space, *distance, *noise; /* "w+", "discriminator", "const" */
    const char *inception;                /* SHA-256 of Inception's weights when it judged, else NULL */
    const char *network;                  /* SHA-256 of the network's file, hex */
    int64_t steps, seed;
};

struct finding {
    int64_t index;              /* among all that were projected */
    const char *key;
    double psnr, network_psnr;  /* dB: with the projection's noise maps and with the network's own */
    struct projector_loss loss;
};

/* One line of JSON without a newline, numbers to six decimals. The caller frees it. */
char *finding_line(const struct finding *f, const struct search *s);

/* A sample for a picture made from `of`: its key and JSON, and the search as a step. Without picture or extras; the caller frees it. */
struct sample finding_sample(const struct sample *of, const struct search *s);

#endif
