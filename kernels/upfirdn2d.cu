/* upfirdn2d.cu - see upfirdn2d.h. Four kernels; all visit only the taps that meet a sample (a quarter of them at up = 2).
 *
 *   fir_strip the network's 4x4 on channels in 16-byte groups, when the filter is an outer product ([1,3,3,1] is; looked up by each
 *             block, exactly): a thread goes down two columns, filters each row of pixels once across into a window of rows kept in
 *             registers, and sums the window for each output. 8 multiply-adds an element instead of 16. At one rate on 16-bit
 *             values 16 of them, their conversions and addresses (22 instructions in all) take 0.8 of all issue slots where memory
 *             could pass the values at 4.2 TB/s; now it is 12 to 13. The next row is on its way while this one is summed.
 *   fir_flat  the augmentation's 12 taps along rows of RGB pixels, through shared memory: what is read and written is whole lines, where
 *             three values of a pixel a thread make a warp's 24 loads touch six lines each.
 *   fir_tile  the same 12 taps down columns (a row of the picture seen as channels). A thread computes a tile of pixels in
 *             registers; each pixel read serves every tap it meets. Positions and taps are known to the compiler.
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

/* ---- strips of rows, 4x4 ---- */
template <int UP, int DOWN> struct strip {
    static const int COLUMNS = DOWN == 2 ? 1 : 2;              /* outputs across */
    static const int READS = ((COLUMNS - 1) * DOWN + 3) / UP + 1; /* pixels across that they meet */
    static const int WINDOW = 3 / UP + 1 + (UP == 2);          /* rows that the outputs of a step meet: */
    static const int IN = DOWN, OUT = UP;                      /* a step takes IN new ones and makes OUT rows of output */
    static const int PERIOD = WINDOW / IN;                     /* steps after which the rows' places in the window are as at first */
};
#define STRIP_THREADS 128
#define STRIP_LANES 16 /* 16-byte groups of channels that neighbouring threads take: then come neighbouring columns, which share pixels */

/* across[j] * down[i] = tap (i,j), exactly? The pivot is the smallest, so that ratios are exact (1, 3, 3, 1). Every warp finds out for
 * itself, two of its threads a tap: nobody waits for a block. */
__device__ static __forceinline__ bool strip_separate(float (&down)[4], float (&across)[4], const float *f, const fir_args &a) {
    const unsigned all = 0xffffffffu;
    const int k = threadIdx.x % 16;
    float tap = f[a.flip ? k : 15 - k], least = tap != 0 ? fabsf(tap) : INFINITY;
    int pivot = k;
#pragma unroll
    for (int o = 8; o; o >>= 1) {
        float other = __shfl_xor_sync(all, least, o);
        int at = __shfl_xor_sync(all, pivot, o);
        if (other < least || (other == least && at < pivot))
            least = other, pivot = at;
    }
    float row = __shfl_sync(all, tap, pivot / 4 * 4 + k % 4), column = __shfl_sync(all, tap, k / 4 * 4 + pivot % 4) / __shfl_sync(all, tap, pivot);
    bool separable = __all_sync(all, least < INFINITY && __fmul_rn(column, row) == tap);
#pragma unroll
    for (int i = 0; i < 4; i++)
        down[i] = a.gain * __shfl_sync(all, column, 4 * i), across[i] = __shfl_sync(all, row, i);
    return separable;
}

/* 16 bytes as floats and back; 16-bit pairs by one instruction each. */
__device__ static __forceinline__ void unpack(uint4 w, float (&x)[4], const float *) {
    x[0] = __uint_as_float(w.x), x[1] = __uint_as_float(w.y), x[2] = __uint_as_float(w.z), x[3] = __uint_as_float(w.w);
}
__device__ static __forceinline__ void unpack(uint4 w, float (&x)[8], const __nv_bfloat16 *) {
    const unsigned pair[4] = {w.x, w.y, w.z, w.w};
#pragma unroll
    for (int k = 0; k < 4; k++)
        x[2 * k] = __uint_as_float(pair[k] << 16), x[2 * k + 1] = __uint_as_float(pair[k] & 0xffff0000u);
}
__device__ static __forceinline__ void unpack(uint4 w, float (&x)[8], const __half *) {
    const unsigned pair[4] = {w.x, w.y, w.z, w.w};
#pragma unroll
    for (int k = 0; k < 4; k++) {
        float2 two = __half22float2(*(const __half2 *)&pair[k]);
        x[2 * k] = two.x, x[2 * k + 1] = two.y;
    }
}
__device__ static __forceinline__ uint4 pack(const float (&x)[4], const float *) {
    return make_uint4(__float_as_uint(x[0]), __float_as_uint(x[1]), __float_as_uint(x[2]), __float_as_uint(x[3]));
}
__device__ static __forceinline__ uint4 pack(const float (&x)[8], const __nv_bfloat16 *) {
    unsigned pair[4];
#pragma unroll
    for (int k = 0; k < 4; k++)
        *(__nv_bfloat162 *)&pair[k] = __floats2bfloat162_rn(x[2 * k], x[2 * k + 1]);
    return make_uint4(pair[0], pair[1], pair[2], pair[3]);
}
__device__ static __forceinline__ uint4 pack(const float (&x)[8], const __half *) {
    unsigned pair[4];
#pragma unroll
    for (int k = 0; k < 4; k++)
        *(__half2 *)&pair[k] = __floats2half2_rn(x[2 * k], x[2 * k + 1]);
    return make_uint4(pair[0], pair[1], pair[2], pair[3]);
}

