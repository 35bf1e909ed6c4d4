/* measure.cu - see measure.cuh. */
#include "kernels/measure.cuh"

#define HOLD_NS 60000 /* what queueing a few runs takes */

struct measuring {
    struct choices *choices;
    void *scratch;
    size_t scratch_bytes;
};

static struct measuring *measuring(struct cuda_context *c) {
    if (!c->measuring && !(c->measuring = (struct measuring *)calloc(1, sizeof *c->measuring)))
        abort();
    return c->measuring;
}

struct choices *measure_choices(struct cuda_context *c) {
    struct measuring *m = measuring(c);
    if (!m->choices)
        m->choices = choices_open((long)cudnnGetVersion(), c->device.name);
    return m->choices;
}

void *measure_scratch(struct cuda_context *c, size_t bytes) {
    struct measuring *m = measuring(c);
    if (m->scratch_bytes >= bytes)
        return m->scratch;
    measure_release(c);
    if (cudaMalloc(&m->scratch, bytes) != cudaSuccess) {
        cudaGetLastError();
        m->scratch = NULL;
        return NULL;
    }
    m->scratch_bytes = bytes;
    CUDA_CHECK(cudaMemsetAsync(m->scratch, 0x3c, bytes, c->stream));
    return m->scratch;
}

void measure_release(struct cuda_context *c) {
    struct measuring *m = c->measuring;
    if (!m || !m->scratch)
        return;
    CUDA_CHECK(cudaStreamSynchronize(c->stream));
    CUDA_CHECK(cudaFree(m->scratch));
    m->scratch = NULL;
    m->scratch_bytes = 0;
}

void measure_close(struct cuda_context *c) {
    measure_release(c);
    if (c->measuring)
        choices_close(c->measuring->choices);
    free(c->measuring);
    c->measuring = NULL;
}

__global__ static void hold_kernel(void) {
    uint64_t start, now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(start));
    do
        asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    while (now - start < HOLD_NS);
}

struct measure_events measure_start(struct cuda_context *c) {
    struct measure_events e;
    CUDA_CHECK(cudaEventCreate(&e.start));
    CUDA_CHECK(cudaEventCreate(&e.stop));
    hold_kernel<<<1, 1, 0, c->stream>>>();
    CUDA_CHECK(cudaGetLastError());
    CUDA_CHECK(cudaEventRecord(e.start, c->stream));
    return e;
}

float measure_stop(struct cuda_context *c, struct measure_events *e) {
    float ms = 0;
    CUDA_CHECK(cudaEventRecord(e->stop, c->stream));
    CUDA_CHECK(cudaEventSynchronize(e->stop));
    CUDA_CHECK(cudaEventElapsedTime(&ms, e->start, e->stop));
    CUDA_CHECK(cudaEventDestroy(e->start));
    CUDA_CHECK(cudaEventDestroy(e->stop));
    return ms;
}
