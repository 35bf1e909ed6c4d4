/* matmul.cu - see matmul.h. cuBLASLt; float32 stays float32 (no TF32), 16-bit types accumulate in float32.
 *
 * cuBLASLt is column-major: a row-major y = a b is the column-major y' = b' a', so b goes first.
 *
 * Most products of a training step are 16 or 32 rows by 512x512, 185 of them: few blocks, each with a long sum, 8 us where a launch
 * costs 2. So the algorithms that cuBLASLt names are timed, those that split the sum among them, and the choice is remembered
 * (choices.h); operands at multiples of 16 bytes, which nearly all are, have a choice of their own. Against taking the first
 * named, 1.27 instead of 1.42 ms of products an iteration at 128x128. Recalling costs nothing to speak of.
 */
#include <string.h>

#include "kernels/measure.cuh"

extern "C" {
#include "kernels/matmul.h"
}

#define WORKSPACE (32 << 20)

struct matmul_state {
    cublasLtMatmulDesc_t op;
    cublasLtMatrixLayout_t a, b, y;
    cublasLtMatmulAlgo_t algo[2]; /* for any address; for multiples of 16 */
};
#define CANDIDATES 16
#define RUNS 10 /* of a candidate, back to back */

static cudaDataType_t type_of(enum dtype d) { return d == DT_F16 ? CUDA_R_16F : d == DT_BF16 ? CUDA_R_16BF : CUDA_R_32F; }

/* A row-major operand as a column-major matrix, with its batch. */
static cublasLtMatrixLayout_t layout(const struct operand *o, int64_t batch) {
    cublasLtMatrixLayout_t l;
    int64_t rows = o->dim[o->ndim - 2], columns = o->dim[o->ndim - 1], stride = rows * columns;
    CUBLAS_CHECK(cublasLtMatrixLayoutCreate(&l, type_of(o->dtype), (uint64_t)columns, (uint64_t)rows, columns));
    if (batch > 1) {
        int32_t count = (int32_t)batch;
        if (o->dim[0] == 1)
            stride = 0;
        CUBLAS_CHECK(cublasLtMatrixLayoutSetAttribute(l, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count));
        CUBLAS_CHECK(cublasLtMatrixLayoutSetAttribute(l, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride, sizeof stride));
    }
    return l;
}

static void release(void *context, struct kernel_call *c) {
    struct matmul_state *s = (struct matmul_state *)c->state;
    (void)context;
    if (!s)
        return;
    cublasLtMatrixLayoutDestroy(s->a);
    cublasLtMatrixLayoutDestroy(s->b);
    cublasLtMatrixLayoutDestroy(s->y);
    cublasLtMatmulDescDestroy(s->op);
    free(s);
}

/* What cuBLASLt names for operands at multiples of `align` bytes, in the order of its liking. */
static int named(struct cuda_context *c, const struct matmul_state *s, enum dtype type, bool aligned, int most, cublasLtMatmulHeuristicResult_t *list) {
    static const cublasLtMatmulPreferenceAttributes_t which[] = {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                                                                 CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
    cublasLtMatmulPreference_t wish;
    size_t room = WORKSPACE;
    uint32_t align = aligned ? 16 : 4, sums = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    int n = 0;
    CUBLAS_CHECK(cublasLtMatmulPreferenceCreate(&wish));
    CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(wish, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &room, sizeof room));
    if (type == DT_F32)
        for (int i = 0; i < 4; i++) /* windows of flat buffers are aligned to their element only */
            CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(wish, which[i], &align, sizeof align));
    else /* parts of a sum are kept in float32 */
        CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(wish, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &sums, sizeof sums));
    if (cublasLtMatmulAlgoGetHeuristic(c->lt, s->op, s->b, s->a, s->y, s->y, wish, most, list, &n) != CUBLAS_STATUS_SUCCESS)
        n = 0;
    cublasLtMatmulPreferenceDestroy(wish);
    return n;
}

