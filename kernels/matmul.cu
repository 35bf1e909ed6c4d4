/* matmul.cu - see matmul.h. cuBLASLt; float32 stays float32 (no TF32), 16-bit types accumulate in float32.
 *
 * cuBLASLt is column-major: a row-major y = a b is the column-major y' = b' a', so b goes first.
 */
#include "kernels/cuda.h"

extern "C" {
#include "kernels/matmul.h"
}

#define WORKSPACE (32 << 20)

struct matmul_state {
    cublasLtMatmulDesc_t op;
    cublasLtMatrixLayout_t a, b, y;
    cublasLtMatmulAlgo_t algo;
};

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

static enum status prepare(void *context, struct kernel_call *c, struct error *e) {
    struct matmul_state *s = (struct matmul_state *)calloc(1, sizeof *s);
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
    cublasLtMatmulPreference_t wish;
    size_t room = WORKSPACE;
    uint32_t align = 4; /* windows of flat buffers are aligned to their element only */
    CUBLAS_CHECK(cublasLtMatmulPreferenceCreate(&wish));
    CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(wish, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &room, sizeof room));
    if (c->in[0].dtype == DT_F32)
        for (int i = 0; i < 3; i++) {
            const cublasLtMatmulPreferenceAttributes_t which[] = {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
                                                                   CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                                                                   CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES};
            CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(wish, which[i], &align, sizeof align));
        }
    cublasLtMatmulHeuristicResult_t found;
    int n = 0;
    cublasStatus_t st = cublasLtMatmulAlgoGetHeuristic(cuda(context)->lt, s->op, s->b, s->a, s->y, s->y, wish, 1, &found, &n);
    cublasLtMatmulPreferenceDestroy(wish);
    if (st != CUBLAS_STATUS_SUCCESS || !n) {
        release(context, c);
        c->state = NULL;
        return st_fail(e, "cuBLASLt has no algorithm for this product (%s)", cublasLtGetStatusString(st));
    }
    s->algo = found.algo;
    return ST_OK;
}

static void run(void *context, const struct kernel_call *c) {
    const struct matmul_state *s = (const struct matmul_state *)c->state;
    const float one = 1, zero = 0;
    CUBLAS_CHECK(cublasLtMatmul(cuda(context)->lt, s->op, &one, c->in[1].data, s->b, c->in[0].data, s->a, &zero, c->out[0].data, s->y,
                                c->out[0].data, s->y, &s->algo, c->workspace, WORKSPACE, cuda(context)->stream));
}

extern "C" const struct kernel kernel_matmul_cuda = {prepare, run, release};
