/* conv_onednn.c - the three convolutions through oneDNN, cut into pieces of our own.
 *
 * Primitives are made for one thread and run inside our own parallel loop: oneDNN's own split of the work (and with it the order
 * of its sums) depends on the number of threads, ours does not. A piece is a chunk of images times a slice of channels: of K in the
 * forward pass and the weight gradient, of C in the input gradient. Slices are used where images alone do not give PIECES pieces;
 * a slice of an NHWC tensor is not dense, which oneDNN's fast kernels want, so it is copied to or from a buffer of its own (one
 * pass over a tensor that takes part in R*S*C products an element). The weight gradient adds what its groups of images give, in
 * their order; slices come first there because they cost no sum (at 4x4 pixels and 512 channels the sum of eight gradients of
 * 9.4 MB costs more than the convolution).
 *
 * NHWC direct kernels (brgconv, jit) with reordered weights reach 100-120 % of the sgemm rate on AVX-512, as fast as the blocked
 * layouts, which would cost two more passes. The weights are reordered at the start of every run.
 */
#ifndef FACEMILL_NO_ONEDNN
#include <dnnl.h>
#include <stdlib.h>

#include "common/base/mem.h"
#include "kernels/conv_cpu.h"
#include "kernels/cpu.h"

#define PIECES 8            /* wanted: enough for the cores of a desk machine */
#define MIN_SLICE 64        /* channels; narrower ones lose more in the kernel than another core brings */
#define CHUNK_FLOPS 3e7     /* work that makes the cost of a call (some microseconds) small */

struct lane { /* what one thread uses */
    dnnl_memory_t a, b, out, scratch;
};

struct state {
    const struct conv_method *method;
    enum conv_kind kind;
    struct conv_shape s;
    int lanes, slices, groups;
    int64_t chunk;                     /* images a call */
    struct lane *lane;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_t conv, reorder;
    dnnl_memory_t user_w, own_w;       /* a slice of weights (or gradient), in [K,R,S,C] and as the primitive wants it */
    int64_t w_bytes, scratch_bytes, part_bytes; /* own_w; scratchpad of a lane; sliced activations of a lane */
};