/* What is remembered is a place in the list, which is the same for one version and device. */
static bool choose(struct cuda_context *c, const struct kernel_call *k, bool aligned, cublasLtMatmulAlgo_t *algo, struct error *e) {
    const struct matmul_state *s = (const struct matmul_state *)k->state;
    const struct operand *each[3] = {&k->in[0], &k->in[1], &k->out[0]};
    const float one = 1, zero = 0;
    cublasLtMatmulHeuristicResult_t list[CANDIDATES];
    struct choice choice = {0};
    char key[CHOICE_KEY], *at[4], *p;
    size_t bytes = 0;
    int n = named(c, s, k->in[0].dtype, aligned, CANDIDATES, list), length;
    if (!n) {
        st_fail(e, "cuBLASLt has no algorithm for this product");
        return false;
    }
    *algo = list[0].algo;
    if (n == 1)
        return true;
    length = snprintf(key, sizeof key, "matmul %zu %s%s", cublasLtGetVersion(), dtype_name(k->in[0].dtype), aligned ? " aligned" : "");
    for (int i = 0; i < 3; i++) {
        length += snprintf(key + length, sizeof key - (size_t)length, " ");
        for (int d = 0; d < each[i]->ndim; d++)
            length += snprintf(key + length, sizeof key - (size_t)length, "%s%lld", d ? "x" : "", (long long)each[i]->dim[d]);
        bytes += ((size_t)operand_count(each[i]) * (size_t)dtype_size(each[i]->dtype) + 255) / 256 * 256;
    }
    snprintf(key + length, sizeof key - (size_t)length, " %lld%lld", (long long)k->a.i[0], (long long)k->a.i[1]);
    if (choices_recall(measure_choices(c), key, &choice) && choice.algo < n) {
        *algo = list[choice.algo].algo;
        return true;
    }
    p = (char *)measure_scratch(c, bytes + WORKSPACE);
    if (!p)
        return true;
    for (int i = 0; i < 3; i++) {
        at[i] = p;
        p += ((size_t)operand_count(each[i]) * (size_t)dtype_size(each[i]->dtype) + 255) / 256 * 256;
    }
    at[3] = p;
    float least = INFINITY;
    for (int i = 0; i < n; i++) {
        if (list[i].state != CUBLAS_STATUS_SUCCESS)
            continue;
        float ms = measure_run(c, RUNS, least, [&] {
            return cublasLtMatmul(c->lt, s->op, &one, at[1], s->b, at[0], s->a, &zero, at[2], s->y, at[2], s->y, &list[i].algo, at[3], WORKSPACE, c->stream) ==
                   CUBLAS_STATUS_SUCCESS;
        });
        if (ms < least * 0.98f) /* more than noise */
            least = ms, choice.algo = i;
    }
    *algo = list[choice.algo].algo;
    choices_remember(measure_choices(c), key, &choice);
    return true;
}

static enum status prepare(void *context, struct kernel_call *c, struct error *e) {
    struct matmul_state *s = (struct matmul_state *)calloc(1, sizeof *s);
    if (!s)
        abort();
    int64_t batch = c->out[0].ndim == 3 ? c->out[0].dim[0] : 1;
    cublasOperation_t ta = c->a.i[0] ? CUBLAS_OP_T : CUBLAS_OP_N, tb = c->a.i[1] ? CUBLAS_OP_T : CUBLAS_OP_N;
    CUBLAS_CHECK(cublasLtMatmulDescCreate(&s->op, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    CUBLAS_CHECK(cublasLtMatmulDescSetAttribute(s->op, CUBLASLT_MATMUL_DESC_TRANSA, &tb, sizeof tb));
    CUBLAS_CHECK(cublasLtMatmulDescSetAttribute(s->op, CUBLASLT_MATMUL_DESC_TRANSB, &ta, sizeof ta));
    s->a = layout(&c->in[0], batch);
    s->b = layout(&c->in[1], batch);
    s->y = layout(&c->out[0], batch);
    c->state = s;
    c->workspace_bytes = WORKSPACE;
    for (int aligned = 0; aligned < 2; aligned++)
        if (aligned && c->in[0].dtype != DT_F32)
            s->algo[1] = s->algo[0]; /* these are aligned always */
        else if (!choose(cuda(context), c, aligned, &s->algo[aligned], e)) {
            release(context, c);
            c->state = NULL;
            return ST_FAIL;
        }
    return ST_OK;
}

static void run(void *context, const struct kernel_call *c) {
    const struct matmul_state *s = (const struct matmul_state *)c->state;
    const float one = 1, zero = 0;
    bool aligned = ((uintptr_t)c->in[0].data | (uintptr_t)c->in[1].data | (uintptr_t)c->out[0].data) % 16 == 0;
    CUBLAS_CHECK(cublasLtMatmul(cuda(context)->lt, s->op, &one, c->in[1].data, s->b, c->in[0].data, s->a, &zero, c->out[0].data, s->y,
                                c->out[0].data, s->y, &s->algo[aligned], c->workspace, WORKSPACE, cuda(context)->stream));
}

extern "C" const struct kernel kernel_matmul_cuda = {prepare, run, release};
