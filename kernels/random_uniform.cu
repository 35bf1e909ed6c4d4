/* random_uniform.cu - see random_uniform.h. */
#include "kernels/random.cuh"

extern "C" const struct kernel kernel_random_uniform_cuda = {NULL, random_run<false>, NULL};
