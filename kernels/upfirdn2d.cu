/* upfirdn2d.cu - see upfirdn2d.h. Two kernels; both visit only the taps that meet a sample (a quarter of them at up = 2).
 *
 *   fir_tile  the filters that count: the network's 4x4 on channels in 16-byte groups, the augmentation's 12 taps down columns (a
 *             row of the picture seen as channels) and along rows of RGB pixels. A thread computes a tile of pixels in registers;
 *             each pixel read serves every tap it meets (4 loads, not 16, an output of a 4x4 filter). Positions and taps are known
 *             to the compiler.
 *   fir_row   any other filter: one thread an element, rows of Q*C elements, so that a warp reads whole lines and there is no
 *             64-bit division.
 */
#include "kernels/cuda.h"

struct fir_args {
    int N, H, W, C, P, Q;
    int fh, fw, up_y, up_x, down_y, down_x, pad_y, pad_x;
    bool flip, per_sample;
    float gain;
};

/* ---- rows of elements ---- */
#define ROW_TAPS 1024 /* kept in shared memory */

template <typename T, int CHANNELS> __global__ static void fir_row(const T *x, const float *f, T *y, const __grid_constant__ fir_args a) {
    __shared__ float g[ROW_TAPS];
    const int C = CHANNELS ? CHANNELS : a.C, taps = a.fh * a.fw, p = blockIdx.y;
    f += a.per_sample ? (int64_t)blockIdx.z * taps : 0;
    for (int i = threadIdx.x; i < taps; i += blockDim.x)
        g[i] = a.gain * f[a.flip ? i : taps - 1 - i];
    __syncthreads();
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= a.Q * C)
        return;
    int c = i % C, q = i / C;
    int top = p * a.down_y - a.pad_y, left = q * a.down_x - a.pad_x; /* position of tap (0,0) in the upsampled picture */
    int first_k = (a.up_y - top % a.up_y) % a.up_y, first_j = (a.up_x - left % a.up_x) % a.up_x;
    int h = (top + first_k) / a.up_y, w0 = (left + first_j) / a.up_x;
    x += (int64_t)blockIdx.z * a.H * a.W * C + c;
    float sum = 0;
    for (int k = first_k; k < a.fh; k += a.up_y, h++) {
        if (h < 0 || h >= a.H)
            continue;
        const T *row = x + (int64_t)h * a.W * C;
        int w = w0;
        for (int j = first_j; j < a.fw; j += a.up_x, w++)
            if (w >= 0 && w < a.W)
                sum = fmaf(g[k * a.fw + j], to_float(row[w * C]), sum);
    }
    y[((int64_t)blockIdx.z * a.P + p) * a.Q * C + i] = from_float<T>(sum);
}

/* ---- tiles of pixels, known taps ---- */
/* V values of one pixel; 16 bytes are one access. */
template <typename T, int V> struct alignas(sizeof(T) * V == 16 ? 16 : alignof(T)) lanes {
    T x[V];
};
template <typename T, int V> __device__ static lanes<T, V> load(const T *p) {
    lanes<T, V> in;
    if constexpr (sizeof in == 16) {
        *(uint4 *)&in = __ldg((const uint4 *)p);
    } else {
#pragma unroll
        for (int v = 0; v < V; v++)
            in.x[v] = p[v];
    }
    return in;
}
template <typename T, int V> __device__ static void store(T *p, const lanes<T, V> &out) {
    if constexpr (sizeof out == 16) {
        *(uint4 *)p = *(const uint4 *)&out;
    } else {
#pragma unroll
        for (int v = 0; v < V; v++)
            p[v] = out.x[v];
    }
}

/* Filter, rates and tile along one axis. */
template <int TAPS_, int UP_, int DOWN_, int TILE_> struct axis {
    static const int TAPS = TAPS_, UP = UP_, DOWN = DOWN_, TILE = TILE_;
    static const int READS = ((TILE - 1) * DOWN + TAPS - 1) / UP + 1; /* pixels that a tile meets */
};

template <typename T, int V, int READS> __device__ static void read_row(lanes<T, V> in[READS], const T *x, int h, int left, const fir_args &a) {
    bool there = h >= 0 && h < a.H;
#pragma unroll
    for (int s = 0; s < READS; s++) {
        int w = left + s;
        if (there && w >= 0 && w < a.W)
            in[s] = load<T, V>(x + ((int64_t)h * a.W + w) * a.C);
        else
#pragma unroll
            for (int v = 0; v < V; v++)
                in[s].x[v] = from_float<T>(0);
    }
}

