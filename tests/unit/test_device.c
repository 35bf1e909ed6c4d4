/* test_device.c - every operation on a device against the CPU: values, first and second derivatives, float32 and 16-bit, shapes drawn at
 * random (odd ones, vectors of 8, one channel, three), operands at odd addresses, guard words around every output and every block.
 *
 * FACEMILL_CHECK_DEVICE=cuda compares a GPU with the CPU. Without it the CPU is compared with itself: with one thread and a plan in
 * which nothing is joined, fused or reused. FACEMILL_SEED (default 1) is the seed of shapes and values, FACEMILL_DRAWS (default 2) how
 * many shapes each case gets; a failure names the seed and the case that repeat it.
 *
 * The loss behind the derivatives is that of test_grad.c: sum(r y + q y^2), and sum(p_i dloss/dx_i) for the second.
 * To add an operation: a function that draws shapes with pick(), makes inputs with input() and returns y; and a line in `cases`.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/engine/plan.h"
#include "common/rng/philox.h"
#include "tests/unit/guard.h"

#define GUARD 64 /* floats around each output */
#define FILL 12345.5f
#define INPUTS 4

static struct device *tested, *reference;
static uint64_t seed = 1;
static int draws = 2;
static bool covered[OP_COUNT], derived[OP_COUNT];

/* ---- one trial: a case, drawn, on one device ---- */
struct trial {
    struct graph *g;
    struct device *device;
    enum dtype type;             /* operands are rounded to it; the device under test computes with it */
    bool aligned;
    uint64_t stream;             /* of random numbers: the same for both devices */
    uint32_t drawn;
    tensor *wrt[INPUTS];
    int n_wrt;
    struct buffer *in[2 * INPUTS];
    int n_in;
    double largest;              /* terms that may cancel: what an error is relative to at least */
};

static uint32_t bits(struct trial *t) {
    uint32_t r[4];
    philox4x32(seed, t->stream, 1, t->drawn++, r);
    return r[0];
}
static int64_t pick(struct trial *t, int64_t low, int64_t high) { return low + (int64_t)(bits(t) % (uint64_t)(high - low + 1)); }
static int64_t channels(struct trial *t) {
    static const int64_t c[] = {1, 2, 3, 3, 5, 8, 8, 16, 24, 32, 33, 64};
    return c[pick(t, 0, 11)];
}

/* Raw bytes at an address that is aligned to `element` and often to no more. */
static tensor *raw(struct trial *t, enum dtype type, const void *values, int ndim, const int64_t *dim) {
    static const int64_t offsets[] = {0, 0, 1, 3, 16};
    int64_t n = 1, element = dtype_size(type), offset = t->aligned ? 0 : element * offsets[pick(t, 0, 4)];
    for (int i = 0; i < ndim; i++)
        n *= dim[i];
    struct buffer *b = t->in[t->n_in++] = buffer_create(t->device, offset + n * element, "input");
    buffer_write(b, offset, values, n * element);
    return graph_input_shape(t->g, b, offset, type, "x", ndim, dim);
}

static tensor *values(struct trial *t, float low, float high, int ndim, const int64_t *dim) {
    int64_t n = 1;
    for (int i = 0; i < ndim; i++)
        n *= dim[i];
    float *x = xmalloc((size_t)n * sizeof *x);
    uint32_t use = 100 + (uint32_t)t->n_in;
    philox_fill_uniform(seed, t->stream, use, x, n);
    for (int64_t i = 0; i < n; i++)
        x[i] = low + (high - low) * x[i];
    tensor *y = raw(t, DT_F32, x, ndim, dim);
    free(x);
    return y;
}

/* The 16-bit types are rounding on the CPU, which computes in float32, and storage on the device. */
static tensor *typed(struct trial *t, tensor *x) {
    if (t->type == DT_F32)
        return x;
    tensor *y = cast(t->g, x, t->type);
    return strcmp(device_name(t->device), "cpu") ? y : cast(t->g, y, DT_F32);
}

#define D(...) (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__}
/* An input that derivatives are taken for, in [low, high). */
static tensor *within(struct trial *t, float low, float high, int ndim, const int64_t *dim) {
    tensor *x = values(t, low, high, ndim, dim);
    t->wrt[t->n_wrt++] = x;
    return typed(t, x);
}
static tensor *input(struct trial *t, int ndim, const int64_t *dim) { return within(t, -1, 1, ndim, dim); }
static tensor *fixed(struct trial *t, int ndim, const int64_t *dim) { return values(t, -1, 1, ndim, dim); }

