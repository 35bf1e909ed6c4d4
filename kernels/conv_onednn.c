/* conv_onednn.c - the three convolutions through oneDNN, one image a piece.
 *
 * Primitives are made for a batch of one and for one thread, and run inside our own parallel loop over images: oneDNN's own
 * split of the work (and with it the order of its sums) depends on the number of threads, ours does not. Weights are reordered
 * to the layout that oneDNN likes best at the start of every run. The weight gradient sums images in PIECES groups.
 */
#include "kernels/conv_onednn.h"

#include <dnnl.h>
#include <stdlib.h>

#include "common/base/mem.h"
#include "kernels/cpu.h"

#define PIECES 8 /* of the weight gradient: enough for the cores of a desk machine; each costs one copy of the gradient */

struct lane { /* what one thread uses */
    dnnl_memory_t a, b, out, scratch;
};

struct state {
    enum conv_kind kind;
    struct conv_shape s;
    int lanes, pieces;
    struct lane *lane;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_t conv, reorder;
    dnnl_memory_t user_w, own_w; /* weights (or their gradient) in [K,R,S,C] and as the primitive wants them */
    int64_t w_bytes, scratch_bytes;
};

static enum status check(dnnl_status_t st, const char *what, struct error *e)
{
    return st == dnnl_success ? ST_OK : st_fail(e, "oneDNN: %s failed with status %d", what, (int)st);
}
#define TRY(call)                                                      \
    do {                                                               \
        if ((st = check((call), #call, e)) != ST_OK)                   \
            goto out;                                                  \
    } while (0)

static dnnl_memory_t memory_for(const dnnl_memory_desc_t *md, dnnl_engine_t engine)
{
    dnnl_memory_t m = NULL;
    dnnl_memory_create(&m, md, engine, DNNL_MEMORY_NONE);
    return m;
}

enum status conv_onednn_prepare(void *context, struct kernel_call *c, enum conv_kind kind, const struct conv_shape *s,
                                struct error *e)
{
    enum status st = cpu_need_f32(c, e);
    if (st != ST_OK)
        return st;
    int threads = cpu_threads(context), before = omp_get_max_threads();
    omp_set_num_threads(1); /* oneDNN sizes its primitives for the threads it sees when they are made */
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t fwd = NULL, pd = NULL, rpd = NULL;
    struct state *t = xcalloc(1, sizeof *t);
    c->state = t;
    t->kind = kind;
    t->s = *s;
    t->pieces = kind == CONV_WEIGHT_GRAD && s->N > PIECES ? PIECES : (int)s->N;
    t->lanes = threads < t->pieces ? threads : t->pieces;
    t->lane = xcalloc((size_t)t->lanes, sizeof *t->lane);
    TRY(dnnl_engine_create(&t->engine, dnnl_cpu, 0));
    TRY(dnnl_stream_create(&t->stream, t->engine, dnnl_stream_default_flags));
    TRY(dnnl_primitive_attr_create(&attr));
    TRY(dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user));

    dnnl_dims_t xd = {1, s->C, s->H, s->W}, wd = {s->K, s->C, s->R, s->S}, yd = {1, s->K, s->P, s->Q};
    dnnl_dims_t strides = {s->stride, s->stride}, dilates = {0, 0}, pad_l = {s->pad_h, s->pad_w};
    dnnl_dims_t pad_r = {(s->P - 1) * s->stride + s->R - s->H - s->pad_h, (s->Q - 1) * s->stride + s->S - s->W - s->pad_w};
    dnnl_memory_desc_t x, w, y, w_user;
    TRY(dnnl_memory_desc_init_by_tag(&x, 4, xd, dnnl_f32, dnnl_nhwc));
    TRY(dnnl_memory_desc_init_by_tag(&y, 4, yd, dnnl_f32, dnnl_nhwc));
    TRY(dnnl_memory_desc_init_by_tag(&w, 4, wd, dnnl_f32, dnnl_format_tag_any));
    TRY(dnnl_memory_desc_init_by_tag(&w_user, 4, wd, dnnl_f32, dnnl_ohwi));
    dnnl_convolution_desc_t d;
    TRY(dnnl_dilated_convolution_forward_desc_init(&d, dnnl_forward_training, dnnl_convolution_direct, &x, &w, NULL, &y, strides,
                                                   dilates, pad_l, pad_r));
    if (kind == CONV_FORWARD) {
        TRY(dnnl_primitive_desc_create(&pd, &d, attr, t->engine, NULL));
    } else {
        TRY(dnnl_primitive_desc_create(&fwd, &d, attr, t->engine, NULL));
        if (kind == CONV_INPUT_GRAD)
            TRY(dnnl_dilated_convolution_backward_data_desc_init(&d, dnnl_convolution_direct, &x, &w, &y, strides, dilates, pad_l,
                                                                 pad_r));
        else
            TRY(dnnl_dilated_convolution_backward_weights_desc_init(&d, dnnl_convolution_direct, &x, &w, NULL, &y, strides,
                                                                    dilates, pad_l, pad_r));
        TRY(dnnl_primitive_desc_create(&pd, &d, attr, t->engine, fwd));
    }
    TRY(dnnl_primitive_create(&t->conv, pd));
    const dnnl_memory_desc_t *own_w =
        dnnl_primitive_desc_query_md(pd, kind == CONV_WEIGHT_GRAD ? dnnl_query_diff_weights_md : dnnl_query_weights_md, 0);
    const dnnl_memory_desc_t *scratch = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    t->w_bytes = round_up((int64_t)dnnl_memory_desc_get_size(own_w), 256);
    t->scratch_bytes = round_up((int64_t)dnnl_memory_desc_get_size(scratch), 256);
    t->user_w = memory_for(&w_user, t->engine);
    t->own_w = memory_for(own_w, t->engine);
    if (kind == CONV_WEIGHT_GRAD)
        TRY(dnnl_reorder_primitive_desc_create(&rpd, own_w, t->engine, &w_user, t->engine, attr));
    else
        TRY(dnnl_reorder_primitive_desc_create(&rpd, &w_user, t->engine, own_w, t->engine, attr));
    TRY(dnnl_primitive_create(&t->reorder, rpd));
    for (int i = 0; i < t->lanes; i++) {
        struct lane *l = &t->lane[i];
        l->a = memory_for(kind == CONV_INPUT_GRAD ? &y : &x, t->engine);
        l->b = memory_for(kind == CONV_WEIGHT_GRAD ? &y : own_w, t->engine);
        l->out = memory_for(kind == CONV_WEIGHT_GRAD ? own_w : kind == CONV_FORWARD ? &y : &x, t->engine);
        l->scratch = memory_for(scratch, t->engine);
    }
    /* weight gradient: one sum a piece and one product a lane */
    c->workspace_bytes = t->w_bytes * (kind == CONV_WEIGHT_GRAD ? t->pieces + t->lanes : 1) + t->scratch_bytes * t->lanes;
out:
    dnnl_primitive_attr_destroy(attr);
    dnnl_primitive_desc_destroy(fwd);
    dnnl_primitive_desc_destroy(pd);
    dnnl_primitive_desc_destroy(rpd);
    omp_set_num_threads(before);
    return st;
}

static void image(const struct state *t, const struct lane *l, const void *a, const void *b, void *out, void *scratch)
{
    static const int arg[3][3] = {{DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST},
                                  {DNNL_ARG_DIFF_DST, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_SRC},
                                  {DNNL_ARG_SRC, DNNL_ARG_DIFF_DST, DNNL_ARG_DIFF_WEIGHTS}};
    dnnl_memory_set_data_handle(l->a, (void *)a);
    dnnl_memory_set_data_handle(l->b, (void *)b);
    dnnl_memory_set_data_handle(l->out, out);
    dnnl_memory_set_data_handle(l->scratch, scratch);
    const dnnl_exec_arg_t args[] = {
        {arg[t->kind][0], l->a}, {arg[t->kind][1], l->b}, {arg[t->kind][2], l->out}, {DNNL_ARG_SCRATCHPAD, l->scratch}};
    dnnl_primitive_execute(t->conv, t->stream, 4, args);
}

void conv_onednn_run(void *context, const struct kernel_call *c)
{
    const struct state *t = c->state;
    const struct conv_shape *s = &t->s;
    int64_t xs = s->H * s->W * s->C, ys = s->P * s->Q * s->K;
    char *ws = c->workspace;
    bool wgrad = t->kind == CONV_WEIGHT_GRAD;
    char *sums = ws, *products = ws + t->w_bytes * t->pieces;
    char *scratch = wgrad ? products + t->w_bytes * t->lanes : ws + t->w_bytes;
    int64_t a_step = t->kind == CONV_INPUT_GRAD ? ys : xs, o_step = t->kind == CONV_FORWARD ? ys : xs;
    const float *a = c->in[0].data, *b = c->in[1].data;

    if (!wgrad) {
        dnnl_memory_set_data_handle(t->user_w, (void *)b);
        dnnl_memory_set_data_handle(t->own_w, ws);
        const dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, t->user_w}, {DNNL_ARG_TO, t->own_w}};
        dnnl_primitive_execute(t->reorder, t->stream, 2, args);
    }
#pragma omp parallel num_threads(t->lanes)
    {
        int lane = omp_get_thread_num();
        omp_set_num_threads(1); /* of this thread only: oneDNN must not start threads of its own */
#pragma omp for schedule(static)
        for (int p = 0; p < t->pieces; p++) {
            if (!wgrad) {
                image(t, &t->lane[lane], a + p * a_step, ws, (float *)c->out[0].data + p * o_step,
                      scratch + lane * t->scratch_bytes);
                continue;
            }
            float *sum = (float *)(sums + p * t->w_bytes), *product = (float *)(products + lane * t->w_bytes);
            int64_t first = p * s->N / t->pieces, end = (p + 1) * s->N / t->pieces;
            for (int64_t n = first; n < end; n++) {
                image(t, &t->lane[lane], a + n * xs, b + n * ys, n == first ? sum : product, scratch + lane * t->scratch_bytes);
                for (int64_t i = 0; n > first && i < t->w_bytes / 4; i++)
                    sum[i] += product[i];
            }
        }
    }
    if (wgrad) {
        float *total = (float *)sums;
#pragma omp parallel for schedule(static) num_threads(cpu_threads(context))
        for (int64_t i = 0; i < t->w_bytes / 4; i++)
            for (int p = 1; p < t->pieces; p++)
                total[i] += total[i + p * (t->w_bytes / 4)];
        dnnl_memory_set_data_handle(t->own_w, sums);
        dnnl_memory_set_data_handle(t->user_w, c->out[0].data);
        const dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, t->own_w}, {DNNL_ARG_TO, t->user_w}};
        dnnl_primitive_execute(t->reorder, t->stream, 2, args);
    }
}

void conv_onednn_release(struct kernel_call *c)
{
    struct state *t = c->state;
    if (!t)
        return;
    for (int i = 0; i < t->lanes; i++) {
        dnnl_memory_destroy(t->lane[i].a);
        dnnl_memory_destroy(t->lane[i].b);
        dnnl_memory_destroy(t->lane[i].out);
        dnnl_memory_destroy(t->lane[i].scratch);
    }
    free(t->lane);
    dnnl_memory_destroy(t->user_w);
    dnnl_memory_destroy(t->own_w);
    dnnl_primitive_destroy(t->conv);
    dnnl_primitive_destroy(t->reorder);
    dnnl_stream_destroy(t->stream);
    dnnl_engine_destroy(t->engine);
    free(t);
    c->state = NULL;
}
