/* conv_cudnn.cuh - the three convolutions through cuDNN's C API: descriptors, and the algorithm chosen by measuring.
 *
 * Activations are NHWC, filters KRSC: the engine's layouts are cuDNN's, so nothing is converted. Float32 is computed in float32
 * (FMA math, no TF32); 16-bit types use tensor cores and accumulate in float32. Only algorithms cuDNN calls deterministic are
 * taken, so equal inputs give equal bytes.
 */
#ifndef FACEMILL_CONV_CUDNN_CUH
#define FACEMILL_CONV_CUDNN_CUH

#include "kernels/conv_choice.h"

struct conv_state {
    cudnnTensorDescriptor_t x, y;
    cudnnFilterDescriptor_t w;
    cudnnConvolutionDescriptor_t conv;
    int algo;
    size_t workspace;
};

static inline cudnnDataType_t conv_type(enum dtype d) {
    return d == DT_F16 ? CUDNN_DATA_HALF : d == DT_BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
}

static inline void conv_release(void *context, struct kernel_call *c) {
    struct conv_state *s = (struct conv_state *)c->state;
    (void)context;
    if (!s)
        return;
    cudnnDestroyTensorDescriptor(s->x);
    cudnnDestroyTensorDescriptor(s->y);
    cudnnDestroyFilterDescriptor(s->w);
    cudnnDestroyConvolutionDescriptor(s->conv);
    free(s);
    c->state = NULL;
}

/* x, y, w: the operands that play these parts in the forward convolution. */
static inline struct conv_state *conv_describe(const struct kernel_call *c, const struct operand *x, const struct operand *y,
                                               const struct operand *w) {
    struct conv_state *s = (struct conv_state *)calloc(1, sizeof *s);
    cudnnDataType_t type = conv_type(x->dtype);
    int stride = (int)c->a.i[0], pad_h = (int)c->a.i[1], pad_w = (int)c->a.i[2];
    CUDNN_CHECK(cudnnCreateTensorDescriptor(&s->x));
    CUDNN_CHECK(cudnnCreateTensorDescriptor(&s->y));
    CUDNN_CHECK(cudnnCreateFilterDescriptor(&s->w));
    CUDNN_CHECK(cudnnCreateConvolutionDescriptor(&s->conv));
    CUDNN_CHECK(cudnnSetTensor4dDescriptor(s->x, CUDNN_TENSOR_NHWC, type, (int)x->dim[0], (int)x->dim[3], (int)x->dim[1], (int)x->dim[2]));
    CUDNN_CHECK(cudnnSetTensor4dDescriptor(s->y, CUDNN_TENSOR_NHWC, type, (int)y->dim[0], (int)y->dim[3], (int)y->dim[1], (int)y->dim[2]));
    CUDNN_CHECK(cudnnSetFilter4dDescriptor(s->w, type, CUDNN_TENSOR_NHWC, (int)w->dim[0], (int)w->dim[3], (int)w->dim[1], (int)w->dim[2]));
    CUDNN_CHECK(cudnnSetConvolution2dDescriptor(s->conv, pad_h, pad_w, stride, stride, 1, 1, CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT));
    CUDNN_CHECK(cudnnSetConvolutionMathType(s->conv, type == CUDNN_DATA_FLOAT ? CUDNN_FMA_MATH : CUDNN_TENSOR_OP_MATH));
    return s;
}

/* An algorithm's workspace by cuDNN's own account, which also says whether it can do this convolution at all. */
template <typename Perf, typename Size, typename Find>
static inline enum status conv_choose(void *context, struct kernel_call *c, const char *kind, Size size_of, Find find, struct error *e) {
    struct conv_state *s = (struct conv_state *)c->state;
    const struct operand *a = &c->in[0], *b = &c->in[1], *y = &c->out[0];
    struct conv_choice choice;
    char key[160];
    size_t need = 0, room = conv_workspace(a->dtype);
    snprintf(key, sizeof key, "%s %s %lldx%lldx%lldx%lld %lldx%lldx%lldx%lld %lldx%lldx%lldx%lld stride %lld pad %lld %lld", kind,
             dtype_name(a->dtype), (long long)a->dim[0], (long long)a->dim[1], (long long)a->dim[2], (long long)a->dim[3], (long long)b->dim[0],
             (long long)b->dim[1], (long long)b->dim[2], (long long)b->dim[3], (long long)y->dim[0], (long long)y->dim[1], (long long)y->dim[2],
             (long long)y->dim[3], (long long)c->a.i[0], (long long)c->a.i[1], (long long)c->a.i[2]);
    bool known = conv_recall(cuda(context), key, &choice);
    if (known) {
        CUDNN_CHECK(cudnnSetConvolutionMathType(s->conv, (cudnnMathType_t)choice.math));
        known = size_of(choice.algo, &need) == CUDNN_STATUS_SUCCESS && need <= room;
    }
    if (!known) {
        Perf list[16];
        int n = 0, i = 0;
        size_t bytes[3];
        const struct operand *each[3] = {a, b, y};
        for (int k = 0; k < 3; k++)
            bytes[k] = ((size_t)operand_count(each[k]) * (size_t)dtype_size(each[k]->dtype) + 255) / 256 * 256;
        char *p = (char *)conv_scratch(cuda(context), bytes[0] + bytes[1] + bytes[2] + room);
        if (!p) {
            conv_release(context, c);
            return st_fail(e, "not enough device memory to choose the algorithm of a convolution");
        }
        CUDNN_CHECK(cudnnSetConvolutionMathType(s->conv, a->dtype == DT_F32 ? CUDNN_FMA_MATH : CUDNN_TENSOR_OP_MATH));
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
        CUDNN_CHECK(cudnnSetConvolutionMathType(s->conv, list[i].mathType));
        conv_remember(cuda(context), key, &choice);
    }
    s->algo = choice.algo;
    s->workspace = need;
    c->workspace_bytes = (int64_t)need;
    return ST_OK;
}

#endif
