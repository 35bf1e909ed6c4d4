/* concat.c - the CPU's concat: one memcpy for each input and index before the axis. See concat.h. */
#include "kernels/concat.h"

#include "kernels/axis_copy.h"

static void run(void *context, const struct kernel_call *c) {
    (void)context;
    int axis = (int)c->a.i[0];
    int64_t outer, step;
    axis_split(&c->out[0], axis, &outer, &step);
    char *y = c->out[0].data;
    for (int64_t o = 0; o < outer; o++)
        for (int k = 0; k < c->n_in; k++) {
            int64_t bytes = c->in[k].dim[axis] * step;
            memcpy(y, (const char *)c->in[k].data + o * bytes, (size_t)bytes);
            y += bytes;
        }
}

const struct kernel kernel_concat_cpu = {.run = run};
