/* fused.cu - CUDA's fused pointwise kernels: programs that occur in everyday use run compiled ahead (kernels/gen/fused_gen.c writes
 * them at build time), every other one is interpreted here.
 *
 * The interpreter keeps registers in shared memory, four elements a thread. Every thread runs the same micro-operations on its own
 * elements, so there is no divergence and no barrier; a register is a float4 a thread (or one float where the innermost dimension
 * is no multiple of four). Per element an operation costs about 16 bytes of shared-memory traffic. Both give the same bits.
 *
 * Measured on an H200 (a copy moves 4200 GB/s): all fused launches of a training step's four phases, 128x128, batch 32, float32: 17.4 ms
 * compiled ahead (launches over 4 MB at 4130 GB/s; two or four groups of elements a thread instead of one gain nothing).
 */
#include <string.h>

#include "kernels/fused.cuh"

extern "C" {
#include "kernels/fused.h"
#include "kernels/fused_pattern.h"
}

/* ---- the interpreter ---- */
struct interpreter_args {
    struct fused_program f;
    void *in[MAX_IN], *out[MAX_OUT];
    uint8_t in_type[MAX_IN], out_type[MAX_OUT];
    int64_t groups; /* threads' worth of work: elements / V */
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

template <int V> __global__ static void fused_kernel(const __grid_constant__ interpreter_args g) {
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
static bool by_four(const struct kernel_call *c, void *const *out) {
    const struct fused_program *f = c->fused;
    if (!f->ndim || f->dim[f->ndim - 1] % 4)
        return false;
    for (int i = 0; i < f->n_in; i++) {
        if (f->stride[i][f->ndim - 1] == 1 &&
            ((uintptr_t)c->in[i].data % (4 * (size_t)dtype_size(c->in[i].dtype)) || c->in[i].dtype == DT_U8))
            return false;
        for (int d = 0; d < f->ndim - 1; d++)
            if (f->stride[i][f->ndim - 1] == 1 && f->stride[i][d] % 4)
                return false;
    }
    for (int k = 0; k < c->n_out; k++)
        if ((uintptr_t)out[k] % (4 * (size_t)dtype_size(c->out[k].dtype)))
            return false;
    return true;
}

/* ---- sums: x [O,T,C] -> y [O,C] for each output that is one, block (32 columns, o, output) of 32 x 32 threads ---- */
struct row_sums {
    const float *x[MAX_OUT];
    float *y[MAX_OUT];
    int64_t T[MAX_OUT], C;
    uint32_t O[MAX_OUT];
};

__global__ static void add_rows_kernel(const __grid_constant__ row_sums s) {
    __shared__ float shared[32][33];
    const uint32_t k = blockIdx.z, o = blockIdx.y;
    if (o >= s.O[k])
        return;
    const int64_t c = blockIdx.x * 32 + threadIdx.x, T = s.T[k];
    const float *x = s.x[k] + o * T * s.C + c;
    float v = 0;
    if (c < s.C)
#pragma unroll 16 /* loads in flight */
        for (int64_t t = threadIdx.y; t < T; t += 32)
            v += x[t * s.C];
    shared[threadIdx.y][threadIdx.x] = v;
    __syncthreads();
    if (threadIdx.y == 0 && c < s.C) {
        for (int i = 1; i < 32; i++)
            v += shared[i][threadIdx.x];
        s.y[k][o * s.C + c] = v;
    }
}

/* All sums of a launch from its partial ones: partial[k] for output k, in which rows(k) rows of the last dimension make each of its rows. */
template <class F> static void add_rows(void *context, const struct kernel_call *c, float *const *partial, F rows) {
    struct row_sums s;
    unsigned n = 0, most = 0;
    s.C = c->fused->dim[c->fused->ndim - 1];
    for (int k = 0; k < c->n_out; k++)
        if (c->fused->sum[k]) {
            s.x[n] = partial[k], s.y[n] = (float *)c->out[k].data, s.T[n] = rows(k), s.O[n] = (uint32_t)(operand_count(&c->out[k]) / s.C);
            most = s.O[n] > most ? s.O[n] : most;
            n++;
        }
    if (!n)
        return;
    add_rows_kernel<<<dim3(cuda_grid(s.C, 32), most, n), dim3(32, 32), 0, cuda(context)->stream>>>(s);
    CUDA_CHECK(cudaGetLastError());
}

/* Rows of the last dimension that add up to one row of output k. */
static int64_t summed_rows(const struct fused_program *f, int k) {
    int64_t n = 1;
    for (int d = 0; d < f->ndim; d++)
        n *= f->sum[k] >> d & 1 ? f->dim[d] : 1;
    return n;
}

static void interpret(void *context, const struct kernel_call *c) {
    struct interpreter_args g;
    g.f = *c->fused;
    int n_reg = g.f.n_in;
    for (int i = 0; i < g.f.n_ops; i++)
        if (g.f.ops[i].out >= n_reg)
            n_reg = g.f.ops[i].out + 1;
    for (int i = 0; i < c->n_in; i++)
        g.in[i] = c->in[i].data, g.in_type[i] = (uint8_t)c->in[i].dtype;
    for (int k = 0; k < c->n_out; k++)
        g.out_type[k] = (uint8_t)c->out[k].dtype;
    int64_t total = 1;
    for (int d = 0; d < g.f.ndim; d++)
        total *= g.f.dim[d];
    for (int k = 0, sums = 0; k < c->n_out; k++)
        g.out[k] = g.f.sum[k] ? (float *)c->workspace + sums++ * ((total + 63) / 64 * 64) : c->out[k].data;
    int v = by_four(c, g.out) ? 4 : 1, block = 64; /* 42 registers x 64 threads x 16 bytes = 42 KB: within every device's default */
    g.groups = total / v;
    size_t shared = (size_t)n_reg * block * v * sizeof(float);
    if (v == 4)
        fused_kernel<4><<<cuda_grid(g.groups, block), block, shared, cuda(context)->stream>>>(g);
    else
        fused_kernel<1><<<cuda_grid(g.groups, block), block, shared, cuda(context)->stream>>>(g);
    CUDA_CHECK(cudaGetLastError());
    add_rows(context, c, (float *const *)g.out, [&](int k) { return summed_rows(c->fused, k); });
}

/* ---- kernels compiled ahead ---- */
#define PART(n) extern const struct fused_entry fused_part_##n[];
PART(0) PART(1) PART(2) PART(3) PART(4) PART(5) PART(6) PART(7)
#undef PART
static const struct fused_entry *const parts[FUSED_PARTS] = {fused_part_0, fused_part_1, fused_part_2, fused_part_3,
                                                             fused_part_4, fused_part_5, fused_part_6, fused_part_7};

struct compiled {
    const void *kernel;
    struct fused_pattern pattern;
    struct fused_args args; /* all but the addresses */
    int64_t segments, slices, partial_floats; /* with sums */
};

static const void *find(const char *text) {
    for (int p = 0; p < FUSED_PARTS; p++)
        for (const struct fused_entry *e = parts[p]; e->text; e++)
            if (!strcmp(e->text, text))
                return e->kernel;
    return NULL;
}

/* magic and shift with n / d = (umulhi(magic, n) + n) >> shift for all n < 2^32 (the sum takes 33 bits). */
static void divisor(uint32_t d, uint32_t *magic, uint32_t *shift) {
    *shift = 0;
    while (*shift < 31 && (1u << *shift) < d)
        ++*shift;
    *magic = (uint32_t)(((1ull << 32) * ((1ull << *shift) - d)) / d + 1);
}

/* Segments as long as all sums allow, cut into slices that fill the chip. */
static void prepare_sums(void *context, struct kernel_call *c, struct compiled *k, int64_t total) {
    const struct fused_program *f = c->fused;
    int64_t channels = f->dim[f->ndim - 1], rows = total / channels;
    for (int i = 0; i < c->n_out; i++)
        if (f->sum[i] && summed_rows(f, i) < rows)
            rows = summed_rows(f, i);
    k->segments = total / channels / rows;
    k->args.channels = (uint32_t)channels;
    k->args.threads_x = (uint32_t)(channels / k->pattern.width);
    k->args.rows = (uint32_t)rows;
    int64_t down = FUSED_BLOCK / k->args.threads_x, slices = 16LL * cuda(context)->device.multiProcessorCount / k->segments + 1;
    int64_t most = rows / (4 * down);
    slices = slices < most ? slices : most > 1 ? most : 1;
    k->args.slice = (uint32_t)((rows + slices - 1) / slices);
    k->slices = (rows + k->args.slice - 1) / k->args.slice;
    k->partial_floats = (k->segments * k->slices * channels + 63) / 64 * 64;
    for (int i = 0; i < c->n_out; i++)
        c->workspace_bytes += f->sum[i] ? k->partial_floats * 4 : 0;
}

static enum status prepare(void *context, struct kernel_call *c, struct error *e) {
    struct fused_pattern pattern;
    const void *kernel = fused_pattern_of(c, &pattern) ? find(pattern.text) : NULL;
    if (!kernel) {
        int64_t all = 1;
        for (int d = 0; d < c->fused->ndim; d++)
            all *= c->fused->dim[d];
        for (int k = 0; k < c->n_out; k++)
            c->workspace_bytes += c->fused->sum[k] ? (all + 63) / 64 * 256 : 0;
        return ST_OK;
    }
    struct compiled *k = (struct compiled *)calloc(1, sizeof *k);
    if (!k)
        return st_fail(e, "out of memory");
    const struct fused_program *f = c->fused;
    int64_t total = 1;
    int numbers = 0;
    k->kernel = kernel;
    k->pattern = pattern;
    for (int d = 0; d < f->ndim; d++) {
        total *= f->dim[d];
        k->args.dim[d] = (uint32_t)f->dim[d];
        divisor(k->args.dim[d], &k->args.magic[d], &k->args.shift[d]);
        for (int i = 0; i < f->n_in; i++)
            k->args.stride[i][d] = (uint32_t)f->stride[i][d];
    }
    k->args.groups = (uint32_t)(total / pattern.width);
    for (int i = 0; i < f->n_ops; i++)
        for (int n = 0; n < fused_numbers(f->ops[i].op); n++)
            k->args.number[numbers++] = f->ops[i].f[n];
    if (pattern.sums)
        prepare_sums(context, c, k, total);
    c->state = k;
    return ST_OK;
}

static void release(void *, struct kernel_call *c) { free(c->state); }

static bool aligned(const struct operand *o, int width) {
    size_t bytes = (size_t)width * (size_t)dtype_size(o->dtype);
    return (uintptr_t)o->data % (bytes < 16 ? bytes : 16) == 0;
}

static void run(void *context, const struct kernel_call *c) {
    struct compiled *k = (struct compiled *)c->state;
    bool fits = k != NULL;
    for (int i = 0; i < c->n_in && fits; i++) {
        k->args.in[i] = c->in[i].data;
        fits = (k->pattern.walk[i] != WALK_DENSE && k->pattern.walk[i] != WALK_ROW) || aligned(&c->in[i], k->pattern.width);
    }
    for (int i = 0; i < c->n_out && fits; i++) {
        k->args.out[i] = c->out[i].data;
        fits = aligned(&c->out[i], k->pattern.width);
    }
    if (!fits && k && k->pattern.sums) { /* the planner lets no such window near a sum, and there is no room to interpret */
        fprintf(stderr, "%s:%d: sums of tensors that are not 16-byte aligned\n", __FILE__, __LINE__);
        abort();
    }
    if (!fits) {
        interpret(context, c);
        return;
    }
    dim3 grid = dim3(cuda_grid(k->args.groups, FUSED_BLOCK));
    if (k->pattern.sums) {
        grid = dim3((unsigned)k->slices, (unsigned)k->segments);
        for (int i = 0, sums = 0; i < c->n_out; i++)
            if (c->fused->sum[i])
                k->args.partial[i] = (float *)c->workspace + sums++ * k->partial_floats;
    }
    void *args[] = {&k->args};
    CUDA_CHECK(cudaLaunchKernel(k->kernel, grid, dim3(FUSED_BLOCK), args, 0, cuda(context)->stream));
    if (k->pattern.sums)
        add_rows(context, c, k->args.partial, [&](int i) { return summed_rows(c->fused, i) / k->args.rows * k->slices; });
}

extern "C" const struct kernel kernel_fused_cuda = {prepare, run, release};
