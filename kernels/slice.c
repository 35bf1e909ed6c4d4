/* slice.c - the CPU's slice: one memcpy for each index before the axis. See slice.h. */
#include "kernels/slice.h"

#include "kernels/axis_copy.h"

static void run(void *context, const struct kernel_call *c) {
    (void)context;
    int axis = (int)c->a.i[0];
    int64_t outer, step;
    axis_split(&c->in[0], axis, &outer, &step);
    const char *x = (const char *)c->in[0].data + c->a.i[1] * step;
    char *y = c->out[0].data;
    for (int64_t o = 0; o < outer; o++)
        memcpy(y + o * c->a.i[2] * step, x + o * c->in[0].dim[axis] * step, (size_t)(c->a.i[2] * step));
}

const struct kernel kernel_slice_cpu = {.run = run};
