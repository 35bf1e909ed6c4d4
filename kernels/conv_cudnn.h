/* conv_cudnn.h - the three convolutions through cuDNN's C API. Which of its ways serves a shape is measured once and remembered
 * (choices.h): the plain API's algorithms, plans of the graph API (conv_graph.h), and for float32 the layouts and the split of conv_f32.h.
 *
 * Activations are NHWC, filters KRSC: the engine's layouts are cuDNN's, so 16-bit operands are never converted; they use tensor cores
 * and accumulate in float32. What float32 means, conv_f32.h says. Only algorithms that cuDNN calls deterministic are taken, so equal inputs
 * give equal bytes.
 */
#ifndef FACEMILL_CONV_CUDNN_H
#define FACEMILL_CONV_CUDNN_H

#include "kernels/conv_f32.h"

/* Sets c->state and c->workspace_bytes. */
enum status conv_prepare(void *context, struct kernel_call *c, enum conv_kind kind, struct error *e);
/* c->out[0].data is where the result goes, in the type of the operands. */
void conv_run(void *context, const struct kernel_call *c);
void conv_release(void *context, struct kernel_call *c);

#endif
