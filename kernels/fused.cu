/* fused.cu - CUDA's fused pointwise kernel: an interpreter whose registers lie in shared memory, four elements a thread.
 *
 * Every thread runs the same micro-operations on its own elements, so there is no divergence and no barrier; a register is a float4
 * a thread (or one float where the innermost dimension is no multiple of four). Per element an operation costs about 16 bytes of
 * shared-memory traffic, so chains of up to about six operations run at the speed of device memory.
 */
#include "kernels/cuda.h"

extern "C" {
#include "kernels/fused.h"
}

struct fused_args {
    struct fused_program f;
    void *in[MAX_IN], *out[4];
    uint8_t in_type[MAX_IN], out_type[4];
    int64_t groups; /* threads' worth of work: elements / V */
    int n_reg;
};

template <int V> struct vec {
    float x[V];
};

__device__ static float load_one(const void *p, int type, int64_t at) {
    switch (type) {
    case DT_F16: return to_float(((const __half *)p)[at]);
    case DT_BF16: return to_float(((const __nv_bfloat16 *)p)[at]);
    case DT_U8: return to_float(((const uint8_t *)p)[at]);
    default: return ((const float *)p)[at];
    }
}

template <int V> __device__ static vec<V> load(const void *p, int type, int64_t at, int64_t stride) {
    vec<V> v;
    if (V == 1 || stride == 0) {
        float x = load_one(p, type, at);
#pragma unroll
        for (int i = 0; i < V; i++)
            v.x[i] = x;
    } else if (stride == 1 && type == DT_F32) {
        float4 q = *(const float4 *)((const float *)p + at);
        v.x[0] = q.x, v.x[1] = q.y, v.x[2] = q.z, v.x[3] = q.w;
    } else if (stride == 1 && type != DT_U8) {
        uint2 q = *(const uint2 *)((const uint16_t *)p + at);
        uint32_t w[2] = {q.x, q.y};
#pragma unroll
        for (int i = 0; i < V; i++) {
            unsigned short h = (unsigned short)(w[i / 2] >> (i % 2 * 16));
            v.x[i] = type == DT_F16 ? __half2float(__ushort_as_half(h)) : __bfloat162float(__ushort_as_bfloat16(h));
        }
    } else {
#pragma unroll
        for (int i = 0; i < V; i++)
            v.x[i] = load_one(p, type, at + i * stride);
    }
    return v;
}

template <int V> __device__ static void store(void *p, int type, int64_t at, vec<V> v) {
    if (type == DT_F32) {
        if (V == 4)
            *(float4 *)((float *)p + at) = make_float4(v.x[0], v.x[1 % V], v.x[2 % V], v.x[3 % V]);
        else
            ((float *)p)[at] = v.x[0];
        return;
    }
    unsigned short h[V];
#pragma unroll
    for (int i = 0; i < V; i++)
        h[i] = type == DT_F16 ? __half_as_ushort(__float2half_rn(v.x[i])) : __bfloat16_as_ushort(__float2bfloat16_rn(v.x[i]));
    if (V == 4)
        *(uint2 *)((uint16_t *)p + at) =
            make_uint2(h[0] | (unsigned)h[1 % V] << 16, h[2 % V] | (unsigned)h[3 % V] << 16);
    else
        ((uint16_t *)p)[at] = h[0];
}

/* Formulas: common/engine/ops.def. The numerically stable forms of softplus, sigmoid and tanh are those of fused_math.h. */
__device__ static float operate(int op, float a, float b, float x, float y, float z) {
    switch (op) {
    case OP_fill: return a;
    case OP_add: return x + y;
    case OP_sub: return x - y;
    case OP_mul: return x * y;
    case OP_fma: return fmaf(x, y, z);
    case OP_scale: return fmaf(a, x, b);
    case OP_exp: return expf(x);
    case OP_log: return logf(x);
    case OP_sqrt: return sqrtf(x);
    case OP_rsqrt: return 1.0f / sqrtf(x);
    case OP_recip: return 1.0f / x;
    case OP_square: return x * x;
    case OP_softplus: return (x > 0 ? x : x != x ? x : 0.0f) + log1pf(expf(-fabsf(x)));
    case OP_sigmoid: {
        float e = expf(-fabsf(x)), r = 1.0f / (1.0f + e);
        return x < 0 ? e * r : x != x ? x : r;
    }
    case OP_tanh: return tanhf(x);
    case OP_lrelu: return x < 0 ? a * x : x;
    case OP_step: return x < 0 ? a : b;
    case OP_clamp: return x < a ? a : x > b ? b : x;
    case OP_clamp_mask: return x >= a && x <= b ? 1.0f : 0.0f;
    case OP_sanitize: return x != x ? 0.0f : isinf(x) ? (x > 0 ? a : -a) : x;
    case OP_nonfinite: return isfinite(x) ? 0.0f : 1.0f;
    case OP_cast:
        return (int)a == DT_F16    ? __half2float(__float2half_rn(x))
               : (int)a == DT_BF16 ? __bfloat162float(__float2bfloat16_rn(x))
                                   : x;
    }
    return 0;
}

