/* conv_cpu.c - chooses the method of a convolution and passes calls on to it. */
#include "kernels/conv_cpu.h"

#include "kernels/cpu.h"

enum status conv_prepare(void *context, struct kernel_call *c, enum conv_kind kind, const struct conv_shape *s, struct error *e)
{
#ifdef FACEMILL_NO_ONEDNN
    static const struct conv_method *const methods[] = {&conv_thin, &conv_winograd, &conv_gemm};
#else
    static const struct conv_method *const methods[] = {&conv_thin, &conv_winograd, &conv_gemm, &conv_onednn};
#endif
    enum status st = cpu_need_f32(c, e);
    size_t i = 0;
    while (i + 1 < sizeof methods / sizeof *methods && !methods[i]->suits(kind, s))
        i++; /* the last can do everything */
    return st == ST_OK ? methods[i]->prepare(context, c, kind, s, e) : st;
}

void conv_run(void *context, const struct kernel_call *c)
{
    (*(const struct conv_method *const *)c->state)->run(context, c);
}

void conv_release(void *context, struct kernel_call *c)
{
    (void)context;
    if (c->state)
        (*(const struct conv_method *const *)c->state)->release(c->state);
    c->state = NULL;
}
