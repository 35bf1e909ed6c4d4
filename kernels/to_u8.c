/* to_u8.c - see to_u8.h. */
#include "kernels/to_u8.h"

#include "kernels/cpu.h"

static enum status prepare(void *context, struct kernel_call *c, struct error *e) {
    (void)context;
    if (c->in[0].dtype != DT_F32)
        return st_fail(e, "the picture is %s; the CPU kernels compute in F32 only", dtype_name(c->in[0].dtype));
    return ST_OK;
}

static void run(void *context, const struct kernel_call *c) {
    const float *x = c->in[0].data;
    uint8_t *y = c->out[0].data;
    int64_t n = 1;
    for (int d = 0; d < c->in[0].ndim; d++)
        n *= c->in[0].dim[d];
#pragma omp parallel for simd schedule(static) num_threads(cpu_threads(context)) if (n > 65536)
    for (int64_t i = 0; i < n; i++) {
        float v = x[i] * 127.5f + 128;
        v = v > 0 ? v : 0; /* NaN too */
        y[i] = (uint8_t)(v < 255 ? v : 255);
    }
}

const struct kernel kernel_to_u8_cpu = {prepare, run, NULL};
