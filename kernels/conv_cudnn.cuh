/* conv_cudnn.cuh - the three convolutions through cuDNN's C API: descriptors, and the algorithm chosen by measuring, among the
 * plain API's three a direction or, with FACEMILL_CUDA_CONV=graph or all, the ways of the graph API (conv_graph.h) where that has one.
 *
 * Activations are NHWC, filters KRSC: the engine's layouts are cuDNN's, so nothing is converted. Float32 has
 * float32's accuracy (conv_f32.h says how); 16-bit types use tensor cores and accumulate in float32. Only algorithms cuDNN calls deterministic are
 * taken, so equal inputs give equal bytes.
 */
#ifndef FACEMILL_CONV_CUDNN_CUH
#define FACEMILL_CONV_CUDNN_CUH

#include "kernels/conv_choice.h"
#include "kernels/conv_f32.h"
#include "kernels/conv_graph.h"

#include <string.h>

struct conv_state {
    cudnnTensorDescriptor_t x, y;
    cudnnFilterDescriptor_t w;
    cudnnConvolutionDescriptor_t conv;
    enum conv_kind kind;
    enum conv_method method;
    cudnnMathType_t math; /* the most that may be used */
    int algo;
    struct conv_spec spec; /* the same for the graph API */
    struct conv_plan *plan; /* NULL: the plain API */
    size_t workspace; /* a multiple of 256 */
};

static inline cudnnDataType_t conv_type(enum dtype d) {
    return d == DT_F16 ? CUDNN_DATA_HALF : d == DT_BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
}

static inline void conv_release(void *context, struct kernel_call *c) {
    struct conv_state *s = (struct conv_state *)c->state;
    (void)context;
    if (!s)
        return;
    conv_plan_free(s->plan);
    cudnnDestroyTensorDescriptor(s->x);
    cudnnDestroyTensorDescriptor(s->y);
    cudnnDestroyFilterDescriptor(s->w);
    cudnnDestroyConvolutionDescriptor(s->conv);
    free(s);
    c->state = NULL;
}

/* x, y, w: the operands that play these parts in the forward convolution. */
static inline struct conv_state *conv_describe(const struct kernel_call *c, const struct operand *x, const struct operand *y,
                                               const struct operand *w, enum conv_kind kind) {
    struct conv_state *s = (struct conv_state *)calloc(1, sizeof *s);
    s->kind = kind;
    s->method = conv_method_of(c, kind);
    /* what the three products of `split` lie side by side along */
    const int split = s->method == CONV_SPLIT ? 3 : 1, more_n = kind == CONV_WEIGHT_GRAD ? split : 1, more_c = kind == CONV_FORWARD ? split : 1,
              more_k = kind == CONV_INPUT_GRAD ? split : 1;
    const cudnnTensorFormat_t format = s->method == CONV_NCHW ? CUDNN_TENSOR_NCHW : CUDNN_TENSOR_NHWC;
    cudnnDataType_t type = conv_type(x->dtype);
    s->math = type != CUDNN_DATA_FLOAT ? CUDNN_TENSOR_OP_MATH : split == 3 ? CUDNN_DEFAULT_MATH /* TF32 is one */ : CUDNN_FMA_MATH;
    int stride = (int)c->a.i[0], pad_h = (int)c->a.i[1], pad_w = (int)c->a.i[2];
    CUDNN_CHECK(cudnnCreateTensorDescriptor(&s->x));
    CUDNN_CHECK(cudnnCreateTensorDescriptor(&s->y));
    CUDNN_CHECK(cudnnCreateFilterDescriptor(&s->w));
    CUDNN_CHECK(cudnnCreateConvolutionDescriptor(&s->conv));
    s->spec.kind = kind;
    s->spec.type = type;
    s->spec.tensor_cores = split == 3;
    s->spec.stride = stride, s->spec.pad[0] = pad_h, s->spec.pad[1] = pad_w;
    memcpy(s->spec.x, x->dim, sizeof s->spec.x);
    memcpy(s->spec.w, w->dim, sizeof s->spec.w);
    memcpy(s->spec.y, y->dim, sizeof s->spec.y);
    s->spec.x[0] *= more_n, s->spec.y[0] *= more_n, s->spec.x[3] *= more_c, s->spec.w[3] *= more_c, s->spec.y[3] *= more_k, s->spec.w[0] *= more_k;
    const int64_t *dx = s->spec.x, *dw = s->spec.w, *dy = s->spec.y;
    CUDNN_CHECK(cudnnSetTensor4dDescriptor(s->x, format, type, (int)dx[0], (int)dx[3], (int)dx[1], (int)dx[2]));
    CUDNN_CHECK(cudnnSetTensor4dDescriptor(s->y, format, type, (int)dy[0], (int)dy[3], (int)dy[1], (int)dy[2]));
    CUDNN_CHECK(cudnnSetFilter4dDescriptor(s->w, type, format, (int)dw[0], (int)dw[3], (int)dw[1], (int)dw[2]));
    CUDNN_CHECK(cudnnSetConvolution2dDescriptor(s->conv, pad_h, pad_w, stride, stride, 1, 1, CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT));
    CUDNN_CHECK(cudnnSetConvolutionMathType(s->conv, s->math));
    return s;
}

/* Operands that a caller's window holds may lie anywhere, and plans are made for 16-byte alignment; those of 16-bit and split convolutions
 * come from the arena. */
