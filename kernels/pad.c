/* pad.c - the CPU's zero padding of one axis. See pad.h. */
#include "kernels/pad.h"

#include "kernels/axis_copy.h"

static void run(void *context, const struct kernel_call *c) {
    (void)context;
    int axis = (int)c->a.i[0];
    int64_t outer, step;
    axis_split(&c->in[0], axis, &outer, &step);
    int64_t before = c->a.i[1] * step, after = c->a.i[2] * step, middle = c->in[0].dim[axis] * step;
    char *y = c->out[0].data;
    for (int64_t o = 0; o < outer; o++) {
        memset(y, 0, (size_t)before);
        memcpy(y + before, (const char *)c->in[0].data + o * middle, (size_t)middle);
        memset(y + before + middle, 0, (size_t)after);
        y += before + middle + after;
    }
}

const struct kernel kernel_pad_cpu = {.run = run};
