/* side.h - one side of a comparison, measured: pictures of a source through an extractor into statistics (and, on request, the
 * features themselves), or statistics from a file or the cache, or features from a file.
 *
 * A thread of its own reads and decodes (with all threads) up to two batches ahead of the network, in the order of the source; sums
 * are made while the device works on the next batch.
 *
 * The cache is a folder of statistics files named after the SHA-256 of everything that decides them: content hash and number of the
 * pictures, extractor, its weights, preprocessing, precision, divisor of the covariance. Streams have no content hash before they end, so
 * only folders and stores are looked up; a side with rejects is never kept.
 */
#ifndef FACEMILL_SIDE_H
#define FACEMILL_SIDE_H

#include "common/cli/cli.h"
#include "common/metrics/extractor.h"
#include "common/metrics/source.h"
#include "common/metrics/statistics.h"
#include "common/metrics/tally.h"

struct side_options {
    struct extractor *extractor; /* may be NULL for a statistics file */
    int size;                    /* height to take from a store, 0 = largest */
    int threads;
    bool biased;                 /* covariance with 1/n */
    bool keep_features;          /* memory then grows with the number of pictures */
    bool keep_logits;
    FILE *features_to;           /* rows of float32 [dim] go there as they come; NULL = nowhere */
    const char *cache;           /* folder, NULL = none */
    struct cli_rejects *rejects; /* in, out and rejects are counted here */
};

struct side {
    const char *operand; /* borrowed */
    enum source_kind kind;
    struct statistics statistics; /* count = pictures scored */
    float *features;              /* [count, dim] or NULL; owned */
    float *logits;                /* [count, classes] or NULL; owned */
    int64_t read, rejected;
    struct tally tally;           /* of the pictures, when they were decoded */
    bool from_cache;
    bool write_failed;            /* the cache could not be written: said once, not fatal */
};

/* Reads the whole side. Broken pictures are rejected one by one; fewer than two good ones is ST_BAD. */
enum status side_measure(struct side *s, const char *operand, const struct side_options *o, struct error *e);
void side_free(struct side *s); /* leaves {0} */

/* ST_BAD when two sides cannot be compared (other extractor, other weights, other dimensions); differences that only weaken the
 * comparison are written to `doubts`, one line each without newline at the end, "" when there are none. */
enum status side_compatible(const struct side *a, const struct side *b, char *doubts, size_t room, struct error *e);

#endif
