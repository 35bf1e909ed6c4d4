/* conv2d.cu - see conv2d.h. */
#include "kernels/conv_cudnn.cuh"

static enum status prepare(void *context, struct kernel_call *c, struct error *e) {
    struct conv_state *s = conv_describe(c, &c->in[0], &c->out[0], &c->in[1]);
    struct conv_scratch t;
    cudnnConvolutionFwdAlgoPerf_t list[16];
    int n = 0;
    c->state = s;
    if (conv_scratch_get(&t, &c->in[0], &c->in[1], &c->out[0]))
        cudnnFindConvolutionForwardAlgorithmEx(cuda(context)->dnn, s->x, t.p[0], s->w, t.p[1], s->conv, s->y, t.p[2], 16, &n, list, t.p[3], CONV_WORKSPACE);
    conv_scratch_free(&t);
    enum status st = conv_choose(c, s, list, n, e);
    if (st != ST_OK)
        conv_release(context, c);
    return st;
}

static void run(void *context, const struct kernel_call *c) {
    const struct conv_state *s = (const struct conv_state *)c->state;
    const float one = 1, zero = 0;
    CUDNN_CHECK(cudnnConvolutionForward(cuda(context)->dnn, &one, s->x, c->in[0].data, s->w, c->in[1].data, s->conv,
                                        (cudnnConvolutionFwdAlgo_t)s->algo, c->workspace, s->workspace, &zero, s->y, c->out[0].data));
}

extern "C" const struct kernel kernel_conv2d_cuda = {prepare, run, conv_release};