/* ---- the cases ---- */
static tensor *any(struct trial *t, float low, float high) {
    int64_t d[4];
    int n = (int)pick(t, 1, 4);
    for (int i = 0; i < n; i++)
        d[i] = pick(t, 1, 9);
    d[n - 1] = channels(t);
    return within(t, low, high, n, d);
}
#define UNARY(name, low, high, expression)       \
    static tensor *c_##name(struct trial *t) {   \
        struct graph *g = t->g;                  \
        tensor *x = any(t, low, high);           \
        return expression;                       \
    }
UNARY(scale, -1, 1, scale(g, x, -1.7f, 0.3f))
UNARY(exp, -2, 2, exp1(g, x))
UNARY(log, 0.5f, 3, log1(g, x))
UNARY(sqrt, 0.5f, 3, sqrt1(g, x))
UNARY(rsqrt, 0.5f, 3, rsqrt1(g, x))
UNARY(recip, 0.5f, 3, recip(g, x))
UNARY(square, -1, 1, square(g, x))
UNARY(softplus, -4, 4, softplus(g, x))
UNARY(sigmoid, -4, 4, sigmoid(g, x))
UNARY(tanh, -2, 2, tanh1(g, x))
UNARY(lrelu, -1, 1, lrelu(g, x, 0.2f))
UNARY(clamp, -1, 1, clamp(g, x, -0.4f, 0.5f))
UNARY(masks, -1, 1, mul(g, x, add(g, step(g, x, 0.5f, 2), clamp_mask(g, x, -0.4f, 0.5f))))
UNARY(fill, -1, 1, add(g, x, fill_like(g, 0.75f, x)))
UNARY(cast, -1, 1, cast(g, square(g, cast(g, x, DT_F32)), DT_F32))
UNARY(reshape, -1, 1, reshape(g, x, 1, -1))

/* Shapes that broadcast: each dimension is missing, 1 or n on either side. */
static void two(struct trial *t, tensor **x, tensor **y) {
    int64_t a[4], b[4];
    int n = (int)pick(t, 1, 4), from = (int)pick(t, 0, n - 1);
    for (int i = 0; i < n; i++) {
        a[i] = b[i] = i == n - 1 ? channels(t) : pick(t, 1, 9);
        uint32_t which = bits(t) % 4;
        if (which == 1)
            a[i] = 1;
        else if (which == 2)
            b[i] = 1;
    }
    *x = input(t, n, a);
    *y = input(t, n - from, b + from);
}
#define BINARY(name)                             \
    static tensor *c_##name(struct trial *t) {   \
        tensor *x, *y;                           \
        two(t, &x, &y);                          \
        return name(t->g, x, y);                 \
    }
