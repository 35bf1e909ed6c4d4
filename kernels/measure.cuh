/* measure.cuh - what choosing by time needs: the clock, memory to measure in, and what was chosen before (choices.h).
 *
 *     choices *known = measure_choices(c);
 *     char *p = (char *)measure_scratch(c, bytes);
 *     float ms = measure_run(c, 2, least, [&] { return queue one run, false where it cannot; });
 */
#ifndef FACEMILL_MEASURE_CUH
#define FACEMILL_MEASURE_CUH

#include <math.h>

#include "kernels/cuda.h"

extern "C" {
#include "kernels/choices.h"
}

struct choices *measure_choices(struct cuda_context *c);
/* Grown when needed and kept until measure_release; NULL when there is not enough. It holds 0.0115, in float16 1.06: zeros draw less power
 * and run faster. */
void *measure_scratch(struct cuda_context *c, size_t bytes);
void measure_release(struct cuda_context *c);
void measure_close(struct cuda_context *c);

struct measure_events {
    cudaEvent_t start, stop;
};
/* Holds the stream for a while and records `start`: what is queued meanwhile runs without gaps, as it will when replayed. */
struct measure_events measure_start(struct cuda_context *c);
float measure_stop(struct cuda_context *c, struct measure_events *e); /* waits; milliseconds between */

/* Milliseconds of a run: the least of blocks of `runs`, of which there are as many as it takes until two agree within 2 %, five at most, and
 * one if that is 1.3 times worth or slower. Infinite where it cannot run. The first run, which loads the kernels, does not count. */
template <typename Run> static float measure_run(struct cuda_context *c, int runs, float worth, Run run) {
    float least = INFINITY, second = INFINITY;
    bool ok = run();
    CUDA_CHECK(cudaStreamSynchronize(c->stream));
    for (int block = 0; block < 5 && ok; block++) {
        struct measure_events e = measure_start(c);
        for (int i = 0; i < runs && ok; i++)
            ok = run();
        float ms = measure_stop(c, &e) / (float)runs;
        second = fminf(second, fmaxf(ms, least));
        least = fminf(ms, least);
        if (least >= 1.3f * worth || second <= 1.02f * least)
            break;
    }
    return ok ? least : INFINITY;
}

#endif