template <typename T, int READS> __device__ static __forceinline__ void strip_read(uint4 (&in)[READS], const T *at, bool there, unsigned inside, int C) {
#pragma unroll
    for (int s = 0; s < READS; s++) {
        in[s] = make_uint4(0, 0, 0, 0);
        if (there && (inside >> s & 1))
            in[s] = __ldg((const uint4 *)(at + s * C));
    }
}

/* One row of pixels to one of outputs' columns. */
template <typename T, int V, class S, int UP, int DOWN>
__device__ static __forceinline__ void strip_across(float (&to)[S::COLUMNS][V], const uint4 (&in)[S::READS], const float (&tap)[4]) {
#pragma unroll
    for (int s = 0; s < S::READS; s++) {
        float x[V];
        unpack(in[s], x, (const T *)nullptr);
#pragma unroll
        for (int q = 0; q < S::COLUMNS; q++) {
            const int j = s * UP - q * DOWN;
            if (j >= 0 && j < 4)
#pragma unroll
                for (int v = 0; v < V; v++)
                    to[q][v] = j >= UP ? fmaf(tap[j], x[v], to[q][v]) : tap[j] * x[v]; /* j < UP: the first to come */
        }
    }
}

/* Outputs of a filter that is no product: slow, and rare. */
template <typename T, int V> __device__ __noinline__ static void strip_any(const T *x, T *y, const float *f, int p0, int p1, int q0, int q1, int up, int down, const fir_args &a) {
    for (int p = p0; p < p1; p++)
        for (int q = q0; q < q1; q++) {
            float sum[V] = {0};
            for (int k = 0; k < 16; k++) {
                int h = p * down + k / 4 - a.pad_y, w = q * down + k % 4 - a.pad_x;
                if (h < 0 || w < 0 || h % up || w % up || h / up >= a.H || w / up >= a.W)
                    continue;
                lanes<T, V> in = load<T, V>(x + ((int64_t)(h / up) * a.W + w / up) * a.C);
#pragma unroll
                for (int v = 0; v < V; v++)
                    sum[v] = fmaf(a.gain * f[a.flip ? k : 15 - k], to_float(in.x[v]), sum[v]);
            }
            lanes<T, V> out;
#pragma unroll
            for (int v = 0; v < V; v++)
                out.x[v] = from_float<T>(sum[v]);
            store<T, V>(y + ((int64_t)p * a.Q + q) * a.C, out);
        }
}

