/* conv2d.cu - see conv2d.h. */
#include "kernels/conv_cudnn.cuh"
#include "kernels/conv_narrow.cuh"

static enum status prepare(void *context, struct kernel_call *c, struct error *e) {
    struct narrow n;
    if (narrow_of(c, &c->in[0], &c->out[0], &c->in[1], &n))
        return ST_OK;
    struct conv_state *s = conv_describe(c, &c->in[0], &c->out[0], &c->in[1], CONV_FORWARD);
    cudnnHandle_t dnn = cuda(context)->dnn;
    c->state = s;
    return conv_choose<cudnnConvolutionFwdAlgoPerf_t>(
        context, c, "conv2d",
        [=](int algo, size_t *bytes) {
            return cudnnGetConvolutionForwardWorkspaceSize(dnn, s->x, s->w, s->conv, s->y, (cudnnConvolutionFwdAlgo_t)algo, bytes);
        },
        [=](void *x, void *w, void *y, void *work, size_t room, cudnnConvolutionFwdAlgoPerf_t *list, int *n) {
            cudnnFindConvolutionForwardAlgorithmEx(dnn, s->x, x, s->w, w, s->conv, s->y, y, 16, n, list, work, room);
        },
        e);
}

static void run(void *context, const struct kernel_call *c) {
    const struct conv_state *s = (const struct conv_state *)c->state;
    const float one = 1, zero = 0;
    if (!s) {
        struct narrow n;
        narrow_of(c, &c->in[0], &c->out[0], &c->in[1], &n);
        bool expands = c->in[0].dim[3] < c->out[0].dim[3];
        CUDA_BY_TYPE(c->in[0].dtype, narrow_apply, cuda(context), &n, expands, c->in[0].data, c->in[1].data, c->out[0].data);
        return;
    }
    const struct conv_places p = conv_enter(cuda(context), c, s->kind, s->method, (char *)c->workspace + s->workspace);
    if (!conv_run_plan(cuda(context), s, &p, c->workspace))
        CUDNN_CHECK(cudnnConvolutionForward(cuda(context)->dnn, &one, s->x, p.in[0], s->w, p.in[1], s->conv, (cudnnConvolutionFwdAlgo_t)s->algo,
                                            c->workspace, s->workspace, &zero, s->y, p.out));
    conv_leave(cuda(context), c, s->method, &p);
}

extern "C" const struct kernel kernel_conv2d_cuda = {prepare, run, conv_release};
