/* conv_graph.h - a convolution through cuDNN's graph API, which knows more ways than the three algorithms a direction that the plain API
 * offers: engines with knobs (tiles, clusters, stages, split sums). The first of those that its heuristics name are tried and timed, or
 * with FACEMILL_CUDA_CONV=all every one; for weight gradients the winner's knobs are then turned one by one.
 *
 *     conv_plan_best(&plan, c, &spec, in, out, work, room)   measures; conv_plan_text(plan) is what to remember
 *     conv_plan_make(&plan, c, &spec, text, room)            from what was remembered
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
    bool tensor_cores;              /* float32: TF32 is allowed */
    int64_t x[4], w[4], y[4];       /* N,H,W,C; K,R,S,C; N,P,Q,K: dense in this order */
    int64_t stride, pad[2];
};

struct conv_plan;
#define CONV_PLAN_TEXT 128
/* x, w, y: 16-byte aligned memory of the right size, of which the result is overwritten. NULL when there is none. */
struct conv_plan *conv_plan_best(struct cuda_context *c, const struct conv_spec *s, void *x, void *w, void *y, void *work, size_t room);
struct conv_plan *conv_plan_make(struct cuda_context *c, const struct conv_spec *s, const char *text, size_t room);
const char *conv_plan_text(const struct conv_plan *p);
float conv_plan_ms(const struct conv_plan *p); /* as measured by conv_plan_best */
size_t conv_plan_workspace(const struct conv_plan *p);
cudnnStatus_t conv_plan_run(struct cuda_context *c, const struct conv_plan *p, const void *x, const void *w, const void *y, void *work);
void conv_plan_free(struct conv_plan *p); /* NULL is fine */

#endif
