/* sum.cu - see sum.h. Float32 accumulation in a tree fixed by the shape.
 *
 * Adjacent dimensions that are all kept or all summed are merged; what remains is a sequence such as kept-summed-kept. Each summed
 * dimension in turn, innermost first, is one reduction [A,R,B] -> [A,B]; R is cut into slices so that the chip is full, and slices
 * are added by the same kernel. The shapes that occur need one pass: bias gradients [N*H*W] x C, style gradients N x [H*W] x C,
 * noise and ToRGB gradients [N*H*W] x [C].
 */
#include "kernels/cuda.h"

extern "C" {
#include "kernels/sum.h"
}

#define THREADS 256
#define SHORT_ROW 1024 /* elements that one warp adds up */

template <typename T> struct lanes { /* 16 bytes */
    static const int V = 16 / sizeof(T);
    T x[V];
};
template <typename T> __device__ static void load(const T *p, float e[lanes<T>::V]) {
    lanes<T> in;
    *(uint4 *)&in = __ldg((const uint4 *)p);
#pragma unroll
    for (int v = 0; v < lanes<T>::V; v++)
        e[v] = to_float(in.x[v]);
}

__device__ static float warp_sum(float v) {
#pragma unroll
    for (int o = 16; o; o >>= 1)
        v += __shfl_down_sync(0xffffffffu, v, o);
    return v;
}

/* The sum of x[0 .. n), spread over `step` threads of which this is number `lane`. wide: x lies at a multiple of 16 bytes. */
template <typename T> __device__ static float partial(const T *x, int64_t n, int lane, int step, bool wide) {
    const int V = lanes<T>::V;
    float v = 0;
    int64_t r = 0;
    if (wide) {
        float a[V] = {0};
        r = n / V * V;
        for (int64_t i = (int64_t)lane * V; i < r; i += (int64_t)step * V) {
            float e[V];
            load(x + i, e);
#pragma unroll
            for (int k = 0; k < V; k++)
                a[k] += e[k];
        }
#pragma unroll
        for (int k = 0; k < V; k++)
            v += a[k];
    }
    for (r += lane; r < n; r += step)
        v += to_float(x[r]);
    return v;
}

/* B = 1, long rows: block (a, s) sums x[a, s*slice .. ]; y [S,A]. */
template <typename T> __global__ static void sum_rows(const T *x, float *y, int64_t R, int64_t slice, bool wide) {
    __shared__ float shared[THREADS / 32];
    int64_t a = blockIdx.x, from = blockIdx.y * slice, n = R - from < slice ? R - from : slice;
    float v = warp_sum(partial(x + a * R + from, n, threadIdx.x, THREADS, wide));
    if (threadIdx.x % 32 == 0)
        shared[threadIdx.x / 32] = v;
    __syncthreads();
    if (threadIdx.x == 0) {
        v = 0;
        for (int i = 0; i < THREADS / 32; i++)
            v += shared[i];
        y[blockIdx.y * (int64_t)gridDim.x + a] = v;
    }
}

/* B = 1, short rows: a warp each. */
template <typename T> __global__ static void sum_short_rows(const T *x, float *y, int64_t A, int64_t R, bool wide) {
    int64_t a = (int64_t)blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
    if (a >= A)
        return;
    float v = warp_sum(partial(x + a * R, R, threadIdx.x % 32, 32, wide));
    if (threadIdx.x % 32 == 0)
        y[a] = v;
}

/* Block (tile of columns, a, s): X threads of V neighbouring columns each, THREADS/X rows at a time; y [S,A,B]. */
template <typename T, int V, int X> __global__ static void __launch_bounds__(THREADS) sum_columns(const T *x, float *y, int64_t A, int64_t R, int64_t B, int64_t slice) {
    const int Y = THREADS / X;
    __shared__ float shared[Y][X * V + 1];
    int tx = threadIdx.x % X, ty = threadIdx.x / X;
    int64_t b = ((int64_t)blockIdx.x * X + tx) * V, a = blockIdx.y, s = blockIdx.z;
    int64_t from = s * slice, to = from + slice < R ? from + slice : R;
    float v[V] = {0};
    if (b < B) {
        const T *p = x + a * R * B + b;
#pragma unroll 4
        for (int64_t r = from + ty; r < to; r += Y) {
            float e[V];
            if constexpr (V == 1)
                e[0] = to_float(p[r * B]);
            else
                load(p + r * B, e);
#pragma unroll
            for (int k = 0; k < V; k++)
                v[k] += e[k];
        }
    }
#pragma unroll
    for (int k = 0; k < V; k++)
        shared[ty][tx * V + k] = v[k];
    __syncthreads();
    for (int i = threadIdx.x; i < X * V; i += THREADS) {
        int64_t column = (int64_t)blockIdx.x * X * V + i;
        float total = 0;
        for (int k = 0; k < Y; k++)
            total += shared[k][i];
        if (column < B)
            y[(s * A + a) * B + column] = total;
    }
}

struct step_plan { /* one reduction [A,R,B] -> [A,B], in `slices` pieces */
    int64_t A, R, B, slices, slice;
};
struct sum_state {
    int n;
    struct step_plan step[MAX_DIM];
    int64_t partial_bytes, result_bytes; /* workspace: slices of a step; result of a step that is not the last (two in turn) */
};

