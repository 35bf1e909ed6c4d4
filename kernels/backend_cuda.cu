/* backend_cuda.cu - one NVIDIA GPU as a backend: memory, ordered copies, capture. The plugin's only exported symbol is
 * `facemill_backend`. */
#include <string.h>

#include "kernels/measure.cuh"

#define DECLARE_LEAF(name)
#define DECLARE_VIEW(name)
#define DECLARE_POINT(name)
#define DECLARE_KERNEL(name) extern "C" const struct kernel kernel_##name##_cuda;
#define DECLARE_EFFECT(name) DECLARE_KERNEL(name)
#define OP(name, inputs, kind, differentiable) DECLARE_##kind(name)
#include "common/engine/ops.def"
#undef OP

static void cuda_close(void *context) {
    struct cuda_context *c = cuda(context);
    measure_close(c);
    for (int i = 0; i < STAGE_PARTS; i++)
        if (c->stage.done[i])
            cudaEventDestroy(c->stage.done[i]);
    cudaFreeHost(c->stage.base);
    if (c->dnn)
        cudnnDestroy(c->dnn);
    if (c->lt)
        cublasLtDestroy(c->lt);
    for (int i = 0; i < c->n_marks; i++)
        cudaEventDestroy(c->marks[i]);
    free(c->marks);
    for (int i = 0; i < CUDA_LANES; i++)
        if (c->lane[i])
            cudaStreamDestroy(c->lane[i]);
    free(c);
}

/* Small launches come first wherever a multiprocessor is free, since others wait for them and they take little; large ones that nobody
 * waits for take what is left. Graphs keep the priorities of the streams that they were captured from. */
static cudaError_t create_lanes(struct cuda_context *c) {
    int least = 0, greatest = 0;
    cudaError_t code = cudaDeviceGetStreamPriorityRange(&least, &greatest);
    for (int i = 0; i < CUDA_LANES && code == cudaSuccess; i++)
        code = cudaStreamCreateWithPriority(&c->lane[i], cudaStreamNonBlocking, i == 0 ? (least + greatest) / 2 : i == 1 ? least : greatest);
    c->stream = c->lane[0];
    return code;
}

static enum status cuda_open(void **context, int threads, struct error *e) {
    (void)threads;
    int n = 0, index = 0;
    cudaError_t code = cudaGetDeviceCount(&n);
    if (code != cudaSuccess || !n)
        return st_fail(e, "device cuda: %s", code == cudaSuccess ? "no GPU" : cudaGetErrorString(code));
    struct cuda_context *c = (struct cuda_context *)calloc(1, sizeof *c);
    if (!c)
        return st_fail(e, "device cuda: out of memory");
    code = cudaGetDevice(&index);
    if (code == cudaSuccess)
        code = cudaGetDeviceProperties(&c->device, index);
    if (code == cudaSuccess)
        code = create_lanes(c);
    if (code == cudaSuccess)
        code = cudaMallocHost(&c->stage.base, (STAGE_PARTS + 1) * STAGE_BYTES);
    c->stage.out = c->stage.base + STAGE_PARTS * STAGE_BYTES;
    for (int i = 0; i < STAGE_PARTS && code == cudaSuccess; i++)
        code = cudaEventCreateWithFlags(&c->stage.done[i], cudaEventDisableTiming);
    if (code != cudaSuccess) {
        st_fail(e, "device cuda: %s", cudaGetErrorString(code));
        cuda_close(c);
        return ST_FAIL;
    }
    if (cudnnCreate(&c->dnn) != CUDNN_STATUS_SUCCESS || cudnnSetStream(c->dnn, c->stream) != CUDNN_STATUS_SUCCESS ||
        cublasLtCreate(&c->lt) != CUBLAS_STATUS_SUCCESS) {
        st_fail(e, "device cuda: cuDNN or cuBLASLt cannot start on %s", c->device.name);
        cuda_close(c);
        return ST_FAIL;
    }
    size_t v = cudnnGetVersion(), lt = cublasLtGetVersion();
    snprintf(c->description, sizeof c->description, "%s, %d multiprocessors, %.0f GiB, CUDA %d.%d, cuDNN %zu.%zu.%zu, cuBLASLt %zu",
             c->device.name, c->device.multiProcessorCount, (double)c->device.totalGlobalMem / (1 << 30), CUDART_VERSION / 1000,
             CUDART_VERSION % 1000 / 10, v / 10000, v / 100 % 100, v % 100, lt);
    *context = c;
    return ST_OK;
}

static const char *cuda_description(void *context) { return cuda(context)->description; }

static void *cuda_alloc(void *context, int64_t bytes) {
    void *p = NULL;
    if (bytes < 0)
        return NULL;
    if (cudaMalloc(&p, (size_t)bytes) != cudaSuccess) {
        cudaGetLastError(); /* out of memory is the caller's to report, not the next launch's */
        measure_release(cuda(context)); /* what an earlier program's choosing was measured in: gigabytes in float32 */
        if (cudaMalloc(&p, (size_t)bytes) != cudaSuccess) {
            cudaGetLastError();
            return NULL;
        }
    }
    CUDA_CHECK(cudaMemsetAsync(p, 0, (size_t)bytes, cuda(context)->stream));
    return p;
}

static void cuda_free(void *context, void *p) {
    CUDA_CHECK(cudaStreamSynchronize(cuda(context)->stream));
    CUDA_CHECK(cudaFree(p));
}

static int64_t cuda_available(void *context) {
    (void)context;
    size_t free_bytes = 0, total = 0;
    if (cudaMemGetInfo(&free_bytes, &total) != cudaSuccess) {
        cudaGetLastError();
        return 0;
    }
    return (int64_t)free_bytes;
}