BINARY(add)
BINARY(sub)
BINARY(mul)
static tensor *c_fma(struct trial *t) {
    int64_t n = pick(t, 1, 5), h = pick(t, 1, 9), c = channels(t);
    tensor *x = input(t, D(n, h, c)), *y = input(t, D(n, 1, c)), *z = input(t, D(c));
    return fma3(t->g, x, y, z);
}
/* the pointwise layer of a synthesis block */
static tensor *c_layer(struct trial *t) {
    int64_t n = pick(t, 1, 5), h = pick(t, 1, 17), w = pick(t, 1, 17), c = channels(t);
    tensor *x = input(t, D(n, h, w, c)), *d = input(t, D(n, 1, 1, c)), *b = input(t, D(c));
    return clamp(t->g, scale(t->g, lrelu(t->g, add(t->g, mul(t->g, x, d), b), 0.2f), 1.414f, 0), -2.5f, 2.5f);
}
static tensor *c_broadcast(struct trial *t) {
    int64_t n = pick(t, 1, 5), h = pick(t, 1, 9), w = pick(t, 1, 9), c = channels(t);
    return broadcast(t->g, input(t, D(n, 1, w, 1)), D(n, h, w, c));
}
static tensor *c_sum(struct trial *t) {
    int64_t d[4] = {pick(t, 1, 5), pick(t, 1, 40), pick(t, 1, 40), channels(t)};
    int n = (int)pick(t, 1, 4);
    t->largest = 1;
    return sum_axes(t->g, input(t, n, d + 4 - n), (unsigned)pick(t, 1, (1 << n) - 1));
}
static tensor *c_sum_all(struct trial *t) {
    tensor *x = input(t, D(pick(t, 1, 70), channels(t)));
    t->largest = 10;
    return sum_all(t->g, x);
}
static tensor *picture(struct trial *t, int64_t low, int64_t high) {
    return input(t, D(pick(t, 1, 4), pick(t, low, high), pick(t, low, high), channels(t)));
}
static tensor *c_slice(struct trial *t) {
    tensor *x = picture(t, 1, 9);
    int axis = (int)pick(t, 0, 3);
    int64_t start = pick(t, 0, x->dim[axis] - 1);
    return slice(t->g, x, axis, start, pick(t, 1, x->dim[axis] - start));
}
static tensor *c_pad(struct trial *t) {
    tensor *x = picture(t, 2, 9);
    int axis = (int)pick(t, 1, 2);
    return pad_axis(t->g, x, axis, pick(t, -1, 3), pick(t, 0, 3));
}
static tensor *c_concat(struct trial *t) {
    int axis = (int)pick(t, 0, 3), n = (int)pick(t, 2, 3);
    int64_t d[4] = {pick(t, 1, 4), pick(t, 1, 7), pick(t, 1, 7), channels(t)};
    tensor *x[3];
    for (int i = 0; i < n; i++) {
        d[axis] = axis == 3 ? channels(t) : pick(t, 1, 7);
        x[i] = input(t, 4, d);
    }
    return concat(t->g, x, n, axis);
}
static tensor *c_permute(struct trial *t) {
    int order[4] = {0, 1, 2, 3};
    tensor *x = picture(t, 1, 12);
    for (int i = 3; i > 0; i--) {
        int j = (int)pick(t, 0, i), k = order[i];
        order[i] = order[j];
        order[j] = k;
    }
    return permute(t->g, x, order);
}
static tensor *c_matmul(struct trial *t) {
    int64_t B = pick(t, 1, 4), M = pick(t, 1, 70), N = channels(t), K = pick(t, 0, 1) ? channels(t) : pick(t, 1, 200);
    bool ta = pick(t, 0, 1), tb = pick(t, 0, 1), batched = pick(t, 0, 1);
    int64_t a[3] = {pick(t, 0, 1) ? B : 1, ta ? K : M, ta ? M : K}, b[3] = {B, tb ? N : K, tb ? K : N};
    tensor *x = input(t, batched ? 3 : 2, a + !batched), *y = input(t, batched ? 3 : 2, b + !batched);
    return matmul(t->g, x, ta, y, tb);
}
/* sizes and a stride with which the three convolutions agree on shapes */
struct conv_shape {
    int64_t N, H, W, C, K, R, P, Q;
    int stride, pad;
};
static struct conv_shape conv_shape(struct trial *t) {
    struct conv_shape s = {.N = pick(t, 1, 5), .C = channels(t), .K = channels(t), .R = pick(t, 0, 2) ? 3 : 1};
    s.H = pick(t, s.R, 18), s.W = pick(t, s.R, 18);
    s.stride = (int)pick(t, 1, 2);
    s.pad = s.R == 3 ? (int)pick(t, 0, 1) : 0;
    s.P = (s.H + 2 * s.pad - s.R) / s.stride + 1, s.Q = (s.W + 2 * s.pad - s.R) / s.stride + 1;
    return s;
}
static tensor *c_conv(struct trial *t) {
    struct conv_shape s = conv_shape(t);
    tensor *x = input(t, D(s.N, s.H, s.W, s.C)), *w = input(t, D(s.K, s.R, s.R, s.C));
    return conv2d(t->g, x, w, s.stride, s.pad, s.pad);
}
static tensor *c_conv_dx(struct trial *t) {
    struct conv_shape s = conv_shape(t);
    tensor *dy = input(t, D(s.N, s.P, s.Q, s.K)), *w = input(t, D(s.K, s.R, s.R, s.C));
    return conv2d_input_grad(t->g, dy, w, s.stride, s.pad, s.pad, s.H, s.W);
}
static tensor *c_conv_dw(struct trial *t) {
    struct conv_shape s = conv_shape(t);
    tensor *x = input(t, D(s.N, s.H, s.W, s.C)), *dy = input(t, D(s.N, s.P, s.Q, s.K));
    return conv2d_weight_grad(t->g, x, dy, s.stride, s.pad, s.pad, s.R, s.R);
}
static tensor *c_upfirdn(struct trial *t) {
    tensor *x = picture(t, 4, 20);
    int64_t taps = pick(t, 0, 1) ? 4 : pick(t, 1, 12), other = pick(t, 0, 2) ? taps : 1, each = pick(t, 0, 3);
    struct upfirdn u = {.up_y = (int)pick(t, 1, 2), .down_y = (int)pick(t, 1, 2), .flip = pick(t, 0, 1), .gain = 1.5f};
    u.up_x = u.up_y, u.down_x = u.down_y;
    u.pad_y0 = (int)(taps - 1 + pick(t, -1, 1)) / 2, u.pad_y1 = (int)taps - 1, u.pad_x0 = (int)other - 1, u.pad_x1 = (int)(other - 1) / 2;
    if (pick(t, 0, 3) == 0)
        u.pad_y0 -= 1, u.pad_y1 += 1;
    tensor *f = each ? fixed(t, D(taps, other)) : fixed(t, D(x->dim[0], taps, other));
    return upfirdn2d(t->g, x, f, u);
}
/* the filters of everyday use: [1,3,3,1] up and down, 12 taps up and down */
static tensor *c_upfirdn_usual(struct trial *t) {
    static const struct upfirdn usual[] = {{2, 2, 1, 1, 2, 1, 2, 1, false, 4}, {1, 1, 2, 2, 1, 1, 1, 1, true, 1},
                                           {1, 1, 1, 1, 1, 1, 1, 1, false, 4}, {1, 1, 1, 1, 2, 2, 2, 2, true, 1}};
    static const float tap[4] = {0.125f, 0.375f, 0.375f, 0.125f};
    float f[16];
    for (int i = 0; i < 16; i++)
        f[i] = tap[i / 4] * tap[i % 4];
    tensor *x = picture(t, 4, 40);
    return upfirdn2d(t->g, x, raw(t, DT_F32, f, D(4, 4)), usual[pick(t, 0, 3)]);
}
static tensor *c_reflect(struct trial *t) {
    tensor *x = picture(t, 4, 12);
    return reflect_pad2d(t->g, x, (int)pick(t, 0, 3), (int)pick(t, 0, 3), (int)pick(t, 0, 3), (int)pick(t, 0, 3));
}
static tensor *c_reflect_adj(struct trial *t) {
    tensor *x = picture(t, 9, 20);
    return reflect_pad2d_adj(t->g, x, (int)pick(t, 0, 2), (int)pick(t, 0, 2), (int)pick(t, 0, 2), (int)pick(t, 0, 2));
}
/* Near the identity, as in use; a rotation and a scale besides. */
static tensor *theta(struct trial *t, int64_t n) {
    float *m = xcalloc((size_t)n * 6, sizeof *m);
    for (int64_t i = 0; i < 6 * n; i++)
        m[i] = (float)(i % 6 % 4 == 0) + 0.3f * ((float)pick(t, 0, 1000) / 500 - 1);
    tensor *x = raw(t, DT_F32, m, D(n, 2, 3));
    free(m);
    return x;
}
static tensor *c_affine(struct trial *t) {
    tensor *x = picture(t, 3, 20);
    return affine_sample(t->g, x, theta(t, x->dim[0]), pick(t, 1, 20), pick(t, 1, 20));
}
static tensor *c_affine_adj(struct trial *t) {
    tensor *x = picture(t, 3, 20);
    return affine_sample_adj(t->g, x, theta(t, x->dim[0]), pick(t, 1, 20), pick(t, 1, 20));
}
/* Maps of all kinds: near the identity; turned by 45 degrees, small and large; far away; without area; not finite. */
static tensor *hard_theta(struct trial *t, int64_t n) {
    float *m = xcalloc((size_t)n * 6, sizeof *m);
    for (int64_t i = 0; i < n; i++) {
        float *a = m + 6 * i, s = 0.7071f * exp2f((float)pick(t, -2, 2));
        int kind = (int)pick(t, 0, 9);
        memcpy(a, (float[6]){s, -s, 0.1f, s, s, -0.2f}, sizeof(float[6]));
        if (kind < 4)
            for (int j = 0; j < 6; j++)
                a[j] = (j % 4 == 0) / 3.0f + 0.2f * ((float)pick(t, 0, 1000) / 500 - 1);
        else if (kind < 6)
            a[2] = kind == 4 ? 1.4f : -30;
        else if (kind == 6)
            a[3] = a[0], a[4] = a[1];
        else if (kind == 7)
            a[pick(t, 0, 5)] = pick(t, 0, 1) ? INFINITY : NAN;
        else if (kind == 8)
            memset(a, 0, sizeof(float[6]));
    }
    tensor *x = raw(t, DT_F32, m, D(n, 2, 3));
    free(m);
    return x;
}
static tensor *c_mirror(struct trial *t) {
    tensor *x = picture(t, 1, 24), *m = hard_theta(t, x->dim[0]), *f = fixed(t, D(12));
    return mirror_sample(t->g, x, m, f, pick(t, 1, 60), pick(t, 1, 60));
}
static tensor *c_mirror_adj(struct trial *t) {
    tensor *x = picture(t, 1, 40), *m = hard_theta(t, x->dim[0]), *f = fixed(t, D(12));
    return mirror_sample_adj(t->g, x, m, f, pick(t, 1, 40), pick(t, 1, 40));
}
/* Windows of 3 as Inception has them, and any other; pictures of more than a tile of outputs. */
static tensor *pooled(struct trial *t, tensor *pool(struct graph *, tensor *, int, int, int)) {
    int size = pick(t, 0, 3) ? 3 : (int)pick(t, 1, 5), stride = (int)pick(t, 1, size < 2 ? 1 : 2), pad = (int)pick(t, 0, (size - 1) / 2);
    return pool(t->g, picture(t, size, 16), size, stride, pad);
}
static tensor *c_maxpool(struct trial *t) { return pooled(t, maxpool2d); }
static tensor *c_avgpool(struct trial *t) { return pooled(t, avgpool2d); }
/* one window over all of a picture */
static tensor *c_pool_all(struct trial *t) {
    int size = (int)pick(t, 1, 9);
    tensor *x = input(t, D(pick(t, 1, 4), size, size, channels(t)));
    return pick(t, 0, 1) ? avgpool2d(t->g, x, size, 1, 0) : maxpool2d(t->g, x, size, 1, 0);
}
static tensor *c_to_u8(struct trial *t) { return cast(t->g, to_u8(t->g, within(t, -1.3f, 1.3f, D(pick(t, 1, 5), 7, pick(t, 1, 50), 3))), DT_F32); }
static tensor *c_take(struct trial *t) {
    int64_t N = pick(t, 1, 9), H = pick(t, 1, 9), W = pick(t, 0, 1) ? 16 : pick(t, 1, 9), C = pick(t, 1, 4), index[12];
    uint8_t *table = xmalloc((size_t)(N * H * W * C));
    for (int64_t i = 0; i < N * H * W * C; i++)
        table[i] = (uint8_t)bits(t);
    for (int i = 0; i < 12; i++)
        index[i] = pick(t, -N - 1, N); /* one beyond at either end */
    tensor *y = take(t->g, raw(t, DT_U8, table, D(N, H, W, C)), raw(t, DT_I64, index, D(pick(t, 1, 12))));
    free(table);
    return cast(t->g, y, DT_F32);
}
static tensor *specials(struct trial *t) {
    float x[37];
    for (int i = 0; i < 37; i++)
        x[i] = i % 5 == 1 ? NAN : i % 7 == 2 ? INFINITY : i % 11 == 3 ? -INFINITY : (float)pick(t, -9, 9);
    return raw(t, DT_F32, x, D(37));
}
static tensor *c_sanitize(struct trial *t) { return sanitize(t->g, specials(t), 1e5f); }
static tensor *c_nonfinite(struct trial *t) { return nonfinite(t->g, specials(t)); }
static tensor *key(struct trial *t, bool rows, int64_t n) {
    uint64_t k[32];
    for (int i = 0; i < 32; i++)
        k[i] = bits(t);
    return rows ? raw(t, DT_U64, k, D(n, 2)) : raw(t, DT_U64, k, D(2));
}
static tensor *random_case(struct trial *t, tensor *(*op)(struct graph *, tensor *, uint32_t, int, const int64_t *)) {
    int64_t n = pick(t, 1, 9);
    return op(t->g, key(t, pick(t, 0, 1), n), (uint32_t)pick(t, 0, 99), D(n, pick(t, 1, 50), channels(t)));
}
static tensor *c_normal(struct trial *t) { return random_case(t, random_normal); }
static tensor *c_uniform(struct trial *t) { return random_case(t, random_uniform); }

