/* conv_cudnn.cu - see conv_cudnn.h.
 *
 * Measuring a training's convolutions at 128x128, about 130 shapes, is the longest part of its first start: a try takes about 12 ms
 * whatever is tried, nearly all of it loading kernels. So tries are few: cuDNN's heuristics say which come first, what won for similar shapes
 * is among them, and what is far slower than the best so far is left after two runs.
 */
#include "kernels/conv_cudnn.h"

#include <string.h>

#include "kernels/conv_graph.h"
#include "kernels/measure.cuh"

#define PLAIN_MOST 16
#define PLAIN_ALL 8   /* numbers of algorithms */
#define PLAIN_TRIED 2 /* of float32's list; of NCHW's all, as cuDNN does not know how fast Winograd is */

/* A convolution made by one method. */
struct conv_state {
    cudnnTensorDescriptor_t x, y;
    cudnnFilterDescriptor_t w;
    cudnnConvolutionDescriptor_t conv;
    enum conv_kind kind;
    enum conv_method method;
    int algo;               /* of the plain API; where there is a plan it serves operands that are not aligned */
    cudnnMathType_t math;
    struct conv_spec spec;  /* the same for the graph API */
    struct conv_plan *plan; /* NULL: the plain API */
    size_t workspace;       /* a multiple of 256 */
};

static cudnnDataType_t type_of(enum dtype d) { return d == DT_F16 ? CUDNN_DATA_HALF : d == DT_BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT; }

/* What an algorithm may use. In 16 bit implicit products need a few megabytes; in float32 cuDNN changes layouts, and needs room for
 * copies of the pictures. */
static size_t room_of(enum dtype d) { return (size_t)(d == DT_F32 ? 4096 : 256) << 20; }

static bool exact(const struct conv_state *s) { return s->spec.type == CUDNN_DATA_FLOAT && s->method != CONV_SPLIT; }

static void drop(struct conv_state *s) {
    if (!s)
        return;
    conv_plan_free(s->plan);
    cudnnDestroyTensorDescriptor(s->x);
    cudnnDestroyTensorDescriptor(s->y);
    cudnnDestroyFilterDescriptor(s->w);
    cudnnDestroyConvolutionDescriptor(s->conv);
    free(s);
}

void conv_release(void *context, struct kernel_call *c) {
    (void)context;
    drop((struct conv_state *)c->state);
    c->state = NULL;
}

/* Operands that play a part in the forward convolution: of the call's in[0], in[1], out[0]. */
static void parts(enum conv_kind kind, const void *a, const void *b, const void *out, const void *part[3]) {
    part[0] = kind == CONV_INPUT_GRAD ? out : a;
    part[1] = kind == CONV_WEIGHT_GRAD ? out : b;
    part[2] = kind == CONV_FORWARD ? out : kind == CONV_INPUT_GRAD ? a : b;
}

static struct conv_state *describe(const struct kernel_call *c, enum conv_kind kind, enum conv_method method) {
    struct conv_state *s = (struct conv_state *)calloc(1, sizeof *s);
    const void *part[3];
    if (!s)
        abort();
    parts(kind, &c->in[0], &c->in[1], &c->out[0], part);
    const struct operand *x = (const struct operand *)part[0], *w = (const struct operand *)part[1], *y = (const struct operand *)part[2];
    /* what the three products of `split` lie side by side along */
    const int split = method == CONV_SPLIT ? 3 : 1, more_n = kind == CONV_WEIGHT_GRAD ? split : 1, more_c = kind == CONV_FORWARD ? split : 1,
              more_k = kind == CONV_INPUT_GRAD ? split : 1;
    const cudnnTensorFormat_t format = method == CONV_NCHW ? CUDNN_TENSOR_NCHW : CUDNN_TENSOR_NHWC;
    const cudnnDataType_t type = type_of(c->in[0].dtype);
    const int stride = (int)c->a.i[0], pad_h = (int)c->a.i[1], pad_w = (int)c->a.i[2];
    s->kind = kind;
    s->method = method;
    s->spec.kind = kind;
    s->spec.type = type;
    s->spec.tensor_cores = split == 3;
    s->spec.stride = stride, s->spec.pad[0] = pad_h, s->spec.pad[1] = pad_w;
    memcpy(s->spec.x, x->dim, sizeof s->spec.x);
    memcpy(s->spec.w, w->dim, sizeof s->spec.w);
    memcpy(s->spec.y, y->dim, sizeof s->spec.y);
    s->spec.x[0] *= more_n, s->spec.y[0] *= more_n, s->spec.x[3] *= more_c, s->spec.w[3] *= more_c, s->spec.y[3] *= more_k, s->spec.w[0] *= more_k;
    s->math = type != CUDNN_DATA_FLOAT ? CUDNN_TENSOR_OP_MATH : exact(s) ? CUDNN_FMA_MATH : CUDNN_DEFAULT_MATH /* may be TF32 */;
    const int64_t *dx = s->spec.x, *dw = s->spec.w, *dy = s->spec.y;
    CUDNN_CHECK(cudnnCreateTensorDescriptor(&s->x));
    CUDNN_CHECK(cudnnCreateTensorDescriptor(&s->y));
    CUDNN_CHECK(cudnnCreateFilterDescriptor(&s->w));
    CUDNN_CHECK(cudnnCreateConvolutionDescriptor(&s->conv));
    CUDNN_CHECK(cudnnSetTensor4dDescriptor(s->x, format, type, (int)dx[0], (int)dx[3], (int)dx[1], (int)dx[2]));
    CUDNN_CHECK(cudnnSetTensor4dDescriptor(s->y, format, type, (int)dy[0], (int)dy[3], (int)dy[1], (int)dy[2]));
    CUDNN_CHECK(cudnnSetFilter4dDescriptor(s->w, type, format, (int)dw[0], (int)dw[3], (int)dw[1], (int)dw[2]));
    CUDNN_CHECK(cudnnSetConvolution2dDescriptor(s->conv, pad_h, pad_w, stride, stride, 1, 1, CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT));
    CUDNN_CHECK(cudnnSetConvolutionMathType(s->conv, s->math));
    return s;
}