/* `rows` outputs a thread, a multiple of UP; `group` neighbouring threads take neighbouring groups of channels. At UP 2 pads are even. */
template <typename T, int UP, int DOWN>
__global__ static void __launch_bounds__(STRIP_THREADS, 4) fir_strip(const T *x, const float *f, T *y, const __grid_constant__ fir_args a, int rows, int group, int64_t threads) {
    typedef strip<UP, DOWN> S;
    const int V = 16 / sizeof(T);
    float down[4], horizontal[4];
    const bool separable = strip_separate(down, horizontal, f, a);
    int64_t i = (int64_t)blockIdx.x * STRIP_THREADS + threadIdx.x;
    if (i >= threads)
        return;
    int tiles = (a.Q + S::COLUMNS - 1) / S::COLUMNS, strips = (a.P + rows - 1) / rows, chunks = a.C / V / group;
    int64_t rest = i / group;
    int lane = (int)(i - rest * group), across = (int)(rest % tiles);
    rest /= tiles;
    int c = ((int)(rest % chunks) * group + lane) * V;
    rest /= chunks;
    int n = (int)(rest / strips), p0 = (int)(rest - (int64_t)n * strips) * rows, p1 = p0 + rows < a.P ? p0 + rows : a.P;
    int q0 = across * S::COLUMNS, left = (q0 * DOWN - a.pad_x) / UP, h = (p0 * DOWN - a.pad_y) / UP; /* exact */
    x += (int64_t)n * a.H * a.W * a.C + c;
    y += (int64_t)n * a.P * a.Q * a.C + c;
    if (!separable) {
        strip_any<T, V>(x, y, f, p0, p1, q0, q0 + S::COLUMNS < a.Q ? q0 + S::COLUMNS : a.Q, UP, DOWN, a);
        return;
    }
    unsigned inside = 0;
#pragma unroll
    for (int s = 0; s < S::READS; s++)
        inside |= (unsigned)(left + s >= 0 && left + s < a.W) << s;
    const int64_t in_row = (int64_t)a.W * a.C, out_row = (int64_t)a.Q * a.C;
    const bool both = q0 + 1 < a.Q; /* where COLUMNS is 2 */
    const T *at = x + h * in_row + (int64_t)left * a.C; /* of row h; looked at only where there is a pixel */
    T *to = y + p0 * out_row + (int64_t)q0 * a.C;
    float window[S::WINDOW][S::COLUMNS][V];
    uint4 in[S::IN][S::READS];
    { /* the rows before the first step's new ones, and those */
        uint4 first[S::WINDOW - S::IN][S::READS];
#pragma unroll
        for (int r = 0; r < S::WINDOW - S::IN; r++, h++, at += in_row)
            strip_read<T, S::READS>(first[r], at, h >= 0 && h < a.H, inside, a.C);
#pragma unroll
        for (int r = 0; r < S::IN; r++, h++, at += in_row)
            strip_read<T, S::READS>(in[r], at, h >= 0 && h < a.H, inside, a.C);
#pragma unroll
        for (int r = 0; r < S::WINDOW - S::IN; r++)
            strip_across<T, V, S, UP, DOWN>(window[r], first[r], horizontal);
    }
    for (int p = p0; p < p1;)
#pragma unroll
        for (int k = 0; k < S::PERIOD; k++) { /* row r of the window is in place (k*IN + r) % WINDOW */
            if (p >= p1)
                break;
#pragma unroll
            for (int r = 0; r < S::IN; r++)
                strip_across<T, V, S, UP, DOWN>(window[(k * S::IN + S::WINDOW - S::IN + r) % S::WINDOW], in[r], horizontal);
            if (p + S::OUT < p1)
#pragma unroll
                for (int r = 0; r < S::IN; r++, h++, at += in_row)
                    strip_read<T, S::READS>(in[r], at, h >= 0 && h < a.H, inside, a.C);
#pragma unroll
            for (int o = 0; o < S::OUT; o++, p++, to += out_row)
#pragma unroll
                for (int q = 0; q < S::COLUMNS; q++) {
                    float sum[V];
#pragma unroll
                    for (int r = 0; r < S::WINDOW; r++) {
                        const int i = r * UP - o;
                        if (i >= 0 && i < 4)
#pragma unroll
                            for (int v = 0; v < V; v++) {
                                float e = window[(k * S::IN + r) % S::WINDOW][q][v];
                                sum[v] = i >= UP ? fmaf(down[i], e, sum[v]) : down[i] * e;
                            }
                    }
                    if (p < p1 && (q == 0 || both))
                        *(uint4 *)(to + q * a.C) = pack(sum, (const T *)nullptr);
                }
        }
}

template <typename T, int UP, int DOWN> static void launch_strip(struct cuda_context *c, const T *x, const float *f, T *y, const struct fir_args *a) {
    const int groups = a->C / (16 / (int)sizeof(T)), group = groups % STRIP_LANES ? groups : STRIP_LANES;
    const int across = strip<UP, DOWN>::COLUMNS;
    int64_t columns = (int64_t)a->N * ((a->Q + across - 1) / across) * groups, enough = 12LL * STRIP_THREADS * c->device.multiProcessorCount;
    int rows = 64; /* shorter strips read more rows twice; too few threads leave multiprocessors idle (three times what runs at once) */
    while (rows > 4 && columns * ((a->P + rows - 1) / rows) < enough)
        rows /= 2;
    int64_t threads = columns * ((a->P + rows - 1) / rows);
    fir_strip<T, UP, DOWN><<<cuda_grid(threads, STRIP_THREADS), STRIP_THREADS, 0, c->stream>>>(x, f, y, *a, rows, group, threads);
}