/* Effects: the window they wrote is what is compared. */
static tensor *c_assign(struct trial *t) {
    int64_t n = pick(t, 1, 300);
    tensor *to = fixed(t, D(n)), *x = fixed(t, D(n));
    assign(t->g, to, permute(t->g, reshape(t->g, x, 2, 1, (int)n), (int[]){1, 0}));
    return to;
}
static tensor *c_lerp(struct trial *t) {
    int64_t n = pick(t, 1, 3000);
    tensor *to = fixed(t, D(n)), *x = fixed(t, D(n));
    lerp(t->g, to, x, fixed(t, D(1)));
    return to;
}
static tensor *c_adam(struct trial *t) {
    int64_t n = pick(t, 1, 3000);
    const float hyper[6] = {0.002f, 0.1f, 0.98f, 1e-8f, 0.5f, 0.3f};
    tensor *p = fixed(t, D(n)), *grad = fixed(t, D(n)), *m = fixed(t, D(n)), *v = values(t, 0, 1, D(n));
    adam(t->g, p, grad, m, v, raw(t, DT_F32, hyper, D(6)));
    tensor *all[3] = {p, m, v};
    return concat(t->g, all, 3, 0);
}

struct test_case {
    const char *name;
    tensor *(*build)(struct trial *t);
    double tolerance;  /* of float32, relative to the largest value; 0 = 2e-5. Derivatives ten times that */
    bool value_only;   /* no derivative */
    bool effect;       /* y is what a window holds afterwards, and another run changes it again */
    bool aligned;      /* operands at multiples of 256, as parameters and their gradients are: what cuDNN asks for */
    bool f32_only;     /* 16 bits: not offered, or values near a kink fall on either side */
};
#define CASE(name, ...) {#name, c_##name, __VA_ARGS__}
static const struct test_case cases[] = {
    CASE(scale), CASE(exp), CASE(log), CASE(sqrt), CASE(rsqrt), CASE(recip), CASE(square), CASE(softplus), CASE(sigmoid), CASE(tanh),
    CASE(lrelu), CASE(clamp), CASE(masks), CASE(fill), CASE(cast), CASE(reshape), CASE(add), CASE(sub), CASE(mul), CASE(fma),
    CASE(layer, .f32_only = true), CASE(broadcast), CASE(sum), CASE(sum_all), CASE(slice), CASE(pad), CASE(concat), CASE(permute),
    CASE(matmul), CASE(conv, .aligned = true), CASE(conv_dx, .aligned = true), CASE(conv_dw, .aligned = true), CASE(upfirdn), CASE(upfirdn_usual), CASE(reflect), CASE(reflect_adj),
    CASE(affine, .tolerance = 1e-4), CASE(affine_adj, .tolerance = 1e-4), CASE(mirror, .tolerance = 1e-4), CASE(mirror_adj, .tolerance = 1e-4),
    CASE(maxpool, .value_only = true),
    CASE(avgpool, .value_only = true), CASE(pool_all, .value_only = true),
    CASE(to_u8, .tolerance = 1 / 250.0, .value_only = true),
    CASE(take, .tolerance = 1e-9, .value_only = true, .f32_only = true), CASE(sanitize, .tolerance = 1e-9, .value_only = true, .f32_only = true),
    CASE(nonfinite, .tolerance = 1e-9, .value_only = true, .f32_only = true), CASE(normal, .value_only = true, .f32_only = true),
    CASE(uniform, .tolerance = 1e-7, .value_only = true, .f32_only = true), CASE(assign, .value_only = true, .f32_only = true),
    CASE(lerp, .value_only = true, .effect = true, .f32_only = true), CASE(adam, .tolerance = 1e-5, .value_only = true, .effect = true, .f32_only = true)};
