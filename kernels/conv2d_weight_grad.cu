/* conv2d_weight_grad.cu - see conv2d_weight_grad.h. With 16-bit operands cuDNN delivers a 16-bit gradient, accumulated in float32
 * and rounded once; it is widened to the F32 that the contract asks for. */
#include "kernels/conv_cudnn.cuh"
#include "kernels/conv_narrow.cuh"

template <typename T> __global__ static void widen_kernel(const T *in, float *out, int64_t n) {
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        out[i] = to_float(in[i]);
}

template <typename T> static void widen(struct cuda_context *c, const void *in, float *out, int64_t n) {
    widen_kernel<<<cuda_grid(n), CUDA_BLOCK, 0, c->stream>>>((const T *)in, out, n);
    CUDA_CHECK(cudaGetLastError());
}

static int64_t narrow_bytes(const struct kernel_call *c) {
    return c->in[0].dtype == DT_F32 ? 0 : (operand_count(&c->out[0]) * 2 + 255) / 256 * 256;
}

static enum status prepare(void *context, struct kernel_call *c, struct error *e) {
    struct narrow n;
    if (narrow_of(c, &c->in[0], &c->in[1], &c->out[0], &n)) {
        c->workspace_bytes = (int64_t)NARROW_BLOCKS * n.t * n.W * 4;
        return ST_OK;
    }
    struct conv_state *s = conv_describe(c, &c->in[0], &c->in[1], &c->out[0], CONV_WEIGHT_GRAD);
    cudnnHandle_t dnn = cuda(context)->dnn;
    c->state = s;
    enum status st = conv_choose<cudnnConvolutionBwdFilterAlgoPerf_t>(
        context, c, "conv2d_weight_grad",
        [=](int algo, size_t *bytes) {
            return cudnnGetConvolutionBackwardFilterWorkspaceSize(dnn, s->x, s->y, s->conv, s->w, (cudnnConvolutionBwdFilterAlgo_t)algo, bytes);
        },
        [=](void *x, void *dy, void *dw, void *work, size_t room, cudnnConvolutionBwdFilterAlgoPerf_t *list, int *n) {
            cudnnFindConvolutionBackwardFilterAlgorithmEx(dnn, s->x, x, s->y, dy, s->conv, s->w, dw, 16, n, list, work, room);
        },
        e);
    c->workspace_bytes += narrow_bytes(c);
    return st;
}

static void run(void *context, const struct kernel_call *c) {
    const struct conv_state *s = (const struct conv_state *)c->state;
    const float one = 1, zero = 0;
    if (!s) {
        struct narrow n;
        narrow_of(c, &c->in[0], &c->in[1], &c->out[0], &n);
        bool first = c->in[0].dim[3] < c->in[1].dim[3];
        CUDA_BY_TYPE(c->in[0].dtype, narrow_weight, cuda(context), &n, c->in[!first].data, c->in[first].data, c->workspace, c->out[0].data);
        return;
    }
    /* behind the algorithm's part: operands laid out anew (float32), or the 16-bit gradient */
    char *stage = (char *)c->workspace + s->workspace;
    struct conv_places p = conv_enter(cuda(context), c, s->kind, s->method, stage);
    if (narrow_bytes(c))
        p.out = stage;
    if (!conv_run_plan(cuda(context), s, &p, c->workspace))
        CUDNN_CHECK(cudnnConvolutionBackwardFilter(cuda(context)->dnn, &one, s->x, p.in[0], s->y, p.in[1], s->conv,
                                                   (cudnnConvolutionBwdFilterAlgo_t)s->algo, c->workspace, s->workspace, &zero, s->w, p.out));
    if (narrow_bytes(c))
        CUDA_BY_TYPE(c->in[0].dtype, widen, cuda(context), p.out, (float *)c->out[0].data, operand_count(&c->out[0]));
    conv_leave(cuda(context), c, s->method, &p);
}

extern "C" const struct kernel kernel_conv2d_weight_grad_cuda = {prepare, run, conv_release};
