/* conv_graph.h - a convolution through cuDNN's graph API, which knows more ways than the three algorithms a direction that the plain API
 * offers: engines with knobs (tiles, clusters, split sums). A few are tried: the first that its heuristics name, and those that won for
 * similar convolutions. Measured on an H200: weight gradients of 32x32 pictures 1.5 times as fast, of 16x16 1.3 times, input gradients 6 %,
 * the rest alike; trying 22 of the list and turning every knob of the best found nothing more and took 0.6 s a convolution.
 *
 *     p = conv_plan_best(c, &spec, n, plans_that_won, room, time, arg, &ms);     conv_plan_text(p) is what to remember
 *     p = conv_plan_make(c, &spec, text, room);                                  from what was remembered
 *     conv_plan_run(c, p, x, w, y, work);
 *
 * Left out: engines that give other bits from run to run, that add up in 16 bits, Winograd in 16 bits (its transforms round), float32
 * through narrower types other than TF32, and engines compiled at run time (a start would take minutes). cuDNN 9.19 has none at all for
 * sm_90 that takes bfloat16 and gives float32.
 */
#ifndef FACEMILL_CONV_GRAPH_H
#define FACEMILL_CONV_GRAPH_H

#include "kernels/conv_f32.h"

struct conv_spec {
    enum conv_kind kind;
    cudnnDataType_t type;
    bool tensor_cores;              /* float32: TF32, and nothing but tensor cores */
    int64_t x[4], w[4], y[4];       /* N,H,W,C; K,R,S,C; N,P,Q,K: dense in this order */
    int64_t stride, pad[2];
};

struct conv_plan;
#define CONV_PLAN_TEXT 128
/* Milliseconds of a run; it may give up where that is far above `worth`, and be infinite. */
typedef float conv_plan_time(void *arg, const struct conv_plan *p, float worth);
/* The fastest plan that takes at most `room` bytes of workspace and less than *least milliseconds, which becomes its time; NULL: none does. */
struct conv_plan *conv_plan_best(struct cuda_context *c, const struct conv_spec *s, int n_before, const char *const *before, size_t room,
                                 conv_plan_time *time, void *arg, float *least);
struct conv_plan *conv_plan_make(struct cuda_context *c, const struct conv_spec *s, const char *text, size_t room);
const char *conv_plan_text(const struct conv_plan *p);
size_t conv_plan_workspace(const struct conv_plan *p);
/* x, w, y: 16-byte aligned. */
cudnnStatus_t conv_plan_run(struct cuda_context *c, const struct conv_plan *p, const void *x, const void *w, const void *y, void *work);
void conv_plan_free(struct conv_plan *p); /* NULL is fine */

#endif