#define CASES (sizeof cases / sizeof *cases)

/* ---- running ---- */
#define OUTPUTS (1 + 2 * INPUTS)
struct outcome {
    float *x;                        /* the whole output buffer */
    int64_t floats, at[OUTPUTS], n[OUTPUTS];
    int windows;
    double largest;
};

static void store(struct outcome *o, bool aligned, tensor *value, tensor **window) {
    int k = o->windows++;
    o->at[k] = aligned ? (o->floats + GUARD + 63) / 64 * 64 : o->floats + GUARD + k % 3;
    o->n[k] = tensor_count(value);
    o->floats = o->at[k] + o->n[k] + GUARD;
    window[k] = value;
}

static tensor *random_like(struct graph *g, tensor *k, uint32_t use, const tensor *t) {
    return scale(g, random_uniform(g, k, use, t->ndim, t->dim), 2, -1);
}

static void fresh(struct buffer *b, float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        x[i] = FILL;
    buffer_write(b, 0, x, n * 4);
}

static struct outcome run(const struct test_case *c, struct device *d, enum dtype type, uint64_t stream) {
    struct trial t = {.g = graph_create(c->name), .device = d, .type = type, .aligned = c->aligned, .stream = stream};
    struct outcome o = {0};
    struct graph *g = t.g;
    struct error e = {""};
    tensor *window[OUTPUTS], *first[INPUTS], *second[INPUTS];
    int built = g->n;
    tensor *y = c->build(&t);
    for (int i = built; i < g->n; i++)
        covered[g->node[i]->op] = true;
    if (y->dtype != DT_F32)
        y = cast(g, y, DT_F32);
    store(&o, c->aligned, y, window);
    if (!c->value_only) {
        for (int i = built; i < g->n; i++)
            derived[g->node[i]->op] = true;
        const uint64_t k[2] = {seed, stream};
        tensor *r = raw(&t, DT_U64, k, D(2)), *mixed = NULL;
        tensor *loss = sum_all(g, add(g, mul(g, random_like(g, r, 1, y), y), mul(g, random_like(g, r, 2, y), square(g, y))));
        graph_grad(g, loss, t.wrt, t.n_wrt, first);
        for (int i = 0; i < t.n_wrt; i++) {
            tensor *s = sum_all(g, mul(g, random_like(g, r, 3 + (uint32_t)i, t.wrt[i]), first[i]));
            mixed = mixed ? add(g, mixed, s) : s;
        }
        graph_grad(g, mixed, t.wrt, t.n_wrt, second);
        for (int i = 0; i < t.n_wrt; i++)
            store(&o, c->aligned, first[i], window);
        for (int i = 0; i < t.n_wrt; i++)
            store(&o, c->aligned, second[i], window);
    }
    o.largest = t.largest;
    o.x = xmalloc((size_t)o.floats * sizeof *o.x);
    struct buffer *out = buffer_create(d, o.floats * 4, "out");
    for (int i = 0; i < o.windows; i++)
        assign(g, graph_input_shape(g, out, o.at[i] * 4, DT_F32, NULL, window[i]->ndim, window[i]->dim), window[i]);
    struct program *p;
    static const struct plan_options plain = {.no_simplify = true, .no_fuse = true, .no_clone = true, .no_inplace = true};
    if ((d == reference ? program_create_with(&p, g, d, &plain, &e) : program_create(&p, g, d, &e)) != ST_OK) {
        if (type == DT_F32 || d == reference)
            fail_msg("%s: %s", c->name, e.text);
        print_message("%s %s is refused: %s\n", c->name, dtype_name(type), e.text); /* cuDNN and odd numbers of channels */
        o.windows = 0;
        p = NULL;
    }
    graph_free(g);
    if (p) {
        fresh(out, o.x, o.floats);
        program_run(p);
        buffer_read(out, 0, o.x, o.floats * 4);
        if (d == tested && !c->effect) { /* the second run is captured, the third replayed: the same bits */
            float *again = xmalloc((size_t)o.floats * sizeof *again);
            for (int k = 0; k < 2; k++) {
                fresh(out, again, o.floats);
                program_run(p);
                buffer_read(out, 0, again, o.floats * 4);
                if (memcmp(again, o.x, (size_t)o.floats * sizeof *again))
                    fail_msg("%s: run %d gives other bits (FACEMILL_SEED=%llu, stream %llu)", c->name, k + 2, (unsigned long long)seed,
                             (unsigned long long)stream);
            }
            free(again);
        }
    }
    program_free(p);
    buffer_free(out);
    for (int i = 0; i < t.n_in; i++)
        buffer_free(t.in[i]);
    return o;
}

