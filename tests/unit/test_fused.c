/* test_fused.c - fused pointwise programs as they occur: every pattern of the standard programs (common/stylegan2/standard.h), at small
 * odd shapes, against a plain loop with the C library's functions; words around each output stay untouched. FACEMILL_CHECK_DEVICE=cuda
 * runs the kernels compiled ahead, and the interpreter on addresses that those do not take: both give the same bits.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/mem.h"
#include "common/engine/engine.h"
#include "common/stylegan2/standard.h"
#include "kernels/fused_pattern.h"

#define GUARD 256 /* bytes */
#define SHAPES 3

struct seen {
    struct fused_pattern pattern;
    struct fused_program f;
    enum dtype in[MAX_IN], out[MAX_OUT];
};
static struct seen *seen;
static int n_seen, launches, refused;
static struct device *device;

static void see(void *arg, const struct kernel_call *c) {
    struct fused_pattern p = {0};
    (void)arg;
    if (c->op != OP_fused)
        return;
    launches++;
    refused += !fused_pattern_of(c, &p);
    for (int i = 0; i < n_seen; i++)
        if (!strcmp(seen[i].pattern.text, p.text))
            return;
    seen = xrealloc(seen, sizeof *seen * (size_t)(n_seen + 1));
    struct seen *s = &seen[n_seen++];
    *s = (struct seen){.pattern = p, .f = *c->fused};
    for (int i = 0; i < c->n_in; i++)
        s->in[i] = c->in[i].dtype;
    for (int k = 0; k < c->n_out; k++)
        s->out[k] = c->out[k].dtype;
}

static int set_up(void **state) {
    (void)state;
    struct error e;
    const char *name = getenv("FACEMILL_CHECK_DEVICE");
    struct device *dry = device_dry(see, NULL);
    enum status st = sg2_plan_standard(dry, &e);
    device_close(dry);
    if (st == ST_OK)
        st = device_open(&device, name ? name : "cpu", 0, &e);
    if (st != ST_OK)
        fprintf(stderr, "%s\n", e.text);
    return st != ST_OK;
}

static int tear_down(void **state) {
    (void)state;
    device_close(device);
    free(seen);
    return 0;
}

static uint64_t random_state = 1;
static uint32_t random_bits(void) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33);
}

static int64_t total(const struct fused_program *f) {
    int64_t n = 1;
    for (int d = 0; d < f->ndim; d++)
        n *= f->dim[d];
    return n;
}

static int64_t extent(const struct fused_program *f, int input) {
    int64_t n = 1;
    for (int d = 0; d < f->ndim; d++)
        n += (f->dim[d] - 1) * f->stride[input][d];
    return n;
}

/* Elements of output k. */
static int64_t out_count(const struct fused_program *f, int k) {
    int64_t n = 1;
    for (int d = 0; d < f->ndim; d++)
        n *= f->sum[k] >> d & 1 ? 1 : f->dim[d];
    return n;
}

static bool has_sums(const struct fused_program *f) {
    bool some = false;
    for (int k = 0; k < f->n_out; k++)
        some |= f->sum[k] != 0;
    return some;
}

