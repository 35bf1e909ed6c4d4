/* take.c - the CPU's take: a copy a picture, or a pixel where it is mirrored. See take.h. */
#include "kernels/take.h"

#include "kernels/cpu.h"

static void run(void *context, const struct kernel_call *c) {
    const struct operand *table = &c->in[0];
    int64_t N = table->dim[0], W = table->dim[2], C = table->dim[3], rows = table->dim[1], row = W * C, picture = rows * row;
    const int64_t *index = c->in[1].data;
#pragma omp parallel for schedule(static) num_threads(cpu_threads(context))
    for (int64_t b = 0; b < c->in[1].dim[0]; b++) {
        bool mirrored = index[b] < 0;
        int64_t i = mirrored ? -1 - index[b] : index[b];
        uint8_t *y = (uint8_t *)c->out[0].data + b * picture;
        const uint8_t *x = (const uint8_t *)table->data + (i < N ? i : 0) * picture;
        if (i >= N)
            memset(y, 0, (size_t)picture);
        else if (!mirrored)
            memcpy(y, x, (size_t)picture);
        else
            for (int64_t k = 0; k < rows; k++)
                for (int64_t w = 0; w < W; w++)
                    memcpy(y + k * row + w * C, x + k * row + (W - 1 - w) * C, (size_t)C);
    }
}

const struct kernel kernel_take_cpu = {.run = run};