static inline bool conv_by_graph(const struct conv_state *s) {
    static int answer = -1;
    if (answer < 0) {
        const char *wish = getenv("FACEMILL_CUDA_CONV");
        answer = wish && strcmp(wish, "plain");
    }
    return answer && (s->spec.type != CUDNN_DATA_FLOAT || s->method == CONV_SPLIT);
}

/* The operands in the parts they play in the forward convolution. */
static inline void conv_parts(enum conv_kind kind, const void *a, const void *b, const void *out, const void *part[3]) {
    part[0] = kind == CONV_INPUT_GRAD ? out : a;
    part[1] = kind == CONV_WEIGHT_GRAD ? out : b;
    part[2] = kind == CONV_FORWARD ? out : kind == CONV_INPUT_GRAD ? a : b;
}
/* False: the plain API is to do it. */
static inline bool conv_run_plan(struct cuda_context *c, const struct conv_state *s, const struct conv_places *p, void *work) {
    const void *part[3];
    if (!s->plan)
        return false;
    conv_parts(s->kind, p->in[0], p->in[1], p->out, part);
    if (((uintptr_t)part[0] | (uintptr_t)part[1] | (uintptr_t)part[2]) % 16)
        return false;
    CUDNN_CHECK(conv_plan_run(c, s->plan, part[0], part[1], part[2], work));
    return true;
}

/* An algorithm's workspace by cuDNN's own account, which also says whether it can do this convolution at all. */
template <typename Perf, typename Size, typename Find>
static inline enum status conv_choose(void *context, struct kernel_call *c, const char *kind, Size size_of, Find find, struct error *e) {
    struct conv_state *s = (struct conv_state *)c->state;
    const struct operand *a = &c->in[0], *b = &c->in[1], *y = &c->out[0];
    struct conv_choice choice;
    char key[160];
    size_t need = 0, room = conv_workspace(a->dtype), bytes[3], staged;
    conv_stage_bytes(c, s->kind, s->method, bytes, &staged);
    const bool by_graph = conv_by_graph(s);
    snprintf(key, sizeof key, "%s%s %s %lldx%lldx%lldx%lld %lldx%lldx%lldx%lld %lldx%lldx%lldx%lld stride %lld pad %lld %lld",
             by_graph ? "graph " : "", kind, a->dtype == DT_F32 ? conv_method_name(s->method) : dtype_name(a->dtype),
             (long long)a->dim[0], (long long)a->dim[1], (long long)a->dim[2], (long long)a->dim[3],
             (long long)b->dim[0], (long long)b->dim[1], (long long)b->dim[2], (long long)b->dim[3],
             (long long)y->dim[0], (long long)y->dim[1], (long long)y->dim[2], (long long)y->dim[3],
             (long long)c->a.i[0], (long long)c->a.i[1], (long long)c->a.i[2]);
    bool known = conv_recall(cuda(context), key, &choice);
    if (known) {
        CUDNN_CHECK(cudnnSetConvolutionMathType(s->conv, (cudnnMathType_t)choice.math));
        known = size_of(choice.algo, &need) == CUDNN_STATUS_SUCCESS && need <= room;
        if (known && strcmp(choice.plan, "-"))
            known = (s->plan = conv_plan_make(cuda(context), &s->spec, choice.plan, room)) != NULL;
    }
    if (!known) {
        Perf list[16];
        int n = 0, i = 0;
        char *p = (char *)conv_scratch(cuda(context), bytes[0] + bytes[1] + bytes[2] + room);
        if (!p) {
            conv_release(context, c);
            return st_fail(e, "not enough device memory to choose the algorithm of a convolution");
        }
        CUDNN_CHECK(cudnnSetConvolutionMathType(s->conv, s->math));
        find(p, p + bytes[0], p + bytes[0] + bytes[1], p + bytes[0] + bytes[1] + bytes[2], room, list, &n);
        while (i < n && !(list[i].status == CUDNN_STATUS_SUCCESS && list[i].determinism == CUDNN_DETERMINISTIC && list[i].memory <= room))
            i++;
        if (i == n) {
            conv_release(context, c);
            return st_fail(e, "cuDNN has no deterministic algorithm for this convolution");
        }
        choice.algo = (int)list[i].algo;
        choice.math = (int)list[i].mathType;
        choice.workspace = (long long)(need = list[i].memory);
        strcpy(choice.plan, "-");
        if (by_graph) {
            const void *part[3];
            conv_parts(s->kind, p, p + bytes[0], p + bytes[0] + bytes[1], part);
            s->plan = conv_plan_best(cuda(context), &s->spec, (void *)part[0], (void *)part[1], (void *)part[2], p + bytes[0] + bytes[1] + bytes[2], room);
            if (s->plan && conv_plan_ms(s->plan) * 0.95f > list[i].time) { /* the plain API's is another kernel after all */
                conv_plan_free(s->plan);
                s->plan = NULL;
            }
            if (s->plan)
                snprintf(choice.plan, sizeof choice.plan, "%s", conv_plan_text(s->plan));
        }
        CUDNN_CHECK(cudnnSetConvolutionMathType(s->conv, list[i].mathType));
        conv_remember(cuda(context), key, &choice);
    }
    s->algo = choice.algo;
    if (s->plan && conv_plan_workspace(s->plan) > need)
        need = conv_plan_workspace(s->plan);
    s->workspace = (need + 255) / 256 * 256;
    c->workspace_bytes = (int64_t)(s->workspace + staged);
    return ST_OK;
}

#endif
