#include "blas.h"

enum { ROW_MAJOR = 101, NOT_TRANSPOSED = 111, TRANSPOSED = 112 }; /* of CBLAS */

typedef void (*sgemm32)(int, int, int, int, int, int, float, const float *, int, const float *, int, float, float *, int);
typedef void (*sgemm64)(int, int, int, int64_t, int64_t, int64_t, float, const float *, int64_t, const float *, int64_t,
                        float, float *, int64_t);
typedef void (*dgemm32)(int, int, int, int, int, int, double, const double *, int, const double *, int, double, double *,
                        int);
typedef void (*dgemm64)(int, int, int, int64_t, int64_t, int64_t, double, const double *, int64_t, const double *, int64_t,
                        double, double *, int64_t);

enum { SHARED = 1 << 20 }; /* multiply-adds of a product from which on several threads may share it */

/* Whether our own loops take a product: not a thin one, and none that several threads would share. A transposed b has
   to be turned, which costs as much as about 16 rows; many columns of a transposed a are too far apart. */
static int own(int ta, int tb, ptrdiff_t m, ptrdiff_t n, ptrdiff_t k)
{
    if (!dbrrl->own_products || m < (tb ? 32 : 8) || n < 16 || (ta && m > 256)) return 0;
    return m * n * k < SHARED || !dbrrl_blas.threads || dbrrl_blas.threads() == 1;
}

#define PRODUCT(T, name, which)                                                                                          \
    void dbrrl_##name(int ta, int tb, ptrdiff_t m, ptrdiff_t n, ptrdiff_t k, const T *a, ptrdiff_t lda, const T *b,      \
                      ptrdiff_t ldb, T beta, T *c, ptrdiff_t ldc)                                                        \
    {                                                                                                                    \
        const int op_a = ta ? TRANSPOSED : NOT_TRANSPOSED, op_b = tb ? TRANSPOSED : NOT_TRANSPOSED;                      \
        const ptrdiff_t most = INT32_MAX;                                                                                \
        const int fits = m < most && n < most && k < most && lda < most && ldb < most && ldc < most;                     \
        if (m == 0 || n == 0) return;                                                                                    \
        if (!dbrrl_blas.name || !(dbrrl_blas.wide || fits) || own(ta, tb, m, n, k))                                      \
            dbrrl->product[which](m, n, k, a, ta ? 1 : lda, ta ? lda : 1, b, ldb, tb, beta, c, ldc);                     \
        else if (dbrrl_blas.wide)                                                                                        \
            ((name##64)dbrrl_blas.name)(ROW_MAJOR, op_a, op_b, m, n, k, 1, a, lda, b, ldb, beta, c, ldc);                \
        else                                                                                                             \
            ((name##32)dbrrl_blas.name)(ROW_MAJOR, op_a, op_b, (int)m, (int)n, (int)k, 1, a, (int)lda, b, (int)ldb,      \
                                        beta, c, (int)ldc);                                                              \
    }
PRODUCT(float, sgemm, 0)
PRODUCT(double, dgemm, 1)