template <int V> __global__ static void fused_kernel(const __grid_constant__ fused_args g) {
    extern __shared__ float4 registers[];
    vec<V> *reg = (vec<V> *)registers + threadIdx.x; /* register r of this thread: reg[r * blockDim.x] */
    int64_t group = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (group >= g.groups)
        return;
    const struct fused_program &f = g.f;
    int64_t at[MAX_IN] = {0}, rest = group * V;
    for (int d = f.ndim - 1; d >= 0; d--) {
        int64_t i = d ? rest % f.dim[d] : rest;
        rest = d ? rest / f.dim[d] : 0;
#pragma unroll
        for (int k = 0; k < MAX_IN; k++)
            if (k < f.n_in)
                at[k] += i * f.stride[k][d];
    }
#pragma unroll
    for (int k = 0; k < MAX_IN; k++)
        if (k < f.n_in)
            reg[k * blockDim.x] = load<V>(g.in[k], g.in_type[k], at[k], f.ndim ? f.stride[k][f.ndim - 1] : 0);
    for (int i = 0; i < f.n_ops; i++) {
        const struct micro_op m = f.ops[i];
        vec<V> x = reg[m.in[0] * blockDim.x], y = reg[m.in[1] * blockDim.x], z = reg[m.in[2] * blockDim.x], o;
#pragma unroll
        for (int j = 0; j < V; j++)
            o.x[j] = operate(m.op, m.f[0], m.f[1], x.x[j], y.x[j], z.x[j]);
        reg[m.out * blockDim.x] = o;
    }
    for (int k = 0; k < f.n_out; k++)
        store<V>(g.out[k], g.out_type[k], group * V, reg[f.out_reg[k] * blockDim.x]);
}

/* Four elements a thread when the innermost dimension and every input's rows allow 16-byte (8-byte for 16-bit types) accesses. */
static bool by_four(const struct kernel_call *c) {
    const struct fused_program *f = c->fused;
    if (!f->ndim || f->dim[f->ndim - 1] % 4)
        return false;
    for (int i = 0; i < f->n_in; i++) {
        if (f->stride[i][f->ndim - 1] == 1 && ((uintptr_t)c->in[i].data % (4 * (size_t)dtype_size(c->in[i].dtype)) || c->in[i].dtype == DT_U8))
            return false;
        for (int d = 0; d < f->ndim - 1; d++)
            if (f->stride[i][f->ndim - 1] == 1 && f->stride[i][d] % 4)
                return false;
    }
    for (int k = 0; k < c->n_out; k++)
        if ((uintptr_t)c->out[k].data % (4 * (size_t)dtype_size(c->out[k].dtype)))
            return false;
    return true;
}

static void run(void *context, const struct kernel_call *c) {
    struct fused_args g;
    g.f = *c->fused;
    g.n_reg = g.f.n_in;
    for (int i = 0; i < g.f.n_ops; i++)
        if (g.f.ops[i].out >= g.n_reg)
            g.n_reg = g.f.ops[i].out + 1;
    for (int i = 0; i < c->n_in; i++)
        g.in[i] = c->in[i].data, g.in_type[i] = (uint8_t)c->in[i].dtype;
    for (int k = 0; k < c->n_out; k++)
        g.out[k] = c->out[k].data, g.out_type[k] = (uint8_t)c->out[k].dtype;
    int64_t total = 1;
    for (int d = 0; d < g.f.ndim; d++)
        total *= g.f.dim[d];
    int v = by_four(c) ? 4 : 1, block = 64; /* 40 registers x 64 threads x 16 bytes = 40 KB: within every device's default */
    g.groups = total / v;
    size_t shared = (size_t)g.n_reg * block * v * sizeof(float);
    if (v == 4)
        fused_kernel<4><<<cuda_grid(g.groups, block), block, shared, cuda(context)->stream>>>(g);
    else
        fused_kernel<1><<<cuda_grid(g.groups, block), block, shared, cuda(context)->stream>>>(g);
    CUDA_CHECK(cudaGetLastError());
}

extern "C" const struct kernel kernel_fused_cuda = {NULL, run, NULL};
