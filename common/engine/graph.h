/* graph.h - building a static graph of tensor operations, and differentiating it.
 *
 * The engine is a small compiler: build the graph once with the functions below, differentiate it (the derivative is more
 * nodes of the same operations, so it can be differentiated again), turn it into a program (device.h), run that many times.
 * Building computes nothing; shapes and types are known and checked at once: a mistake aborts with both shapes printed. The
 * engine knows nothing of StyleGAN and of files.
 *
 * Layout. A tensor is dense and row-major in its dim[] order. Pictures are [N,H,W,C] (channels last: what tensor cores and
 * vector units want), convolution weights [K,R,S,C] = [out,kh,kw,in]. Letters used throughout the project: N batch, H W input
 * size, P Q output size, C input channels, K output channels, R S kernel height and width.
 *
 *     struct graph *g = graph_create("f");
 *     tensor *x = graph_input(g, bx, 0, DT_F32, "x", 2, 8, 3);           // buffer bx from its start, shape [8,3]
 *     tensor *w = graph_input(g, bw, 0, DT_F32, "w", 2, 5, 3);
 *     tensor *y = softplus(g, matmul(g, x, false, w, true));            // [8,5]
 *     tensor *loss = sum_all(g, y);                                     // [1]
 *     tensor *dw;
 *     graph_grad(g, loss, &w, 1, &dw);                                  // [5,3]
 *     assign(g, graph_input(g, bdw, 0, DT_F32, "dw", 2, 5, 3), dw);
 *     struct program *p; program_create(&p, g, device, &e); program_run(p);
 *
 * Ownership: nodes belong to the graph and die with it. A graph is built by one thread.
 * Order: nodes run in the order they were built (dead ones not at all). An EFFECT writes its buffer when its turn comes;
 * input nodes are windows on their buffer, so what is built after an effect reads the new content. The planner never moves a
 * read of a buffer across an effect on it.
 */
#ifndef FACEMILL_GRAPH_H
#define FACEMILL_GRAPH_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/dtype.h"
#include "common/engine/device.h"

#define MAX_DIM 6
#define MAX_IN 10
#define MAX_OUT 8 /* of one launch */

enum op {
#define OP(name, inputs, kind, differentiable) OP_##name,
#include "common/engine/ops.def"
#undef OP
    OP_COUNT
};
enum op_kind { LEAF, VIEW, POINT, KERNEL, EFFECT };
const char *op_name(enum op op);
enum op_kind op_kind(enum op op);

/* Attributes of a node; which fields mean something is said in ops.def. */
struct attr {
    int64_t i[12];
    float f[4];
    enum dtype dtype;
};

struct graph;
typedef struct tensor tensor;
struct tensor { /* read-only outside the engine */
    struct graph *graph;
    int id; /* position in the graph's list */
    enum op op;
    enum dtype dtype;
    int ndim;
    int64_t dim[MAX_DIM];
    int nin;
    tensor *in[MAX_IN];
    struct attr a;
    struct buffer *buffer; /* OP_input: the buffer and */
    int64_t offset;        /* the first byte in it */
    bool constant;         /* depends only on inputs marked constant: computed once, see device.h */
    const char *name;      /* owned by the graph; gradients are "grad of NAME" */
};