static enum status prepare(void *context, struct kernel_call *c, struct error *e) {
    (void)e;
    struct sum_state *s = (struct sum_state *)calloc(1, sizeof *s);
    int64_t dim[MAX_DIM];
    bool summed[MAX_DIM];
    int n = 0;
    for (int d = 0; d < c->in[0].ndim; d++) {
        bool in = c->a.i[0] >> d & 1;
        if (c->in[0].dim[d] == 1)
            continue;
        if (n && summed[n - 1] == in)
            dim[n - 1] *= c->in[0].dim[d];
        else
            dim[n] = c->in[0].dim[d], summed[n++] = in;
    }
    int64_t target = 4LL * cuda(context)->device.multiProcessorCount;
    for (int d = n - 1; d >= 0; d--)
        if (summed[d]) {
            struct step_plan p = {1, dim[d], 1, 1, dim[d]};
            for (int i = 0; i < d; i++)
                p.A *= dim[i];
            for (int i = d + 1; i < n; i++)
                p.B *= summed[i] ? 1 : dim[i];
            int64_t blocks = p.B == 1 ? p.A : (p.B + 127) / 128 * p.A, least = p.B == 1 ? 8192 : 128;
            p.slices = (target + blocks - 1) / blocks;
            if (p.slices > p.R / least)
                p.slices = p.R / least;
            if (p.slices < 1)
                p.slices = 1;
            if (p.slices > 1024)
                p.slices = 1024;
            p.slice = (p.R + p.slices - 1) / p.slices;
            if (p.slices > 1)
                p.slice = (p.slice + 15) / 16 * 16; /* vectors start where slices do */
            p.slices = (p.R + p.slice - 1) / p.slice;
            if (p.slices > 1 && p.slices * p.A * p.B * 4 > s->partial_bytes)
                s->partial_bytes = p.slices * p.A * p.B * 4;
            if (p.A * p.B * 4 > s->result_bytes)
                s->result_bytes = p.A * p.B * 4;
            s->step[s->n++] = p;
        }
    if (s->n < 2)
        s->result_bytes = 0;
    s->partial_bytes = (s->partial_bytes + 255) / 256 * 256;
    s->result_bytes = (s->result_bytes + 255) / 256 * 256;
    c->workspace_bytes = s->partial_bytes + 2 * s->result_bytes;
    c->state = s;
    return ST_OK;
}

/* Which kernel is a matter of shape and of whether vectors lie where they should: the order of a sum depends on nothing else, and
 * addresses are alike from run to run. */
template <typename T> static void reduce(struct cuda_context *c, const T *x, float *y, int64_t A, int64_t R, int64_t B, int64_t slices, int64_t slice) {
    const int V = lanes<T>::V;
    bool there = (uintptr_t)x % 16 == 0;
    if (B == 1 && slices == 1 && R <= SHORT_ROW) {
        sum_short_rows<<<cuda_grid(A, THREADS / 32), THREADS, 0, c->stream>>>(x, y, A, R, there && R % V == 0);
    } else if (B == 1) {
        sum_rows<<<dim3((unsigned)A, (unsigned)slices), THREADS, 0, c->stream>>>(x, y, R, slice, there && (A == 1 || R % V == 0) && (slices == 1 || slice % V == 0));
    } else if (there && B % V == 0 && B >= 8 * V) {
        dim3 grid(cuda_grid(B, 16 * V), (unsigned)A, (unsigned)slices);
        sum_columns<T, V, 16><<<grid, THREADS, 0, c->stream>>>(x, y, A, R, B, slice);
    } else if (B >= 8) {
        dim3 grid(cuda_grid(B, 32), (unsigned)A, (unsigned)slices);
        sum_columns<T, 1, 32><<<grid, THREADS, 0, c->stream>>>(x, y, A, R, B, slice);
    } else {
        dim3 grid(cuda_grid(B, 4), (unsigned)A, (unsigned)slices);
        sum_columns<T, 1, 4><<<grid, THREADS, 0, c->stream>>>(x, y, A, R, B, slice);
    }
    CUDA_CHECK(cudaGetLastError());
}

template <typename T> static void one_step(struct cuda_context *c, const struct step_plan *p, const void *x, float *partial, float *y) {
    reduce(c, (const T *)x, p->slices > 1 ? partial : y, p->A, p->R, p->B, p->slices, p->slice);
    if (p->slices > 1)
        reduce(c, (const float *)partial, y, 1, p->slices, p->A * p->B, 1, p->slices);
}

static void run(void *context, const struct kernel_call *c) {
    const struct sum_state *s = (const struct sum_state *)c->state;
    struct cuda_context *cc = cuda(context);
    char *work = (char *)c->workspace;
    const void *x = c->in[0].data;
    enum dtype type = c->in[0].dtype;
    if (!s->n) { /* nothing to sum: the same numbers as F32 */
        struct step_plan same = {operand_count(&c->in[0]), 1, 1, 1, 1};
        CUDA_BY_TYPE(type, one_step, cc, &same, x, NULL, (float *)c->out[0].data);
        return;
    }
    for (int i = 0; i < s->n; i++) {
        float *y = i == s->n - 1 ? (float *)c->out[0].data : (float *)(work + s->partial_bytes + i % 2 * s->result_bytes);
        CUDA_BY_TYPE(type, one_step, cc, &s->step[i], x, (float *)work, y);
        x = y;
        type = DT_F32;
    }
}

static void release(void *context, struct kernel_call *c) {
    (void)context;
    free(c->state);
}

extern "C" const struct kernel kernel_sum_cuda = {prepare, run, release};
