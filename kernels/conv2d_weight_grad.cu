/* conv2d_weight_grad.cu - see conv2d_weight_grad.h. With 16-bit operands cuDNN delivers a 16-bit gradient, accumulated in float32
 * and rounded once; it is widened to the F32 that the contract asks for. */
#include "kernels/conv_cudnn.h"
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
    enum status st = conv_prepare(context, c, CONV_WEIGHT_GRAD, e);
    c->workspace_bytes += narrow_bytes(c);
    return st;
}

static void run(void *context, const struct kernel_call *c) {
    struct narrow n;
    if (!c->state) {
        narrow_of(c, &c->in[0], &c->in[1], &c->out[0], &n);
        bool first = c->in[0].dim[3] < c->in[1].dim[3];
        CUDA_BY_TYPE(c->in[0].dtype, narrow_weight, cuda(context), &n, c->in[!first].data, c->in[first].data, c->workspace, c->out[0].data);
        return;
    }
    struct kernel_call k = *c;
    if (narrow_bytes(c)) { /* the 16-bit gradient lies before cuDNN's part of the workspace */
        k.out[0].data = c->workspace;
        k.workspace = (char *)c->workspace + narrow_bytes(c);
    }
    conv_run(context, &k);
    if (narrow_bytes(c))
        CUDA_BY_TYPE(c->in[0].dtype, widen, cuda(context), k.out[0].data, (float *)c->out[0].data, operand_count(&c->out[0]));
}

extern "C" const struct kernel kernel_conv2d_weight_grad_cuda = {prepare, run, conv_release};
