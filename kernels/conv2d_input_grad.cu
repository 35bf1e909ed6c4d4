/* conv2d_input_grad.cu - see conv2d_input_grad.h. */
#include "kernels/conv_cudnn.cuh"
#include "kernels/conv_narrow.cuh"

static enum status prepare(void *context, struct kernel_call *c, struct error *e) {
    struct narrow n;
    if (narrow_of(c, &c->out[0], &c->in[0], &c->in[1], &n))
        return ST_OK;
    struct conv_state *s = conv_describe(c, &c->out[0], &c->in[0], &c->in[1], CONV_INPUT_GRAD);
    cudnnHandle_t dnn = cuda(context)->dnn;
    c->state = s;
    return conv_choose<cudnnConvolutionBwdDataAlgoPerf_t>(
        context, c, "conv2d_input_grad",
        [=](int algo, size_t *bytes) {
            return cudnnGetConvolutionBackwardDataWorkspaceSize(dnn, s->w, s->y, s->conv, s->x, (cudnnConvolutionBwdDataAlgo_t)algo, bytes);
        },
        [=](void *dy, void *w, void *dx, void *work, size_t room, cudnnConvolutionBwdDataAlgoPerf_t *list, int *n) {
            cudnnFindConvolutionBackwardDataAlgorithmEx(dnn, s->w, w, s->y, dy, s->conv, s->x, dx, 16, n, list, work, room);
        },
        e);
}

static void run(void *context, const struct kernel_call *c) {
    const struct conv_state *s = (const struct conv_state *)c->state;
    const float one = 1, zero = 0;
    if (!s) {
        struct narrow n;
        narrow_of(c, &c->out[0], &c->in[0], &c->in[1], &n);
        bool expands = c->in[0].dim[3] < c->out[0].dim[3];
        CUDA_BY_TYPE(c->in[0].dtype, narrow_apply, cuda(context), &n, expands, c->in[0].data, c->in[1].data, c->out[0].data);
        return;
    }
    const struct conv_places p = conv_enter(cuda(context), c, s->kind, s->method, (char *)c->workspace + s->workspace);
    if (!conv_run_plan(cuda(context), s, &p, c->workspace))
        CUDNN_CHECK(cudnnConvolutionBackwardData(cuda(context)->dnn, &one, s->w, p.in[1], s->y, p.in[0], s->conv,
                                                 (cudnnConvolutionBwdDataAlgo_t)s->algo, c->workspace, s->workspace, &zero, s->x, p.out));
    conv_leave(cuda(context), c, s->method, &p);
}

extern "C" const struct kernel kernel_conv2d_input_grad_cuda = {prepare, run, conv_release};
