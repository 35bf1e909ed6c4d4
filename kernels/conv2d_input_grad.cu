/* conv2d_input_grad.cu - see conv2d_input_grad.h. */
#include "kernels/conv_cudnn.h"
#include "kernels/conv_narrow.cuh"

static enum status prepare(void *context, struct kernel_call *c, struct error *e) {
    struct narrow n;
    if (narrow_of(c, &c->out[0], &c->in[0], &c->in[1], &n))
        return ST_OK;
    return conv_prepare(context, c, CONV_INPUT_GRAD, e);
}

static void run(void *context, const struct kernel_call *c) {
    struct narrow n;
    if (!c->state) {
        narrow_of(c, &c->out[0], &c->in[0], &c->in[1], &n);
        bool expands = c->in[0].dim[3] < c->out[0].dim[3];
        CUDA_BY_TYPE(c->in[0].dtype, narrow_apply, cuda(context), &n, expands, c->in[0].data, c->in[1].data, c->out[0].data);
        return;
    }
    conv_run(context, c);
}

extern "C" const struct kernel kernel_conv2d_input_grad_cuda = {prepare, run, conv_release};
