/* standard.h - the programs that everyday use runs: training in every preset, drawing at common batch sizes, both in float32 and mixed
 * precision. Planned on a dry device (device.h), they say which launches a backend should be fast at; from them the fused CUDA
 * kernels are made (kernels/gen). */
#ifndef FACEMILL_STANDARD_H
#define FACEMILL_STANDARD_H

#include "common/base/status.h"
#include "common/engine/device.h"

enum status sg2_plan_standard(struct device *d, struct error *e);

#endif
