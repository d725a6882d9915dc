/* Matrix products by loops of our own, and by NumPy's BLAS where that is faster. */
#ifndef DBRRL_BLAS_H
#define DBRRL_BLAS_H

#include "dispatch.h"

/* c (m, n) = op(a) op(b) + beta c, rows one after the other, at distances lda, ldb and ldc; op transposes where told.
   May be called without the interpreter lock. */
void dbrrl_sgemm(int transpose_a, int transpose_b, ptrdiff_t m, ptrdiff_t n, ptrdiff_t k, const float *a, ptrdiff_t lda,
                 const float *b, ptrdiff_t ldb, float beta, float *c, ptrdiff_t ldc);
void dbrrl_dgemm(int transpose_a, int transpose_b, ptrdiff_t m, ptrdiff_t n, ptrdiff_t k, const double *a, ptrdiff_t lda,
                 const double *b, ptrdiff_t ldb, double beta, double *c, ptrdiff_t ldc);

#endif
