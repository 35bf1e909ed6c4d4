/* random_normal.cu - see random_normal.h. */
#include "kernels/random.cuh"

extern "C" const struct kernel kernel_random_normal_cuda = {NULL, random_run<true>, NULL};
