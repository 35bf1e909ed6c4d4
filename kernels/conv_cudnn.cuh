/* conv_cudnn.cuh - the three convolutions through cuDNN's C API: descriptors, and the algorithm chosen by measuring.
 *
 * Activations are NHWC, filters KRSC: the engine's layouts are cuDNN's, so nothing is converted. Float32 is computed in float32
 * (FMA math, no TF32); 16-bit types use tensor cores and accumulate in float32. Only algorithms cuDNN calls deterministic are
 * taken, so equal inputs give equal bytes.
 */
#ifndef FACEMILL_CONV_CUDNN_CUH
#define FACEMILL_CONV_CUDNN_CUH

#include "kernels/cuda.h"

#define CONV_WORKSPACE ((size_t)1 << 30)

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

/* Takes the fastest deterministic algorithm of cuDNN's measured list that fits CONV_WORKSPACE. */
template <typename Perf> static inline enum status conv_choose(struct kernel_call *c, struct conv_state *s, const Perf *list, int n, struct error *e) {
    for (int i = 0; i < n; i++)
        if (list[i].status == CUDNN_STATUS_SUCCESS && list[i].determinism == CUDNN_DETERMINISTIC && list[i].memory <= CONV_WORKSPACE) {
            s->algo = list[i].algo;
            s->workspace = list[i].memory;
            CUDNN_CHECK(cudnnSetConvolutionMathType(s->conv, list[i].mathType));
            c->workspace_bytes = (int64_t)s->workspace;
            return ST_OK;
        }
    return st_fail(e, "cuDNN has no deterministic algorithm for this convolution");
}

/* Algorithms are timed on scratch memory of the right sizes; freed before prepare returns. */
struct conv_scratch {
    void *p[4];
};
static inline bool conv_scratch_get(struct conv_scratch *s, const struct operand *a, const struct operand *b, const struct operand *y) {
    size_t bytes[4] = {(size_t)operand_count(a) * 4, (size_t)operand_count(b) * 4, (size_t)operand_count(y) * 4, CONV_WORKSPACE};
    for (int i = 0; i < 4; i++)
        s->p[i] = NULL;
    for (int i = 0; i < 4; i++)
        if (cudaMalloc(&s->p[i], bytes[i]) != cudaSuccess || cudaMemset(s->p[i], 0, bytes[i]) != cudaSuccess)
            return false;
    return true;
}
static inline void conv_scratch_free(struct conv_scratch *s) {
    for (int i = 0; i < 4; i++)
        cudaFree(s->p[i]);
}

#endif
