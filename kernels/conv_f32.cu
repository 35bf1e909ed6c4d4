/* conv_f32.cu - see conv_f32.h. Splitting reads 4 and writes 12 bytes a value; changing the layout reads and writes 4. */
#include "kernels/conv_f32.h"

#include "kernels/conv_split.h"

#define STAGE_MOST ((size_t)8 << 30) /* bytes; larger convolutions go as they are */
#define LEAST 2e9                    /* operations; smaller convolutions go as they are: they gain nothing, and small networks stay exact */

/* ---- splitting ---- */
/* in [R,C] -> out [R,3,C]; V neighbours a thread. */
template <int V> __global__ static void __launch_bounds__(CUDA_BLOCK) split_kernel(const float *in, float *out, uint32_t groups, uint32_t C, enum split_order order) {
    uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= groups)
        return;
    uint32_t row = i / (C / V), c = (i - row * (C / V)) * V;
    float x[V], high[V], low[V];
    in += (size_t)row * C + c;
    out += (size_t)row * C * 3 + c;
    if constexpr (V == 4)
        *(float4 *)x = __ldg((const float4 *)in);
    else
        x[0] = *in;
#pragma unroll
    for (int v = 0; v < V; v++)
        split_two(x[v], &high[v], &low[v]);
#pragma unroll
    for (int part = 0; part < 3; part++) {
        bool is_low = part == split_low(order);
        float *to = out + (size_t)part * C;
        if constexpr (V == 4)
            *(float4 *)to = is_low ? *(float4 *)low : *(float4 *)high;
        else
            *to = is_low ? low[0] : high[0];
    }
}

static void split(struct cuda_context *c, const void *in, void *out, int64_t R, int64_t C, enum split_order order) {
    if (C % 4 == 0 && (uintptr_t)in % 16 == 0)
        split_kernel<4><<<cuda_grid(R * C / 4), CUDA_BLOCK, 0, c->stream>>>((const float *)in, (float *)out, (uint32_t)(R * C / 4), (uint32_t)C, order);
    else
        split_kernel<1><<<cuda_grid(R * C), CUDA_BLOCK, 0, c->stream>>>((const float *)in, (float *)out, (uint32_t)(R * C), (uint32_t)C, order);
    CUDA_CHECK(cudaGetLastError());
}

/* ---- transposing: in [B,R,C] -> out [B,C,R], tiles of 32 x 32 by 32 x 8 threads ---- */
__global__ static void __launch_bounds__(CUDA_BLOCK) transpose_kernel(const float *in, float *out, int R, int C) {
    __shared__ float tile[32][33];
    in += (int64_t)blockIdx.z * R * C;
    out += (int64_t)blockIdx.z * R * C;
    int c = blockIdx.x * 32 + threadIdx.x, r0 = blockIdx.y * 32;
#pragma unroll
    for (int i = threadIdx.y; i < 32; i += 8)
        if (r0 + i < R && c < C)
            tile[i][threadIdx.x] = in[(int64_t)(r0 + i) * C + c];
    __syncthreads();
    int r = r0 + threadIdx.x, c0 = blockIdx.x * 32;
#pragma unroll
    for (int i = threadIdx.y; i < 32; i += 8)
        if (c0 + i < C && r < R)
            out[(int64_t)(c0 + i) * R + r] = tile[threadIdx.x][i];
}

static void transpose(struct cuda_context *c, const void *in, void *out, int64_t B, int64_t R, int64_t C) {
    dim3 grid(cuda_grid(C, 32), cuda_grid(R, 32), (unsigned)B), block(32, 8);
    transpose_kernel<<<grid, block, 0, c->stream>>>((const float *)in, (float *)out, (int)R, (int)C);
    CUDA_CHECK(cudaGetLastError());
}

/* ---- which, and where ---- */
void conv_stage_bytes(const struct kernel_call *c, enum conv_method m, size_t bytes[3], size_t *staged) {
    const struct operand *each[3] = {&c->in[0], &c->in[1], &c->out[0]};
    *staged = 0;
    for (int k = 0; k < 3; k++) {
        bool split_one = m == CONV_SPLIT && k < 2;
        bytes[k] = ((size_t)operand_count(each[k]) * (size_t)dtype_size(each[k]->dtype) * (split_one ? 3 : 1) + 255) / 256 * 256;
        if (split_one || m == CONV_NCHW)
            *staged += bytes[k];
    }
}

bool conv_method_fits(const struct kernel_call *c, enum conv_kind kind, enum conv_method m) {
    const struct operand *each[3] = {&c->in[0], &c->in[1], &c->out[0]}, *w = kind == CONV_WEIGHT_GRAD ? each[2] : each[1],
                         *y = kind == CONV_FORWARD ? each[2] : kind == CONV_INPUT_GRAD ? each[0] : each[1];
    const int64_t taps = w->dim[1] * w->dim[2];
    size_t bytes[3], staged;
    if (m == CONV_AS_IS)
        return true;
    conv_stage_bytes(c, m, bytes, &staged);
    if (c->in[0].dtype != DT_F32 || staged > STAGE_MOST || (m == CONV_NCHW && taps == 1) ||
        2.0 * (double)operand_count(y) * (double)(taps * w->dim[3]) < LEAST)
        return false;
    for (int k = 0; k < 3; k++) {
        const int64_t *d = each[k]->dim;
        if (m == CONV_SPLIT && (d[3] % 4 || 3 * operand_count(each[k]) >= INT32_MAX)) /* TF32's loads; cuDNN counts in 32 bits */
            return false;
        if (m == CONV_NCHW && (d[0] > 65535 || d[1] * d[2] > 32 * 65535)) /* a grid's sides */
            return false;
    }
    return true;
}

/* Along which side the three parts of an input lie: rows of this many values are followed by the next part. */
static int64_t part_of(const struct kernel_call *c, enum conv_kind kind, int k) {
    bool by_channel = kind == CONV_FORWARD || (kind == CONV_INPUT_GRAD && k == 0);
    return by_channel ? c->in[k].dim[3] : operand_count(&c->in[k]);
}

struct conv_places conv_enter(struct cuda_context *c, const struct kernel_call *k, enum conv_kind kind, enum conv_method m, void *stage) {
    struct conv_places p = {{k->in[0].data, k->in[1].data}, k->out[0].data};
    size_t bytes[3], staged;
    char *at = (char *)stage;
    if (m == CONV_AS_IS)
        return p;
    conv_stage_bytes(k, m, bytes, &staged);
    for (int i = 0; i < 2; i++, at += bytes[i - 1]) {
        const int64_t *d = k->in[i].dim;
        if (m == CONV_SPLIT)
            split(c, k->in[i].data, at, operand_count(&k->in[i]) / part_of(k, kind, i), part_of(k, kind, i), i ? SPLIT_LHH : SPLIT_HLH);
        else
            transpose(c, k->in[i].data, at, d[0], d[1] * d[2], d[3]);
        p.in[i] = at;
    }
    if (m == CONV_NCHW)
        p.out = at;
    return p;
}

void conv_leave(struct cuda_context *c, const struct kernel_call *k, enum conv_method m, const struct conv_places *p) {
    const int64_t *d = k->out[0].dim;
    if (m == CONV_NCHW)
        transpose(c, p->out, k->out[0].data, d[0], d[3], d[1] * d[2]);
}