/* At up 2 tiles and pads must be even, so that a tile begins at a sample. C in multiples of V. */
template <typename T, int V, class Y, class X>
__global__ static void __launch_bounds__(128) fir_tile(const T *x, const float *f, T *y, const __grid_constant__ fir_args a, int64_t threads) {
    const int TAPS = Y::TAPS * X::TAPS;
    __shared__ float shared[TAPS];
    if (threadIdx.x < TAPS)
        shared[threadIdx.x] = a.gain * f[a.flip ? threadIdx.x : TAPS - 1 - threadIdx.x];
    __syncthreads();
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= threads)
        return;
    int groups = a.C / V, tiles_q = (a.Q + X::TILE - 1) / X::TILE, tiles_p = (a.P + Y::TILE - 1) / Y::TILE;
    int64_t tile = i / groups;
    int c = (int)(i - tile * groups) * V, rest = (int)(tile / tiles_q);
    int q0 = (int)(tile - (int64_t)rest * tiles_q) * X::TILE, n = rest / tiles_p, p0 = (rest - n * tiles_p) * Y::TILE;
    int top = (p0 * Y::DOWN - a.pad_y) / Y::UP, left = (q0 * X::DOWN - a.pad_x) / X::UP; /* exact */
    float g[TAPS], sum[Y::TILE][X::TILE][V];
#pragma unroll
    for (int k = 0; k < TAPS; k++)
        g[k] = shared[k];
#pragma unroll
    for (int p = 0; p < Y::TILE; p++)
#pragma unroll
        for (int q = 0; q < X::TILE; q++)
#pragma unroll
            for (int v = 0; v < V; v++)
                sum[p][q][v] = 0;
    x += (int64_t)n * a.H * a.W * a.C + c;
    lanes<T, V> in[X::READS], next[X::READS];
    read_row<T, V, X::READS>(in, x, top, left, a);
#pragma unroll
    for (int r = 0; r < Y::READS; r++) {
        if (r + 1 < Y::READS) /* on its way while this row is summed */
            read_row<T, V, X::READS>(next, x, top + r + 1, left, a);
#pragma unroll
        for (int s = 0; s < X::READS; s++)
#pragma unroll
            for (int p = 0; p < Y::TILE; p++)
#pragma unroll
                for (int q = 0; q < X::TILE; q++) {
                    const int k = r * Y::UP - p * Y::DOWN, j = s * X::UP - q * X::DOWN;
                    if (k >= 0 && k < Y::TAPS && j >= 0 && j < X::TAPS)
#pragma unroll
                        for (int v = 0; v < V; v++)
                            sum[p][q][v] = fmaf(g[k * X::TAPS + j], to_float(in[s].x[v]), sum[p][q][v]);
                }
#pragma unroll
        for (int s = 0; s < X::READS; s++)
            in[s] = next[s];
    }
#pragma unroll
    for (int p = 0; p < Y::TILE; p++)
#pragma unroll
        for (int q = 0; q < X::TILE; q++)
            if (p0 + p < a.P && q0 + q < a.Q) {
                lanes<T, V> out;
#pragma unroll
                for (int v = 0; v < V; v++)
                    out.x[v] = from_float<T>(sum[p][q][v]);
                store<T, V>(y + (((int64_t)n * a.P + p0 + p) * a.Q + q0 + q) * a.C + c, out);
            }
}

template <typename T, int V, class Y, class X> static void launch_tile(struct cuda_context *c, const T *x, const float *f, T *y, const struct fir_args *a) {
    int64_t threads = (int64_t)a->N * ((a->P + Y::TILE - 1) / Y::TILE) * ((a->Q + X::TILE - 1) / X::TILE) * (a->C / V);
    fir_tile<T, V, Y, X><<<cuda_grid(threads, 128), 128, 0, c->stream>>>(x, f, y, *a, threads);
}

/* ---- which one ---- */
/* 4x4 on channels in multiples of 16 bytes. */
template <typename T> static bool square(struct cuda_context *c, const T *x, const float *f, T *y, const struct fir_args *a) {
    const int V = 16 / sizeof(T);
    if (a->fh != 4 || a->fw != 4 || a->per_sample || a->C % V || ((uintptr_t)x | (uintptr_t)y) % 16 || a->up_y != a->up_x ||
        a->down_y != a->down_x)
        return false;
    if (a->up_y == 1 && a->down_y == 1)
        launch_tile<T, V, axis<4, 1, 1, 4>, axis<4, 1, 1, 2>>(c, x, f, y, a);
    else if (a->up_y == 1 && a->down_y == 2)
        launch_tile<T, V, axis<4, 1, 2, 2>, axis<4, 1, 2, 2>>(c, x, f, y, a);
    else if (a->up_y == 2 && a->down_y == 1 && a->pad_y % 2 == 0 && a->pad_x % 2 == 0)
        launch_tile<T, V, axis<4, 2, 1, 4>, axis<4, 2, 1, 2>>(c, x, f, y, a);
    else
        return false;
    return true;
}