static void check_guards(const struct test_case *c, const struct outcome *o) {
    int64_t i = 0;
    for (int k = 0; k <= o->windows; k++) {
        for (int64_t end = k < o->windows ? o->at[k] : o->floats; i < end; i++)
            if (o->x[i] != FILL)
                fail_msg("%s: wrote outside its outputs, at float %lld, before output %d", c->name, (long long)i, k);
        if (k < o->windows)
            i = o->at[k] + o->n[k];
    }
}

static double tolerance(const struct test_case *c, enum dtype type, bool derivative) {
    double rounding = type == DT_BF16 ? 1e-2 : type == DT_F16 ? 2e-3 : 0, exact = c->tolerance > 0 ? c->tolerance : 2e-5;
    return derivative ? 10 * exact + 4 * rounding : exact + rounding;
}

static void compare(const struct test_case *c, const struct outcome *got, const struct outcome *want, enum dtype type, uint64_t stream) {
    assert_int_equal(got->windows, want->windows);
    for (int k = 0; k < got->windows; k++) {
        const float *x = got->x + got->at[k], *y = want->x + want->at[k];
        double largest = fmax(want->largest, k && want->n[k] < 16 ? 1 : 1e-3), worst = 0;
        int64_t at = 0;
        assert_int_equal(got->n[k], want->n[k]);
        for (int64_t i = 0; i < want->n[k]; i++) {
            double d = fabs((double)x[i] - (double)y[i]);
            if (!(d <= worst)) /* NaN too */
                worst = isnan(d) ? (isnan(x[i]) && isnan(y[i]) ? worst : INFINITY) : d, at = i;
            if (fabs((double)y[i]) > largest)
                largest = fabs((double)y[i]);
        }
        if (!(worst <= tolerance(c, type, k > 0) * largest))
            fail_msg("%s %s, output %d of %d, element %lld of %lld: %.8g, the CPU has %.8g; %.2g of the largest value, allowed %.2g "
                     "(FACEMILL_SEED=%llu, stream %llu)", c->name, dtype_name(type), k, got->windows, (long long)at, (long long)want->n[k],
                     (double)x[at], (double)y[at], worst / largest, tolerance(c, type, k > 0), (unsigned long long)seed,
                     (unsigned long long)stream);
    }
}