/* Another size with the same pattern; with `channels` given, of that last dimension and any pattern. False when none was found. */
static bool resize(const struct seen *s, struct kernel_call *c, struct fused_program *f, int channels) {
    static const int last[] = {24, 8, 4, 12, 40, 3, 5, 1, 7, 6, 16, 64, 512};
    for (int tries = (int)(random_bits() % 13), end = tries + 400; tries < end; tries++) {
        *f = s->f;
        for (int d = 0; d < f->ndim; d++)
            f->dim[d] = d == f->ndim - 1 ? channels ? channels : last[tries % 13] : 2 + (int)(random_bits() % 7);
        if (f->ndim == 1 && f->dim[0] > 1)
            f->dim[0] *= 1 + random_bits() % 300;
        for (int i = 0; i < f->n_in; i++)
            for (int64_t d = f->ndim - 1, dense = 1; d >= 0; d--) {
                f->stride[i][d] = s->f.stride[i][d] ? dense : 0;
                dense *= s->f.stride[i][d] ? f->dim[d] : 1;
            }
        struct fused_pattern p = {0};
        *c = (struct kernel_call){.op = OP_fused, .n_in = f->n_in, .n_out = f->n_out, .fused = f};
        for (int i = 0; i < f->n_in; i++)
            c->in[i] = (struct operand){.dtype = s->in[i], .ndim = 1, .dim = {extent(f, i)}};
        for (int k = 0; k < f->n_out; k++) {
            c->out[k] = (struct operand){.dtype = s->out[k], .ndim = f->ndim};
            for (int d = 0; d < f->ndim; d++)
                c->out[k].dim[d] = f->sum[k] >> d & 1 ? 1 : f->dim[d];
        }
        if (channels)
            return true;
        if (fused_pattern_of(c, &p) && !strcmp(p.text, s->pattern.text))
            return true;
    }
    return false;
}

/* ---- the plain loop ---- */
static float get(const void *p, enum dtype t, int64_t at) {
    return t == DT_F32    ? ((const float *)p)[at]
           : t == DT_F16  ? f32_from_f16(((const uint16_t *)p)[at])
           : t == DT_BF16 ? f32_from_bf16(((const uint16_t *)p)[at])
                          : ((const uint8_t *)p)[at];
}

static void put(void *p, enum dtype t, int64_t at, float x) {
    if (t == DT_F32)
        ((float *)p)[at] = x;
    else if (t == DT_U8)
        ((uint8_t *)p)[at] = (uint8_t)fabsf(x * 10);
    else
        ((uint16_t *)p)[at] = t == DT_F16 ? f16_from_f32(x) : bf16_from_f32(x);
}

static float plain(const struct micro_op *m, float x, float y, float z) {
    float a = m->f[0], b = m->f[1];
    switch ((enum op)m->op) {
    case OP_fill: return a;
    case OP_add: return x + y;
    case OP_sub: return x - y;
    case OP_mul: return x * y;
    case OP_fma: return fmaf(x, y, z);
    case OP_scale: return fmaf(a, x, b);
    case OP_exp: return expf(x);
    case OP_log: return logf(x);
    case OP_sqrt: return sqrtf(x);
    case OP_rsqrt: return 1 / sqrtf(x);
    case OP_recip: return 1 / x;
    case OP_square: return x * x;
    case OP_softplus: return fmaxf(x, 0) + log1pf(expf(-fabsf(x)));
    case OP_sigmoid: return 1 / (1 + expf(-x));
    case OP_tanh: return tanhf(x);
    case OP_lrelu: return x < 0 ? a * x : x;
    case OP_step: return x < 0 ? a : b;
    case OP_clamp: return x < a ? a : x > b ? b : x;
    case OP_clamp_mask: return x >= a && x <= b;
    case OP_sanitize: return isnan(x) ? 0 : isinf(x) ? copysignf(a, x) : x;
    case OP_nonfinite: return !isfinite(x);
    case OP_cast: return a == DT_F16 ? f32_from_f16(f16_from_f32(x)) : a == DT_BF16 ? f32_from_bf16(bf16_from_f32(x)) : x;
    default: fail_msg("operation %d", m->op); return 0;
    }
}