/* ---- the plain API ---- */
static bool deterministic(enum conv_kind kind, int algo) {
    return kind == CONV_INPUT_GRAD    ? algo != CUDNN_CONVOLUTION_BWD_DATA_ALGO_0
           : kind == CONV_WEIGHT_GRAD ? algo != CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0 && algo != CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3
                                      : true;
}

/* Takes an algorithm if cuDNN has it for this convolution within `room`. */
static bool set_plain(struct cuda_context *c, struct conv_state *s, int algo, cudnnMathType_t math, size_t room) {
    size_t need = 0;
    cudnnStatus_t st;
    if (!deterministic(s->kind, algo) || (exact(s) && math != CUDNN_FMA_MATH) || cudnnSetConvolutionMathType(s->conv, math) != CUDNN_STATUS_SUCCESS)
        return false;
    if (s->kind == CONV_FORWARD)
        st = cudnnGetConvolutionForwardWorkspaceSize(c->dnn, s->x, s->w, s->conv, s->y, (cudnnConvolutionFwdAlgo_t)algo, &need);
    else if (s->kind == CONV_INPUT_GRAD)
        st = cudnnGetConvolutionBackwardDataWorkspaceSize(c->dnn, s->w, s->y, s->conv, s->x, (cudnnConvolutionBwdDataAlgo_t)algo, &need);
    else
        st = cudnnGetConvolutionBackwardFilterWorkspaceSize(c->dnn, s->x, s->y, s->conv, s->w, (cudnnConvolutionBwdFilterAlgo_t)algo, &need);
    if (st != CUDNN_STATUS_SUCCESS || need > room)
        return false;
    s->algo = algo;
    s->math = math;
    s->workspace = (need + 255) / 256 * 256;
    return true;
}

struct plain {
    int algo;
    cudnnMathType_t math;
};
template <typename Perf> static int take(const struct conv_state *s, const Perf *perf, int got, struct plain *list) {
    int n = 0;
    for (int i = 0; i < got; i++) {
        struct plain p = {(int)perf[i].algo, exact(s) ? CUDNN_FMA_MATH : perf[i].mathType};
        bool fresh = perf[i].status == CUDNN_STATUS_SUCCESS;
        for (int k = 0; k < n && fresh; k++)
            fresh = list[k].algo != p.algo || list[k].math != p.math;
        if (fresh)
            list[n++] = p;
    }
    return n;
}
/* In the order of cuDNN's liking; s->conv allows s->math. In 16 bit number 1 is the one for tensor cores in every direction. */
static int plain_list(struct cuda_context *c, const struct conv_state *s, struct plain list[PLAIN_MOST]) {
    int n = 0;
    if (s->spec.type != CUDNN_DATA_FLOAT) {
        list[0] = {1, s->math};
        return 1;
    }
    if (s->kind == CONV_FORWARD) {
        cudnnConvolutionFwdAlgoPerf_t perf[PLAIN_MOST];
        return cudnnGetConvolutionForwardAlgorithm_v7(c->dnn, s->x, s->w, s->conv, s->y, PLAIN_MOST, &n, perf) ? 0 : take(s, perf, n, list);
    }
    if (s->kind == CONV_INPUT_GRAD) {
        cudnnConvolutionBwdDataAlgoPerf_t perf[PLAIN_MOST];
        return cudnnGetConvolutionBackwardDataAlgorithm_v7(c->dnn, s->w, s->y, s->conv, s->x, PLAIN_MOST, &n, perf) ? 0 : take(s, perf, n, list);
    }
    cudnnConvolutionBwdFilterAlgoPerf_t perf[PLAIN_MOST];
    return cudnnGetConvolutionBackwardFilterAlgorithm_v7(c->dnn, s->x, s->y, s->conv, s->w, PLAIN_MOST, &n, perf) ? 0 : take(s, perf, n, list);
}