static void agree(enum dtype type) {
    for (size_t i = 0; i < CASES; i++) {
        if (type != DT_F32 && cases[i].f32_only)
            continue;
        int answered = 0;
        for (int n = 0; n < draws; n++) {
            uint64_t stream = i * 1000 + (uint64_t)n + (uint64_t)type * 1000000;
            struct outcome want = run(&cases[i], reference, type, stream), got = run(&cases[i], tested, type, stream);
            check_guards(&cases[i], &want);
            answered += got.windows > 0;
            if (got.windows > 0) {
                check_guards(&cases[i], &got);
                compare(&cases[i], &got, &want, type, stream);
            }
            free(want.x);
            free(got.x);
        }
        if (!answered)
            print_message("%s %s: every shape was refused\n", cases[i].name, dtype_name(type));
        if (guard_damage(tested))
            fail_msg("%s %s: wrote outside a block (FACEMILL_SEED=%llu)", cases[i].name, dtype_name(type), (unsigned long long)seed);
    }
}

static void in_float32(void **state) { (void)state, agree(DT_F32); }
static void in_bfloat16(void **state) { (void)state, agree(DT_BF16); }
static void in_float16(void **state) { (void)state, agree(DT_F16); }

static void every_operation_is_covered(void **state) {
    (void)state;
    for (int op = 0; op < OP_COUNT; op++) {
        if (op != OP_fused && !covered[op]) /* the planner makes fused ones of the others */
            fail_msg("no case builds %s", op_name((enum op)op));
        if (op_differentiable((enum op)op) && !derived[op])
            fail_msg("no case differentiates %s", op_name((enum op)op));
    }
}

static int set_up(void **state) {
    (void)state;
    struct error e = {""};
    const char *name = getenv("FACEMILL_CHECK_DEVICE"), *s = getenv("FACEMILL_SEED"), *n = getenv("FACEMILL_DRAWS");
    seed = s ? strtoull(s, NULL, 10) : 1;
    draws = n && atoi(n) > 0 ? atoi(n) : 2;
    if (device_open(&reference, "cpu", 1, &e) != ST_OK || device_open(&tested, name ? name : "cpu", 2, &e) != ST_OK) {
        fprintf(stderr, "test_device: %s\n", e.text);
        return -1;
    }
    guard_device(tested);
    printf("test_device: %s against the CPU, seed %llu, %d shapes a case\n", device_name(tested), (unsigned long long)seed, draws);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    int damaged = guard_damage(tested);
    device_close(tested);
    device_close(reference);
    return damaged;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(in_float32), cmocka_unit_test(in_bfloat16), cmocka_unit_test(in_float16),
                                       cmocka_unit_test(every_operation_is_covered)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