/* Element e of the program; *scale: the largest value on the way. */
static void reference(const struct kernel_call *c, void *const *in, int64_t e, float *out, float *scale) {
    const struct fused_program *f = c->fused;
    float reg[FUSED_MAX_REG];
    *scale = 1;
    for (int i = 0; i < f->n_in; i++) {
        int64_t at = 0, rest = e;
        for (int d = f->ndim - 1; d >= 0; rest /= f->dim[d--])
            at += rest % f->dim[d] * f->stride[i][d];
        reg[i] = get(in[i], c->in[i].dtype, at);
        *scale = fmaxf(*scale, fabsf(reg[i]));
    }
    for (int i = 0; i < f->n_ops; i++) {
        const struct micro_op *m = &f->ops[i];
        reg[m->out] = plain(m, reg[m->in[0]], reg[m->in[1]], reg[m->in[2]]);
        if (isfinite(reg[m->out]))
            *scale = fmaxf(*scale, fabsf(reg[m->out]));
    }
    for (int k = 0; k < f->n_out; k++)
        out[k] = reg[f->out_reg[k]];
}

/* ---- on the device ---- */
/* Runs the kernel; every address is `shift` elements after a multiple of 256. Outputs come back into out[]. */
static void run(struct kernel_call *c, void *const *in, int shift, void **out) {
    const struct backend *b = device->backend;
    const struct kernel *k = b->kernels[OP_fused];
    struct error e;
    uint8_t *base_in[MAX_IN], *base_out[MAX_OUT];
    int64_t n = total(c->fused);
    for (int i = 0; i < c->n_in; i++) {
        int64_t size = dtype_size(c->in[i].dtype), bytes = extent(c->fused, i) * size;
        base_in[i] = device_alloc(device, bytes + 2 * GUARD);
        c->in[i].data = base_in[i] + GUARD + shift * size;
        b->write(device->context, c->in[i].data, in[i], bytes);
    }
    uint8_t *poison = xmalloc((size_t)(4 * n + 2 * GUARD)), *back = xmalloc((size_t)(4 * n + 2 * GUARD));
    memset(poison, 0x7f, (size_t)(4 * n + 2 * GUARD)); /* as a float, NaN-like enough to be seen */
    for (int i = 0; i < c->n_out; i++) {
        int64_t size = dtype_size(c->out[i].dtype);
        n = out_count(c->fused, i);
        base_out[i] = device_alloc(device, n * size + 2 * GUARD);
        b->write(device->context, base_out[i], poison, n * size + 2 * GUARD);
        c->out[i].data = base_out[i] + GUARD + shift * size;
    }
    assert_int_equal(k->prepare ? k->prepare(device->context, c, &e) : ST_OK, ST_OK);
    c->workspace = device_alloc(device, c->workspace_bytes + 1);
    k->run(device->context, c);
    b->sync(device->context);
    for (int i = 0; i < c->n_out; i++) {
        int64_t size = dtype_size(c->out[i].dtype), from = GUARD + shift * size;
        n = out_count(c->fused, i);
        b->read(device->context, back, base_out[i], n * size + 2 * GUARD);
        memcpy(out[i], back + from, (size_t)(n * size));
        assert_memory_equal(back, poison, (size_t)from);
        assert_memory_equal(back + from + n * size, poison, (size_t)(2 * GUARD - from));
        device_free(device, base_out[i], n * size + 2 * GUARD);
    }
    for (int i = 0; i < c->n_in; i++)
        device_free(device, base_in[i], extent(c->fused, i) * dtype_size(c->in[i].dtype) + 2 * GUARD);
    device_free(device, c->workspace, c->workspace_bytes + 1);
    if (k->release)
        k->release(device->context, c);
    c->state = NULL;
    free(poison);
    free(back);
}

static bool same(float x, float y) { return x == y || (isnan(x) && isnan(y)); }

/* Which element of output k element e of the program is added to. */
static int64_t target(const struct fused_program *f, int k, int64_t e) {
    int64_t at = 0, n = 1;
    for (int d = f->ndim - 1; d >= 0; e /= f->dim[d--])
        if (!(f->sum[k] >> d & 1)) {
            at += e % f->dim[d] * n;
            n *= f->dim[d];
        }
    return at;
}