/* Through pinned memory: a ring of parts, each reused when the copies out of it are done. */
static void cuda_write(void *context, void *to, const void *from, int64_t bytes) {
    struct cuda_context *c = cuda(context);
    struct stage *s = &c->stage;
    for (int64_t at = 0; at < bytes;) {
        if (s->used == STAGE_BYTES) {
            CUDA_CHECK(cudaEventRecord(s->done[s->part], c->stream));
            s->part = (s->part + 1) % STAGE_PARTS;
            s->used = 0;
            CUDA_CHECK(cudaEventSynchronize(s->done[s->part])); /* done at once when never recorded */
        }
        int64_t n = bytes - at < STAGE_BYTES - s->used ? bytes - at : STAGE_BYTES - s->used;
        char *p = s->base + s->part * STAGE_BYTES + s->used;
        memcpy(p, (const char *)from + at, (size_t)n);
        CUDA_CHECK(cudaMemcpyAsync((char *)to + at, p, (size_t)n, cudaMemcpyHostToDevice, c->stream));
        at += n;
        s->used += n;
    }
}

static void cuda_read(void *context, void *to, const void *from, int64_t bytes) {
    struct cuda_context *c = cuda(context);
    for (int64_t at = 0; at < bytes; at += STAGE_BYTES) {
        int64_t n = bytes - at < STAGE_BYTES ? bytes - at : STAGE_BYTES;
        CUDA_CHECK(cudaMemcpyAsync(c->stage.out, (const char *)from + at, (size_t)n, cudaMemcpyDeviceToHost, c->stream));
        CUDA_CHECK(cudaStreamSynchronize(c->stream));
        memcpy((char *)to + at, c->stage.out, (size_t)n);
    }
}

static void cuda_copy(void *context, void *to, const void *from, int64_t bytes) {
    CUDA_CHECK(cudaMemcpyAsync(to, from, (size_t)bytes, cudaMemcpyDeviceToDevice, cuda(context)->stream));
}

static void cuda_sync(void *context) { CUDA_CHECK(cudaStreamSynchronize(cuda(context)->stream)); }

static enum status cuda_capture_begin(void *context, struct error *e) {
    measure_release(cuda(context)); /* programs run a second time: choosing is over */
    cudaError_t code = cudaStreamBeginCapture(cuda(context)->stream, cudaStreamCaptureModeThreadLocal);
    return code == cudaSuccess ? ST_OK : st_fail(e, "capture: %s", cudaGetErrorString(code));
}

static enum status cuda_capture_end(void *context, void **captured, struct error *e) {
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    cudaError_t code = cudaStreamEndCapture(cuda(context)->stream, &graph);
    if (code == cudaSuccess)
        code = cudaGraphInstantiate(&exec, graph, cudaGraphInstantiateFlagUseNodePriority);
    if (graph)
        cudaGraphDestroy(graph);
    *captured = exec;
    if (code == cudaSuccess)
        return ST_OK;
    cudaGetLastError();
    return st_fail(e, "capture: %s", cudaGetErrorString(code));
}

static void cuda_replay(void *context, void *captured) {
    CUDA_CHECK(cudaGraphLaunch((cudaGraphExec_t)captured, cuda(context)->stream));
}

static void cuda_captured_free(void *context, void *captured) {
    CUDA_CHECK(cudaStreamSynchronize(cuda(context)->stream));
    CUDA_CHECK(cudaGraphExecDestroy((cudaGraphExec_t)captured));
}

static void cuda_lane(void *context, int lane) {
    struct cuda_context *c = cuda(context);
    if (c->stream == c->lane[lane])
        return;
    c->stream = c->lane[lane];
    CUDNN_CHECK(cudnnSetStream(c->dnn, c->stream));
}

static void cuda_mark(void *context, int mark) {
    struct cuda_context *c = cuda(context);
    if (mark >= c->n_marks) {
        int n = mark + 64;
        c->marks = (cudaEvent_t *)realloc(c->marks, (size_t)n * sizeof *c->marks);
        if (!c->marks)
            abort();
        while (c->n_marks < n)
            CUDA_CHECK(cudaEventCreateWithFlags(&c->marks[c->n_marks++], cudaEventDisableTiming));
    }
    CUDA_CHECK(cudaEventRecord(c->marks[mark], c->stream));
}

static void cuda_wait(void *context, int mark) {
    struct cuda_context *c = cuda(context);
    CUDA_CHECK(cudaStreamWaitEvent(c->stream, c->marks[mark], 0));
}

#define ENTRY_LEAF(name) NULL,
#define ENTRY_VIEW(name) NULL,
#define ENTRY_POINT(name) NULL,
#define ENTRY_KERNEL(name) &kernel_##name##_cuda,
#define ENTRY_EFFECT(name) ENTRY_KERNEL(name)
#define OP(name, inputs, kind, differentiable) ENTRY_##kind(name)

#ifndef FACEMILL_CUDA_CODE /* the Makefile says: "sm_80 sm_90 sm_100 PTX:compute_100" */
#define FACEMILL_CUDA_CODE "unknown"
#endif

extern "C" __attribute__((visibility("default"))) const struct backend facemill_backend = {
    BACKEND_VERSION, "cuda", FACEMILL_CUDA_CODE, true, cuda_open, cuda_close, cuda_description, cuda_alloc, cuda_free, cuda_available, cuda_write,
    cuda_read, cuda_copy, cuda_sync, cuda_capture_begin, cuda_capture_end, cuda_replay, cuda_captured_free, CUDA_LANES, cuda_lane, cuda_mark,
    cuda_wait, {
#include "common/engine/ops.def"
    }};