static enum status check(dnnl_status_t st, const char *what, struct error *e)
{
    return st == dnnl_success ? ST_OK : st_fail(e, "oneDNN: %s failed with status %d", what, (int)st);
}
#define TRY(call)                                    \
    do {                                             \
        if ((st = check((call), #call, e)) != ST_OK) \
            goto out;                                \
    } while (0)

static dnnl_memory_t memory_for(const dnnl_memory_desc_t *md, dnnl_engine_t engine)
{
    dnnl_memory_t m = NULL;
    dnnl_memory_create(&m, md, engine, DNNL_MEMORY_NONE);
    return m;
}

static void choose_pieces(struct state *t)
{
    const struct conv_shape *s = &t->s;
    double flops = 2.0 * (double)(s->P * s->Q * s->K) * (double)(s->R * s->S * s->C); /* of one image */
    int64_t channels = t->kind == CONV_INPUT_GRAD ? s->C : s->K;
    t->slices = 1;
    while (t->slices < PIECES && (t->kind == CONV_WEIGHT_GRAD || s->N * t->slices < PIECES) &&
           channels % (t->slices * 32) == 0 && channels / (t->slices * 2) >= MIN_SLICE && (double)s->N * flops > CHUNK_FLOPS)
        t->slices *= 2;
    int64_t want = s->N * t->slices / PIECES; /* images a chunk that still leave PIECES pieces */
    while (want > 1 && (double)(want / 2) * flops / t->slices > CHUNK_FLOPS)
        want /= 2;
    for (t->chunk = want > 1 ? want : 1; s->N % t->chunk;) /* a divisor of N, so that one primitive serves all chunks */
        t->chunk--;
    int64_t chunks = s->N / t->chunk, groups = (PIECES + t->slices - 1) / t->slices;
    t->groups = (int)(t->kind == CONV_WEIGHT_GRAD && chunks > groups ? groups : chunks);
}

static bool suits(enum conv_kind kind, const struct conv_shape *s)
{
    (void)kind, (void)s;
    return true;
}

static enum status prepare(void *context, struct kernel_call *c, enum conv_kind kind, const struct conv_shape *s, struct error *e)
{
    enum status st = ST_OK;
    int threads = cpu_threads(context), before = omp_get_max_threads();
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t fwd = NULL, pd = NULL, rpd = NULL;
    struct state *t = xcalloc(1, sizeof *t);
    c->state = t;
    t->method = &conv_onednn;
    t->kind = kind;
    t->s = *s;
    choose_pieces(t);
    t->lanes = threads < t->groups * t->slices ? threads : t->groups * t->slices;
    t->lane = xcalloc((size_t)t->lanes, sizeof *t->lane);
    omp_set_num_threads(1); /* oneDNN sizes its primitives for the threads it sees when they are made */
    TRY(dnnl_engine_create(&t->engine, dnnl_cpu, 0));
    TRY(dnnl_stream_create(&t->stream, t->engine, dnnl_stream_default_flags));
    TRY(dnnl_primitive_attr_create(&attr));
    TRY(dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user));

    int64_t K = s->K, C = s->C, N = t->chunk; /* of a piece */
    *(kind == CONV_INPUT_GRAD ? &C : &K) /= t->slices;
    t->part_bytes = t->slices == 1 ? 0 : round_up(4 * N * (kind == CONV_INPUT_GRAD ? s->H * s->W * C : s->P * s->Q * K), 256);
    dnnl_dims_t xd = {N, C, s->H, s->W}, wd = {K, C, s->R, s->S}, yd = {N, K, s->P, s->Q};
    dnnl_dims_t w_strides = {s->R * s->S * s->C, 1, s->S * s->C, s->C};
    dnnl_dims_t strides = {s->stride, s->stride}, dilates = {0, 0}, pad_l = {s->pad_h, s->pad_w};
    dnnl_dims_t pad_r = {(s->P - 1) * s->stride + s->R - s->H - s->pad_h, (s->Q - 1) * s->stride + s->S - s->W - s->pad_w};
    dnnl_memory_desc_t x, w, y, w_user;
    TRY(dnnl_memory_desc_init_by_tag(&x, 4, xd, dnnl_f32, dnnl_nhwc));
    TRY(dnnl_memory_desc_init_by_tag(&y, 4, yd, dnnl_f32, dnnl_nhwc));
    TRY(dnnl_memory_desc_init_by_tag(&w, 4, wd, dnnl_f32, dnnl_format_tag_any));
    TRY(dnnl_memory_desc_init_by_strides(&w_user, 4, wd, dnnl_f32, w_strides));
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
    for (int i = 0; i < t->lanes; i++) {
        struct lane *l = &t->lane[i];
        l->a = memory_for(kind == CONV_INPUT_GRAD ? &y : &x, t->engine);
        l->b = memory_for(kind == CONV_WEIGHT_GRAD ? &y : own_w, t->engine);
        l->out = memory_for(kind == CONV_WEIGHT_GRAD ? own_w : kind == CONV_FORWARD ? &y : &x, t->engine);
        l->scratch = memory_for(scratch, t->engine);
    }
    omp_set_num_threads(threads); /* a reorder sums nothing: oneDNN may split it as it likes */
    if (kind == CONV_WEIGHT_GRAD)
        TRY(dnnl_reorder_primitive_desc_create(&rpd, own_w, t->engine, &w_user, t->engine, NULL));
    else
        TRY(dnnl_reorder_primitive_desc_create(&rpd, &w_user, t->engine, own_w, t->engine, NULL));
    TRY(dnnl_primitive_create(&t->reorder, rpd));
    /* weights by slices; the weight gradient has one sum for each group and slice and one product for each lane */
    int64_t weights = kind == CONV_WEIGHT_GRAD ? t->groups * t->slices + t->lanes : t->slices;
    c->workspace_bytes = weights * t->w_bytes + t->lanes * (t->part_bytes + t->scratch_bytes);
out:
    dnnl_primitive_attr_destroy(attr);
    dnnl_primitive_desc_destroy(fwd);
    dnnl_primitive_desc_destroy(pd);
    dnnl_primitive_desc_destroy(rpd);
    omp_set_num_threads(before);
    return st;
}

static void call_conv(const struct state *t, const struct lane *l, const void *a, const void *b, void *out, void *scratch)
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

/* Between [K,R,S,C] and the primitive's layout, slice by slice. */
static void reorder_weights(const struct state *t, float *user, char *own)
{
    const struct conv_shape *s = &t->s;
    int64_t step = t->kind == CONV_INPUT_GRAD ? s->C / t->slices : s->K / t->slices * s->R * s->S * s->C;
    bool to_user = t->kind == CONV_WEIGHT_GRAD;
    for (int i = 0; i < t->slices; i++) {
        dnnl_memory_set_data_handle(t->user_w, user + i * step);
        dnnl_memory_set_data_handle(t->own_w, own + i * t->w_bytes);
        const dnnl_exec_arg_t args[] = {{to_user ? DNNL_ARG_TO : DNNL_ARG_FROM, t->user_w},
                                        {to_user ? DNNL_ARG_FROM : DNNL_ARG_TO, t->own_w}};
        dnnl_primitive_execute(t->reorder, t->stream, 2, args);
    }
}

static void copy_channels(float *to, int64_t to_step, const float *from, int64_t from_step, int64_t channels, int64_t pixels)
{
    for (int64_t i = 0; i < pixels; i++)
        memcpy(to + i * to_step, from + i * from_step, (size_t)channels * sizeof *to);
}

/* One slice of one chunk of y = conv(x, w) or its adjoint in x. */
static void forward_piece(const struct state *t, const struct kernel_call *c, int64_t chunk, int slice, const struct lane *l,
                          const char *weights, float *part, void *scratch)
{
    const struct conv_shape *s = &t->s;
    int64_t xs = s->H * s->W, ys = s->P * s->Q;
    bool adj = t->kind == CONV_INPUT_GRAD;
    int64_t in_size = (adj ? ys * s->K : xs * s->C) * t->chunk, out_pixels = (adj ? xs : ys) * t->chunk;
    int64_t channels = adj ? s->C : s->K, own = channels / t->slices;
    float *out = (float *)c->out[0].data + chunk * out_pixels * channels;
    call_conv(t, l, (const float *)c->in[0].data + chunk * in_size, weights + slice * t->w_bytes, t->slices > 1 ? part : out,
              scratch);
    if (t->slices > 1)
        copy_channels(out + slice * own, channels, part, own, own, out_pixels);
}

/* One slice of the sum over one group of chunks. */
static void weight_piece(const struct state *t, const struct kernel_call *c, int group, int slice, const struct lane *l, float *sum,
                         float *product, float *part, void *scratch)
{
    const struct conv_shape *s = &t->s;
    int64_t x_size = s->H * s->W * s->C * t->chunk, y_pixels = s->P * s->Q * t->chunk, own = s->K / t->slices;
    int64_t chunks = s->N / t->chunk, first = group * chunks / t->groups, end = (group + 1) * chunks / t->groups;
    for (int64_t i = first; i < end; i++) {
        const float *dy = (const float *)c->in[1].data + i * y_pixels * s->K;
        if (t->slices > 1) {
            copy_channels(part, own, dy + slice * own, s->K, own, y_pixels);
            dy = part;
        }
        call_conv(t, l, (const float *)c->in[0].data + i * x_size, dy, i == first ? sum : product, scratch);
        for (int64_t j = 0; i > first && j < t->w_bytes / 4; j++)
            sum[j] += product[j];
    }
}

static void run(void *context, const struct kernel_call *c)
{
    const struct state *t = c->state;
    bool wgrad = t->kind == CONV_WEIGHT_GRAD;
    int pieces = t->groups * t->slices, before = omp_get_max_threads();
    char *weights = c->workspace, *products = weights + (wgrad ? pieces : t->slices) * t->w_bytes;
    char *lanes = products + (wgrad ? t->lanes * t->w_bytes : 0);

    omp_set_num_threads(cpu_threads(context));
    if (!wgrad)
        reorder_weights(t, c->in[1].data, weights);
#pragma omp parallel num_threads(t->lanes)
    {
        int lane = omp_get_thread_num();
        char *part = lanes + lane * (t->part_bytes + t->scratch_bytes);
        omp_set_num_threads(1); /* of this thread only: oneDNN must not start threads of its own */
#pragma omp for schedule(static)
        for (int p = 0; p < pieces; p++) {
            const struct lane *l = &t->lane[lane];
            if (!wgrad)
                forward_piece(t, c, p / t->slices, p % t->slices, l, weights, (float *)part, part + t->part_bytes);
            else
                weight_piece(t, c, p / t->slices, p % t->slices, l, (float *)(weights + p * t->w_bytes),
                             (float *)(products + lane * t->w_bytes), (float *)part, part + t->part_bytes);
        }
    }
    if (wgrad) {
        float *total = (float *)weights;
        int64_t size = t->slices * t->w_bytes / 4;
        if (t->groups > 1) {
#pragma omp parallel for schedule(static) num_threads(cpu_threads(context))
            for (int64_t i = 0; i < size; i += 1024)
                for (int g = 1; g < t->groups; g++)
                    for (int64_t j = i; j < i + 1024 && j < size; j++)
                        total[j] += total[j + g * size];
        }
        reorder_weights(t, c->out[0].data, weights);
    }
    omp_set_num_threads(before);
}

static void release(void *state)
{
    struct state *t = state;
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
}

const struct conv_method conv_onednn = {"oneDNN", suits, prepare, run, release};
#endif