/* ---- which one ---- */
/* 4x4 on channels in multiples of 16 bytes. */
template <typename T> static bool square(struct cuda_context *c, const T *x, const float *f, T *y, const struct fir_args *a) {
    const int V = 16 / sizeof(T);
    if (a->fh != 4 || a->fw != 4 || a->per_sample || a->C % V || ((uintptr_t)x | (uintptr_t)y) % 16 || a->up_y != a->up_x ||
        a->down_y != a->down_x)
        return false;
    bool even = a->pad_y % 2 == 0 && a->pad_x % 2 == 0;
    if (a->up_y == 1 && a->down_y == 1)
        launch_strip<T, 1, 1>(c, x, f, y, a);
    else if (a->up_y == 1 && a->down_y == 2)
        launch_strip<T, 1, 2>(c, x, f, y, a);
    else if (a->up_y == 2 && a->down_y == 1 && even)
        launch_strip<T, 2, 1>(c, x, f, y, a);
    else
        return false;
    return true;
}

/* The augmentation's 12 taps along one axis of float pictures. Down a column whole rows are channels, four at a time. */
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

/* Along rows of RGB: 192 threads take 64 pixels at a time, a value each, of two rows that lie in shared memory. */
#define FLAT_PIXELS 256 /* of a row of output */
#define FLAT_ROWS 2
#define FLAT_THREADS 192
template <int UP, int DOWN> __global__ static void __launch_bounds__(FLAT_THREADS) fir_flat(const float *x, const float *f, float *y, const __grid_constant__ fir_args a) {
    const int READ = ((FLAT_PIXELS * DOWN + 12) / UP + 1) * 3, TAPS = 12 / UP;
    __shared__ float in[FLAT_ROWS][READ];
    int q0 = blockIdx.x * FLAT_PIXELS, p0 = blockIdx.y * FLAT_ROWS, left = (q0 * DOWN - a.pad_x) / UP * 3; /* exact: at UP 2 the pad is even */
    x += (int64_t)blockIdx.z * a.H * a.W * 3;
    y += (int64_t)blockIdx.z * a.P * a.Q * 3;
#pragma unroll
    for (int r = 0; r < FLAT_ROWS; r++)
#pragma unroll
        for (int k = threadIdx.x; k < READ; k += FLAT_THREADS) {
            bool there = p0 + r < a.H && left + k >= 0 && left + k < a.W * 3;
            in[r][k] = there ? __ldg(x + (int64_t)(p0 + r) * a.W * 3 + left + k) : 0;
        }
    int pixel = threadIdx.x / 3, c = threadIdx.x - pixel * 3, phase = UP == 2 ? pixel % 2 : 0;
    float tap[TAPS];
#pragma unroll
    for (int i = 0; i < TAPS; i++)
        tap[i] = a.gain * __ldg(f + (a.flip ? phase + UP * i : 11 - phase - UP * i));
    __syncthreads();
#pragma unroll
    for (int r = 0; r < FLAT_ROWS; r++)
#pragma unroll
        for (int k = 0; k < FLAT_PIXELS; k += FLAT_THREADS / 3) {
            int q = k + pixel, first = (UP == 2 ? q / 2 + phase : q * DOWN) * 3 + c;
            if (p0 + r >= a.P || q0 + q >= a.Q)
                continue;
            float sum = 0;
#pragma unroll
            for (int i = 0; i < TAPS; i++)
                sum = fmaf(tap[i], in[r][first + 3 * i], sum);
            y[((int64_t)(p0 + r) * a.Q + q0 + q) * 3 + c] = sum;
        }
}

template <int UP, int DOWN> static void launch_flat(struct cuda_context *c, const float *x, const float *f, float *y, const struct fir_args *a) {
    dim3 grid(cuda_grid(a->Q, FLAT_PIXELS), cuda_grid(a->P, FLAT_ROWS), (unsigned)a->N);
    fir_flat<UP, DOWN><<<grid, FLAT_THREADS, 0, c->stream>>>(x, f, y, *a);
}

static bool row(struct cuda_context *c, const float *x, const float *f, float *y, const struct fir_args *a) {
    if (a->fh != 1 || a->up_y != 1 || a->down_y != 1 || a->pad_y || a->P != a->H || a->C != 3)
        return false;
    if (a->up_x == 2 && a->down_x == 1 && a->pad_x % 2 == 0)
        launch_flat<2, 1>(c, x, f, y, a);
    else if (a->up_x == 1 && a->down_x == 2)
        launch_flat<1, 2>(c, x, f, y, a);
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