static void check(const struct seen *s, bool positive, int channels) {
    struct fused_program f;
    struct kernel_call c;
    if (!resize(s, &c, &f, channels))
        fail_msg("no small shape for %s", s->pattern.text);
    int64_t n = total(&f);
    void *in[MAX_IN], *out[MAX_OUT], *again[MAX_OUT];
    for (int i = 0; i < f.n_in; i++) {
        in[i] = xmalloc((size_t)extent(&f, i) * 4);
        for (int64_t e = 0; e < extent(&f, i); e++) {
            float x = (float)(random_bits() & 0xffffff) / (1 << 22) - 2;
            put(in[i], c.in[i].dtype, e, positive ? fabsf(x) + 0.05f : x);
        }
    }
    for (int k = 0; k < f.n_out; k++)
        out[k] = xmalloc((size_t)n * 4), again[k] = xmalloc((size_t)n * 4);
    run(&c, in, 0, out);
    run(&c, in, !has_sums(&f), again);
    double *sum[MAX_OUT], *size[MAX_OUT]; /* of a summed output: the sum and the sum of magnitudes */
    for (int k = 0; k < f.n_out; k++)
        sum[k] = xcalloc((size_t)n, 8), size[k] = xcalloc((size_t)n, 8);
    for (int64_t e = 0; e < n; e++) {
        float want[MAX_OUT], scale;
        reference(&c, in, e, want, &scale);
        for (int k = 0; k < f.n_out; k++) {
            enum dtype t = c.out[k].dtype;
            if (f.sum[k]) {
                sum[k][target(&f, k, e)] += (double)want[k];
                size[k][target(&f, k, e)] += (double)scale;
                continue;
            }
            float got = get(out[k], t, e), other = get(again[k], t, e), exact = t == DT_F32 ? 1e-5f : t == DT_F16 ? 2e-3f : 1e-2f;
            for (int m = 0; m < f.n_ops; m++) /* a 16-bit value on the way may round the other way */
                if (f.ops[m].op == OP_cast)
                    exact = fmaxf(exact, f.ops[m].f[0] == DT_F16 ? 2e-3f : 1e-2f);
            if (!same(got, other))
                fail_msg("%s: output %d element %lld is %g, or %g from another address", s->pattern.text, k, (long long)e, (double)got,
                         (double)other);
            if (!same(got, want[k]) && !(fabsf(got - want[k]) <= exact * scale) && !(t == DT_F16 && fabsf(want[k]) > 65000))
                fail_msg("%s: output %d element %lld is %g, should be %g", s->pattern.text, k, (long long)e, (double)got, (double)want[k]);
        }
    }
    for (int k = 0; k < f.n_out; k++)
        for (int64_t e = 0; f.sum[k] && e < out_count(&f, k); e++) {
            double got = (double)((float *)out[k])[e];
            double terms = (double)(n / out_count(&f, k)), exact = 1e-2 * size[k][e] / sqrt(terms); /* roundings differ by chance */
            if (got != (double)((float *)again[k])[e] || !(fabs(got - sum[k][e]) <= exact))
                fail_msg("%s: sum %d element %lld is %g, should be %g", s->pattern.text, k, (long long)e, got, sum[k][e]);
        }
    for (int i = 0; i < f.n_in; i++)
        free(in[i]);
    for (int k = 0; k < f.n_out; k++)
        free(out[k]), free(again[k]), free(sum[k]), free(size[k]);
}

static void every_launch_has_a_pattern(void **state) {
    (void)state;
    assert_true(n_seen > 100 && launches > 10000);
    assert_int_equal(refused, 0);
}

static void every_pattern_computes_right(void **state) {
    (void)state;
    for (int i = 0; i < n_seen; i++)
        for (int k = 0; k < SHAPES && (device->backend->sums || !has_sums(&seen[i].f)); k++) {
            check(&seen[i], k % 2 == 0, 0);
            if (has_sums(&seen[i].f)) /* no kernel is made for rows of 24 */
                check(&seen[i], k % 2 == 0, 24);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_launch_has_a_pattern), cmocka_unit_test(every_pattern_computes_right)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
