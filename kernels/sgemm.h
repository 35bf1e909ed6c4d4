/* sgemm.h - the single-precision matrix product the CPU kernels are made of: oneDNN's, or, where the build leaves oneDNN out
 * (make ONEDNN=0: 40 MB less beside the programs, for machines whose GPU does the work), OpenBLAS's.
 *
 * Row-major C [M,N] = alpha op(A) op(B) + beta C; ta, tb: 'N' or 'T'. Callers run several at once, each with one thread.
 */
#ifndef FACEMILL_KERNELS_SGEMM_H
#define FACEMILL_KERNELS_SGEMM_H

#include <stdint.h>

#ifdef FACEMILL_NO_ONEDNN
#include <cblas.h>

static inline void sgemm(char ta, char tb, int64_t M, int64_t N, int64_t K, float alpha, const float *A, int64_t lda, const float *B,
                         int64_t ldb, float beta, float *C, int64_t ldc) {
    cblas_sgemm(CblasRowMajor, ta == 'T' ? CblasTrans : CblasNoTrans, tb == 'T' ? CblasTrans : CblasNoTrans, (int)M, (int)N, (int)K, alpha, A,
                (int)lda, B, (int)ldb, beta, C, (int)ldc);
}
#else
#include <dnnl.h>

static inline void sgemm(char ta, char tb, int64_t M, int64_t N, int64_t K, float alpha, const float *A, int64_t lda, const float *B,
                         int64_t ldb, float beta, float *C, int64_t ldc) {
    dnnl_sgemm(ta, tb, M, N, K, alpha, A, lda, B, ldb, beta, C, ldc);
}
#endif

#endif
