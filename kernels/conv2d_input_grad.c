/* conv2d_input_grad.c - CPU entry of conv2d_input_grad: names the shape; conv_cpu.h says which methods there are. */
#include "kernels/conv2d_input_grad.h"

#include "kernels/conv_cpu.h"

static enum status prepare(void *context, struct kernel_call *c, struct error *e)
{
    const int64_t *y = c->in[0].dim, *w = c->in[1].dim, *x = c->out[0].dim;
    struct conv_shape s = {x[0], x[1], x[2], x[3], w[0], w[1], w[2], y[1], y[2], c->a.i[0], c->a.i[1], c->a.i[2]};
    return conv_prepare(context, c, CONV_INPUT_GRAD, &s, e);
}

const struct kernel kernel_conv2d_input_grad_cpu = {prepare, conv_run, conv_release};