/* The augmentation's 12 taps along one axis of float pictures. Down a column whole rows are channels, four at a time; along a row
 * a thread takes the three of each pixel. */
typedef axis<1, 1, 1, 1> still;
static bool column(struct cuda_context *c, const float *x, const float *f, float *y, const struct fir_args *given) {
    struct fir_args a = *given;
    a.C *= a.W;
    a.W = a.Q = 1;
    if (a.fw != 1 || given->up_x != 1 || given->down_x != 1 || given->pad_x || given->Q != given->W || a.C % 4 ||
        ((uintptr_t)x | (uintptr_t)y) % 16)
        return false;
    if (a.up_y == 2 && a.down_y == 1 && a.pad_y % 2 == 0)
        launch_tile<float, 4, axis<12, 2, 1, 8>, still>(c, x, f, y, &a);
    else if (a.up_y == 1 && a.down_y == 2)
        launch_tile<float, 4, axis<12, 1, 2, 4>, still>(c, x, f, y, &a);
    else
        return false;
    return true;
}
static bool row(struct cuda_context *c, const float *x, const float *f, float *y, const struct fir_args *a) {
    if (a->fh != 1 || a->up_y != 1 || a->down_y != 1 || a->pad_y || a->P != a->H || a->C != 3)
        return false;
    if (a->up_x == 2 && a->down_x == 1 && a->pad_x % 2 == 0)
        launch_tile<float, 3, still, axis<12, 2, 1, 4>>(c, x, f, y, a);
    else if (a->up_x == 1 && a->down_x == 2)
        launch_tile<float, 3, still, axis<12, 1, 2, 2>>(c, x, f, y, a);
    else
        return false;
    return true;
}
template <typename T> static bool axes(struct cuda_context *, const T *, const float *, T *, const struct fir_args *) { return false; }
template <> bool axes<float>(struct cuda_context *c, const float *x, const float *f, float *y, const struct fir_args *a) {
    return a->fh * a->fw == 12 && !a->per_sample && (column(c, x, f, y, a) || row(c, x, f, y, a));
}

template <typename T> static void launch(struct cuda_context *c, const struct kernel_call *k, const struct fir_args *a) {
    const T *x = (const T *)k->in[0].data;
    const float *f = (const float *)k->in[1].data;
    T *y = (T *)k->out[0].data;
    if (!square(c, x, f, y, a) && !axes(c, x, f, y, a)) {
        dim3 grid(cuda_grid((int64_t)a->Q * a->C), (unsigned)a->P, (unsigned)a->N);
        if (a->C == 3)
            fir_row<T, 3><<<grid, CUDA_BLOCK, 0, c->stream>>>(x, f, y, *a);
        else
            fir_row<T, 0><<<grid, CUDA_BLOCK, 0, c->stream>>>(x, f, y, *a);
    }
    CUDA_CHECK(cudaGetLastError());
}

static struct fir_args arguments(const struct kernel_call *c) {
    const struct operand *x = &c->in[0], *f = &c->in[1], *y = &c->out[0];
    const int64_t *i = c->a.i;
    struct fir_args a;
    a.N = (int)x->dim[0], a.H = (int)x->dim[1], a.W = (int)x->dim[2], a.C = (int)x->dim[3], a.P = (int)y->dim[1], a.Q = (int)y->dim[2];
    a.fh = (int)f->dim[f->ndim - 2], a.fw = (int)f->dim[f->ndim - 1];
    a.up_y = (int)i[0], a.up_x = (int)i[1], a.down_y = (int)i[2], a.down_x = (int)i[3], a.pad_y = (int)i[4], a.pad_x = (int)i[6];
    a.flip = i[8] != 0, a.gain = c->a.f[0];
    a.per_sample = f->ndim == 3 && f->dim[0] > 1;
    return a;
}

static enum status prepare(void *context, struct kernel_call *c, struct error *e) {
    struct fir_args a = arguments(c);
    (void)context;
    if (a.fh * a.fw > ROW_TAPS || a.N > 65535 || a.P > 65535)
        return st_fail(e, "upfirdn2d on CUDA: a filter of %dx%d, %d pictures, %d rows; at most %d taps and 65535 are possible", a.fh, a.fw,
                       a.N, a.P, ROW_TAPS);
    return ST_OK;
}

static void run(void *context, const struct kernel_call *c) {
    struct fir_args a = arguments(c);
    if (operand_count(&c->out[0]))
        CUDA_BY_TYPE(c->in[0].dtype, launch, cuda(context), c, &a);
}

extern "C" const struct kernel kernel_upfirdn2d_cuda = {prepare, run, NULL};
