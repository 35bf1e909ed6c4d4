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

#define ROW_THREADS 256
#define COLUMN_X 32
#define COLUMN_Y 8

__device__ static float block_sum(float v, float *shared) {
    for (int o = 16; o; o >>= 1)
        v += __shfl_down_sync(0xffffffffu, v, o);
    if (threadIdx.x % 32 == 0)
        shared[threadIdx.x / 32] = v;
    __syncthreads();
    v = threadIdx.x < blockDim.x / 32 ? shared[threadIdx.x] : 0.0f;
    if (threadIdx.x < 32)
        for (int o = 4; o; o >>= 1)
            v += __shfl_down_sync(0xffffffffu, v, o);
    return v;
}

/* B = 1: block (a, s) sums x[a, s*slice .. ]; y [S,A]. */
template <typename T> __global__ static void sum_rows(const T *x, float *y, int64_t R, int64_t slice) {
    __shared__ float shared[ROW_THREADS / 32];
    int64_t a = blockIdx.x, from = blockIdx.y * slice, to = from + slice < R ? from + slice : R;
    float v = 0;
    for (int64_t r = from + threadIdx.x; r < to; r += blockDim.x)
        v += to_float(x[a * R + r]);
    v = block_sum(v, shared);
    if (threadIdx.x == 0)
        y[blockIdx.y * (int64_t)gridDim.x + a] = v;
}

/* Block (b tile, a, s): 32 columns, 8 threads down each; y [S,A,B]. */
template <typename T> __global__ static void sum_columns(const T *x, float *y, int64_t A, int64_t R, int64_t B, int64_t slice) {
    __shared__ float shared[COLUMN_Y][COLUMN_X + 1];
    int64_t b = (int64_t)blockIdx.x * COLUMN_X + threadIdx.x, a = blockIdx.y, s = blockIdx.z;
    int64_t from = s * slice, to = from + slice < R ? from + slice : R;
    float v = 0;
    if (b < B)
        for (int64_t r = from + threadIdx.y; r < to; r += COLUMN_Y)
            v += to_float(x[(a * R + r) * B + b]);
    shared[threadIdx.y][threadIdx.x] = v;
    __syncthreads();
    if (threadIdx.y == 0 && b < B) {
        for (int i = 1; i < COLUMN_Y; i++)
            v += shared[i][threadIdx.x];
        y[(s * A + a) * B + b] = v;
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
            int64_t blocks = p.B == 1 ? p.A : (p.B + COLUMN_X - 1) / COLUMN_X * p.A, least = p.B == 1 ? 4096 : 64;
            p.slices = (target + blocks - 1) / blocks;
            if (p.slices > p.R / least)
                p.slices = p.R / least;
            if (p.slices < 1)
                p.slices = 1;
            if (p.slices > 1024)
                p.slices = 1024;
            p.slice = (p.R + p.slices - 1) / p.slices;
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

template <typename T> static void reduce(struct cuda_context *c, const T *x, float *y, int64_t A, int64_t R, int64_t B, int64_t slices, int64_t slice) {
    if (B == 1)
        sum_rows<<<dim3((unsigned)A, (unsigned)slices), ROW_THREADS, 0, c->stream>>>(x, y, R, slice);
    else
        sum_columns<<<dim3(cuda_grid(B, COLUMN_X), (unsigned)A, (unsigned)slices), dim3(COLUMN_X, COLUMN_Y), 0, c->stream>>>(x, y, A, R, B, slice);
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
