/* cuda.h - what the CUDA kernels share: context, checks, element types, indexing.
 *
 * Included by .cu files only. Every launch goes to the context's stream, which is that of the current lane while a program is captured;
 * nothing here allocates, waits, or reads a device value on the host, so any sequence of launches can be captured.
 */
#ifndef FACEMILL_CUDA_H
#define FACEMILL_CUDA_H

#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <cudnn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

extern "C" {
#include "kernels/backend.h"
}

/* Pinned memory that copies to and from the device pass through: pageable memory is slower, and a write from it would wait for what
 * is queued before. */
#define STAGE_PARTS 4
#define STAGE_BYTES ((int64_t)4 << 20) /* of a part */
struct stage {
    char *base, *out; /* out: one more part, for reading */
    cudaEvent_t done[STAGE_PARTS]; /* copies out of a part */
    int part;
    int64_t used; /* of this part */
};

struct measuring; /* measure.cuh */
#define CUDA_LANES 3 /* 128x128, batch 32: one 0.853 s/kimg, two 0.833, three 0.832, four 0.835 */
struct cuda_context {
    cudaStream_t stream; /* where launches go: lane[0] but while capturing */
    cudaStream_t lane[CUDA_LANES];
    cudaEvent_t *marks; /* used in capturing only, each program's in turn */
    int n_marks;
    struct stage stage;
    struct measuring *measuring;
    cudnnHandle_t dnn;
    cublasLtHandle_t lt;
    cudaDeviceProp device;
    char description[256];
};

static inline struct cuda_context *cuda(void *context) { return (struct cuda_context *)context; }

/* A failing call here means a broken driver, a fault in a kernel or a mistake of ours: nothing to recover, so say where and stop. */
#define CUDA_CHECK(call)                                                                                                    \
    do {                                                                                                                    \
        cudaError_t code_ = (call);                                                                                         \
        if (code_ != cudaSuccess) {                                                                                         \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(code_));                       \
            abort();                                                                                                        \
        }                                                                                                                   \
    } while (0)
#define CUDNN_CHECK(call)                                                                                                   \
    do {                                                                                                                    \
        cudnnStatus_t code_ = (call);                                                                                       \
        if (code_ != CUDNN_STATUS_SUCCESS) {                                                                                \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudnnGetErrorString(code_));                      \
            abort();                                                                                                        \
        }                                                                                                                   \
    } while (0)
#define CUBLAS_CHECK(call)                                                                                                  \
    do {                                                                                                                    \
        cublasStatus_t code_ = (call);                                                                                      \
        if (code_ != CUBLAS_STATUS_SUCCESS) {                                                                               \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cublasLtGetStatusString(code_));                    \
            abort();                                                                                                        \
        }                                                                                                                   \
    } while (0)

/* Threads a block of the simple kernels; grids that cover n items, one item a thread. */
#define CUDA_BLOCK 256
static inline unsigned cuda_grid(int64_t n, int block = CUDA_BLOCK) { return (unsigned)((n + block - 1) / block); }

static inline int64_t operand_count(const struct operand *o) {
    int64_t n = 1;
    for (int d = 0; d < o->ndim; d++)
        n *= o->dim[d];
    return n;
}

/* ---- storage types: T is float, __half, __nv_bfloat16 or uint8_t; arithmetic is float ---- */
__device__ static inline float to_float(float x) { return x; }
__device__ static inline float to_float(__half x) { return __half2float(x); }
__device__ static inline float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ static inline float to_float(uint8_t x) { return (float)x; }
template <typename T> __device__ static inline T from_float(float x);
template <> __device__ inline float from_float<float>(float x) { return x; }
template <> __device__ inline __half from_float<__half>(float x) { return __float2half_rn(x); }
template <> __device__ inline __nv_bfloat16 from_float<__nv_bfloat16>(float x) { return __float2bfloat16_rn(x); }

/* Calls F<T>(...) for a floating type known at run time. */
#define CUDA_BY_TYPE(dtype_, F, ...)                                                                                        \
    do {                                                                                                                    \
        switch (dtype_) {                                                                                                   \
        case DT_F32: F<float>(__VA_ARGS__); break;                                                                          \
        case DT_F16: F<__half>(__VA_ARGS__); break;                                                                         \
        case DT_BF16: F<__nv_bfloat16>(__VA_ARGS__); break;                                                                 \
        default: fprintf(stderr, "%s:%d: element type %s\n", __FILE__, __LINE__, dtype_name(dtype_)); abort();              \
        }                                                                                                                   \
    } while (0)

#endif