/* ---- running ---- */
static cudnnStatus_t run_plain(struct cuda_context *c, const struct conv_state *s, const struct conv_places *p, void *work) {
    const float one = 1, zero = 0;
    if (s->kind == CONV_FORWARD)
        return cudnnConvolutionForward(c->dnn, &one, s->x, p->in[0], s->w, p->in[1], s->conv, (cudnnConvolutionFwdAlgo_t)s->algo, work, s->workspace,
                                       &zero, s->y, p->out);
    if (s->kind == CONV_INPUT_GRAD)
        return cudnnConvolutionBackwardData(c->dnn, &one, s->w, p->in[1], s->y, p->in[0], s->conv, (cudnnConvolutionBwdDataAlgo_t)s->algo, work,
                                            s->workspace, &zero, s->x, p->out);
    return cudnnConvolutionBackwardFilter(c->dnn, &one, s->x, p->in[0], s->y, p->in[1], s->conv, (cudnnConvolutionBwdFilterAlgo_t)s->algo, work,
                                          s->workspace, &zero, s->w, p->out);
}

/* All of one convolution: operands laid out as the method wants them, cuDNN's part, the result brought back. */
static cudnnStatus_t run_all(struct cuda_context *c, const struct kernel_call *k, const struct conv_state *s, const struct conv_plan *plan,
                             void *work, void *stage) {
    const struct conv_places p = conv_enter(c, k, s->kind, s->method, stage);
    const void *part[3];
    cudnnStatus_t st;
    parts(s->kind, p.in[0], p.in[1], p.out, part);
    if (plan && ((uintptr_t)part[0] | (uintptr_t)part[1] | (uintptr_t)part[2]) % 16 == 0)
        st = conv_plan_run(c, plan, part[0], part[1], part[2], work);
    else
        st = run_plain(c, s, &p, work);
    conv_leave(c, k, s->method, &p);
    return st;
}

void conv_run(void *context, const struct kernel_call *c) {
    const struct conv_state *s = (const struct conv_state *)c->state;
    CUDNN_CHECK(run_all(cuda(context), c, s, s->plan, c->workspace, (char *)c->workspace + s->workspace));
}

/* ---- choosing ---- */
struct trial {
    struct cuda_context *c;
    struct kernel_call call; /* on scratch memory */
    const struct conv_state *s;
    void *work, *stage;
};
static float time_plan(void *arg, const struct conv_plan *plan, float worth) {
    const struct trial *t = (const struct trial *)arg;
    return measure_run(t->c, 2, worth, [&] { return run_all(t->c, &t->call, t->s, plan, t->work, t->stage) == CUDNN_STATUS_SUCCESS; });
}

/* Operands, workspace and stage for measuring; with less room where there is not that much. */
static bool place(struct cuda_context *c, const struct kernel_call *k, const struct conv_state *s, struct trial *t, size_t *room) {
    size_t bytes[3], staged, none;
    char *p = NULL;
    conv_stage_bytes(k, s->method, bytes, &staged);
    conv_stage_bytes(k, CONV_AS_IS, bytes, &none);
    for (int i = 0; i < 3 && !p; i++) {
        *room = room_of(k->in[0].dtype) >> (3 * i);
        p = (char *)measure_scratch(c, bytes[0] + bytes[1] + bytes[2] + *room + staged);
    }
    if (!p)
        return false;
    t->c = c;
    t->call = *k;
    t->s = s;
    t->call.in[0].data = p;
    t->call.in[1].data = p + bytes[0];
    t->call.out[0].data = p + bytes[0] + bytes[1];
    t->work = p + bytes[0] + bytes[1] + bytes[2];
    t->stage = (char *)t->work + *room;
    return true;
}