struct graph *graph_create(const char *name);
void graph_free(struct graph *g);
void graph_name(tensor *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
int64_t tensor_count(const tensor *t);

/* ---- leaves ---- */
/* A window on a buffer: `ndim` dimensions follow as int. offset in bytes, a multiple of the element size (of 256 for whole
 * parameter tensors, so that kernels may use vector loads). */
tensor *graph_input(struct graph *g, struct buffer *b, int64_t offset, enum dtype dtype, const char *name, int ndim, ...);
tensor *graph_input_shape(struct graph *g, struct buffer *b, int64_t offset, enum dtype dtype, const char *name, int ndim,
                          const int64_t *dim);
/* Marks an input as unchanged between runs until program_constants_changed: what depends on such inputs alone is computed once. */
void graph_mark_constant(tensor *input);
tensor *fill(struct graph *g, float value, enum dtype dtype, int ndim, const int64_t *dim);
tensor *scalar(struct graph *g, float value);                /* fill, F32, shape [1] */
tensor *fill_like(struct graph *g, float value, const tensor *t);

/* ---- shape ---- */
tensor *reshape(struct graph *g, tensor *x, int ndim, ...);  /* dims as int; one may be -1 */
tensor *reshape_shape(struct graph *g, tensor *x, int ndim, const int64_t *dim);
tensor *broadcast(struct graph *g, tensor *x, int ndim, const int64_t *dim); /* x has ndim dims, each equal or 1 */
tensor *broadcast_like(struct graph *g, tensor *x, const tensor *like);
tensor *slice(struct graph *g, tensor *x, int axis, int64_t start, int64_t length);
tensor *pad_axis(struct graph *g, tensor *x, int axis, int64_t before, int64_t after); /* zeros; negative crops */
tensor *concat(struct graph *g, tensor **x, int n, int axis);
tensor *permute(struct graph *g, tensor *x, const int *order); /* result dim[i] = x dim[order[i]] */
tensor *cast(struct graph *g, tensor *x, enum dtype dtype);

/* ---- pointwise. Binary ones broadcast as NumPy does (missing leading dimensions count as 1) by inserting reshape and
 * broadcast nodes. 16-bit operands compute in float32; the result has the type of the first operand. ---- */
tensor *add(struct graph *g, tensor *x, tensor *y);
tensor *sub(struct graph *g, tensor *x, tensor *y);
tensor *mul(struct graph *g, tensor *x, tensor *y);
tensor *fma3(struct graph *g, tensor *x, tensor *y, tensor *z);        /* x*y + z */
tensor *scale(struct graph *g, tensor *x, float factor, float offset); /* factor*x + offset */
tensor *exp1(struct graph *g, tensor *x);
tensor *log1(struct graph *g, tensor *x);
tensor *sqrt1(struct graph *g, tensor *x);
tensor *rsqrt1(struct graph *g, tensor *x);
tensor *recip(struct graph *g, tensor *x);
tensor *square(struct graph *g, tensor *x);
tensor *softplus(struct graph *g, tensor *x);
tensor *sigmoid(struct graph *g, tensor *x);
tensor *tanh1(struct graph *g, tensor *x);
tensor *lrelu(struct graph *g, tensor *x, float slope);
tensor *step(struct graph *g, tensor *x, float below, float otherwise);
tensor *clamp(struct graph *g, tensor *x, float low, float high);
tensor *clamp_mask(struct graph *g, tensor *x, float low, float high);
tensor *sanitize(struct graph *g, tensor *x, float limit);
tensor *nonfinite(struct graph *g, tensor *x);

/* ---- reductions: float32 sums in a fixed order that does not depend on threads ---- */
tensor *sum_axes(struct graph *g, tensor *x, unsigned mask); /* bit i = dimension i, kept as 1; always F32 */
tensor *sum_all(struct graph *g, tensor *x);                 /* shape [1] */
tensor *mean_axes(struct graph *g, tensor *x, unsigned mask);
tensor *mean_all(struct graph *g, tensor *x);

/* ---- linear algebra ---- */
/* [M,K]x[K,N] -> [M,N]; ta, tb: the operand is stored transposed. Three dimensions: batched over the first (equal, or 1 on one
 * side = shared). */
tensor *matmul(struct graph *g, tensor *a, bool ta, tensor *b, bool tb);

/* Cross-correlation, x [N,H,W,C], w [K,R,S,C] -> [N,P,Q,K], P = (H + 2 pad - R)/stride + 1. pad per axis pair (h, w). */
tensor *conv2d(struct graph *g, tensor *x, tensor *w, int stride, int pad_h, int pad_w);
/* Its adjoint in x: dy [N,P,Q,K], w [K,R,S,C] -> [N,H,W,C]. With stride 2 this is the transposed (upsampling) convolution. */
tensor *conv2d_input_grad(struct graph *g, tensor *dy, tensor *w, int stride, int pad_h, int pad_w, int64_t H, int64_t W);
/* Its adjoint in w: x [N,H,W,C], dy [N,P,Q,K] -> [K,R,S,C], F32. */
tensor *conv2d_weight_grad(struct graph *g, tensor *x, tensor *dy, int stride, int pad_h, int pad_w, int64_t R, int64_t S);

/* Zero-insertion upsampling, padding (negative crops), FIR filter, decimation, on [N,H,W,C]. f: float32 [fh,fw], or [N,fh,fw]
 * for a filter a sample. flip false = true convolution (the filter is flipped, as in the reference), true = correlation.
 * Output H = (H*up_y + pad_y0 + pad_y1 - fh)/down_y + 1 (floor). Each result is multiplied by gain. No gradient in f. */
struct upfirdn {
    int up_y, up_x, down_y, down_x, pad_y0, pad_y1, pad_x0, pad_x1;
    bool flip;
    float gain;
};
tensor *upfirdn2d(struct graph *g, tensor *x, tensor *f, struct upfirdn u);

/* Mirror padding without repeating the edge, on [N,H,W,C]; pads < H and < W. And its adjoint. */
tensor *reflect_pad2d(struct graph *g, tensor *x, int y0, int y1, int x0, int x1);
tensor *reflect_pad2d_adj(struct graph *g, tensor *dy, int y0, int y1, int x0, int x1);

/* Bilinear sampling of x [N,H,W,C] at affine positions, zeros outside: for output pixel (p,q) of [P,Q] let u = (2q+1)/Q - 1,
 * v = (2p+1)/P - 1, (s,t) = theta[n] * (u,v,1); it reads x at column ((s+1)*W - 1)/2, row ((t+1)*H - 1)/2.
 * theta: F32 [N,2,3]; no gradient in theta. And its adjoint (dy [N,P,Q,C] -> [N,H,W,C]), deterministic. */
tensor *affine_sample(struct graph *g, tensor *x, tensor *theta, int64_t P, int64_t Q);
tensor *affine_sample_adj(struct graph *g, tensor *dy, tensor *theta, int64_t H, int64_t W);

/* affine_sample of z [N,6H-4,6W-4,C]: x [N,H,W,C] mirrored by H-1 and W-1 on all sides (reflect_pad2d) and enlarged twofold by a filter
 * of 12 taps each way (upfirdn2d with up 2, pads 6 and 5, gain 2 an axis), without making z. theta as above; f: F32 [12]; no
 * gradient in either. And its adjoint (dy [N,P,Q,C] -> [N,H,W,C]), deterministic. */
tensor *mirror_sample(struct graph *g, tensor *x, tensor *theta, tensor *f, int64_t P, int64_t Q);
tensor *mirror_sample_adj(struct graph *g, tensor *dy, tensor *theta, tensor *f, int64_t H, int64_t W);

/* Inference only. avgpool counts only pixels inside the picture. */
tensor *maxpool2d(struct graph *g, tensor *x, int size, int stride, int pad);
tensor *avgpool2d(struct graph *g, tensor *x, int size, int stride, int pad);

/* Inference only: 8-bit pixels, U8, of a picture in [-1,1]. */
tensor *to_u8(struct graph *g, tensor *x);

/* Inference only: y[b] = table[index[b]], or, where index[b] < 0, table[-1 - index[b]] with its columns mirrored. table: U8
 * [N,H,W,C]; index: I64 [B]; a number outside the table gives zeros. U8 [B,H,W,C]. */
tensor *take(struct graph *g, tensor *table, tensor *index);

/* Philox numbers keyed by (seed, first image index + n, use) for row n of dim[0] (common/rng/philox.h). key: U64 [2] =
 * {seed, index of row 0}, or U64 [dim[0],2] = {seed, index} of each row; in a buffer, so it can change from run to run. F32. */
tensor *random_normal(struct graph *g, tensor *key, uint32_t use, int ndim, const int64_t *dim);
tensor *random_uniform(struct graph *g, tensor *key, uint32_t use, int ndim, const int64_t *dim);

/* ---- effects ---- */
void assign(struct graph *g, tensor *buffer_view, tensor *value);
/* One Adam step on flat F32 tensors of one shape. hyper: F32 [6] = {lr, beta1, beta2, eps, 1-beta1^t, 1-beta2^t}:
 * m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; p -= lr * (m/(1-b1^t)) / (sqrt(v/(1-b2^t)) + eps). */
void adam(struct graph *g, tensor *p, tensor *grad, tensor *m, tensor *v, tensor *hyper);
void lerp(struct graph *g, tensor *buffer_view, tensor *to, tensor *t); /* view = to + t*(view - to) */

/* ---- derivatives ---- */
/* grads[i] = d loss / d wrt[i]. loss: one element, F32. wrt: any tensors of the graph. A wrt that the loss does not depend on is
 * a mistake ("did you pass the parameter itself?") unless `allow_unused`, which then gives zeros. */
void graph_grad(struct graph *g, tensor *loss, tensor **wrt, int n, tensor **grads);
/* The same from a given upstream gradient: sum over y of dy * y. */
void graph_vjp(struct graph *g, tensor *y, tensor *dy, tensor **wrt, int n, tensor **grads, bool allow_unused);

#endif
