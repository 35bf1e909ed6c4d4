/* mapper.h - the body of a stage that turns samples into samples: source, threads, output in input order, rejects, exit code.
 *
 *     static enum status work(void *context, const struct sample *in, struct sample_list *out, struct error *e) {
 *         struct sample *s = mapper_add(out, in, "");       // key, JSON and extras of `in`, no picture yet
 *         ...
 *         return sample_set_picture(s, &picture, IMAGE_PPM, 0, e);
 *     }
 *     int main(...) { ... return cli_finish(mapper_run(&(struct mapper){.operands = argv + first, ..., .work = work})); }
 *
 * Memory: four samples in flight a thread. Results and their order do not depend on the number of threads.
 */
#ifndef FACEMILL_MAPPER_H
#define FACEMILL_MAPPER_H

#include "common/stream/sample.h"

struct sample_list {
    struct sample *items; /* owned */
    int n;
};

struct mapper {
    char **operands;
    int n;
    bool null;           /* names on stdin end with NUL */
    long jobs;           /* 0: all processors */
    const char *out;     /* folder, or NULL: a stream on stdout */
    const char *rejects; /* file or NULL */
    double max_reject;   /* as cli_rejects_close */
    const char *unit;    /* for the progress line: "pictures" */
    void *context;
    /* Any number of results for one sample; none, or ST_BAD, is a reject (e says why). ST_FAIL ends everything. Called from many
     * threads at once. */
    enum status (*work)(void *context, const struct sample *in, struct sample_list *out, struct error *e);
};

/* Appends a sample with everything of `in` but its picture, and with `ending` after the key. */
struct sample *mapper_add(struct sample_list *list, const struct sample *in, const char *ending);

/* The exit code. Messages have been printed, "in, out, rejected" too; with *results (may be NULL) the samples written. */
int mapper_run(const struct mapper *m, int64_t *results);

#endif