/* The fastest way of one method that beats *least; what it takes is set in s. False: none. */
static bool fastest(struct cuda_context *c, const struct kernel_call *k, struct conv_state *s, const char *prefix, float *least) {
    struct trial t;
    struct plain list[PLAIN_MOST], best = {-1, CUDNN_DEFAULT_MATH};
    const char *before[4];
    size_t room;
    float plain = INFINITY;
    if (!place(c, k, s, &t, &room))
        return false;
    const cudnnMathType_t most = s->math;
    int n = plain_list(c, s, list), tried = 0;
    for (int i = 0; i < n + PLAIN_ALL && (i < n ? tried < PLAIN_TRIED || s->method == CONV_NCHW : best.algo < 0); i++) {
        struct plain now = i < n ? list[i] : (struct plain){i - n, most}; /* any, where none of its list works */
        if (!set_plain(c, s, now.algo, now.math, room))
            continue;
        float ms = time_plan(&t, NULL, fminf(plain, *least));
        tried += ms < INFINITY;
        if (ms < plain)
            plain = ms, best = now;
    }
    if (best.algo < 0) /* operands that are not aligned need one */
        return false;
    set_plain(c, s, best.algo, best.math, room);
    bool faster = plain < *least;
    *least = fminf(plain, *least);
    if (exact(s))
        return faster;
    s->plan = conv_plan_best(c, &s->spec, choices_plans(measure_choices(c), prefix, 4, before), before, room, time_plan, &t, least);
    return faster || s->plan;
}

/* What the workspace has to hold beside the stage. */
static void settle(struct conv_state *s) {
    size_t need = s->plan ? (conv_plan_workspace(s->plan) + 255) / 256 * 256 : 0;
    s->workspace = need > s->workspace ? need : s->workspace;
}

static struct conv_state *remembered(struct cuda_context *c, const struct kernel_call *k, enum conv_kind kind, const char *key) {
    struct choice x;
    size_t room = room_of(k->in[0].dtype);
    if (!choices_recall(measure_choices(c), key, &x) || x.method >= CONV_METHODS || !conv_method_fits(k, kind, (enum conv_method)x.method))
        return NULL;
    struct conv_state *s = describe(k, kind, (enum conv_method)x.method);
    if (set_plain(c, s, x.algo, (cudnnMathType_t)x.math, room) &&
        (!*x.plan || (!exact(s) && (s->plan = conv_plan_make(c, &s->spec, x.plan, room)))))
        return s;
    drop(s);
    return NULL;
}

static struct conv_state *measured(struct cuda_context *c, const struct kernel_call *k, enum conv_kind kind, const char *prefix) {
    struct conv_state *best = NULL;
    float least = INFINITY;
    for (int m = 0; m < CONV_METHODS; m++) {
        if (!conv_method_fits(k, kind, (enum conv_method)m))
            continue;
        struct conv_state *s = describe(k, kind, (enum conv_method)m);
        float bound = m == CONV_SPLIT ? least / CONV_SPLIT_GAIN : least;
        if (fastest(c, k, s, prefix, &bound)) {
            drop(best);
            best = s, least = bound;
        } else
            drop(s);
    }
    return best;
}

enum status conv_prepare(void *context, struct kernel_call *c, enum conv_kind kind, struct error *e) {
    static const char *const names[] = {"conv2d", "conv2d_input_grad", "conv2d_weight_grad"};
    struct cuda_context *cu = cuda(context);
    const struct operand *each[3] = {&c->in[0], &c->in[1], &c->out[0]};
    char key[CHOICE_KEY], prefix[64];
    int length = snprintf(prefix, sizeof prefix, "%s %s ", names[kind], dtype_name(c->in[0].dtype));
    snprintf(key, sizeof key, "%s", prefix);
    for (int k = 0; k < 3; k++)
        if (operand_count(each[k]) >= INT32_MAX) /* it has no descriptor for them */
            return st_fail(e, "a tensor of %lld values; cuDNN takes less than 2^31 (a smaller batch needs less)", (long long)operand_count(each[k]));
    for (int k = 0; k < 3; k++)
        length += snprintf(key + length, sizeof key - (size_t)length, "%lldx%lldx%lldx%lld ", (long long)each[k]->dim[0], (long long)each[k]->dim[1],
                           (long long)each[k]->dim[2], (long long)each[k]->dim[3]);
    snprintf(key + length, sizeof key - (size_t)length, "stride %lld pad %lld %lld", (long long)c->a.i[0], (long long)c->a.i[1], (long long)c->a.i[2]);
    struct conv_state *s = remembered(cu, c, kind, key);
    if (!s) {
        if (!(s = measured(cu, c, kind, prefix)))
            return st_fail(e, "cuDNN has no deterministic algorithm for this convolution within the device's memory");
        struct choice x = {s->method, s->algo, s->math, ""};
        if (s->plan)
            snprintf(x.plan, sizeof x.plan, "%s", conv_plan_text(s->plan));
        choices_remember(measure_choices(cu), key, &x);
    }
    settle(s);
    size_t bytes[3], staged;
    conv_stage_bytes(c, s->method, bytes, &staged);
    c->state = s;
    c->workspace_bytes = (int64_t)(s->workspace + staged);
    return ST_OK;
}
