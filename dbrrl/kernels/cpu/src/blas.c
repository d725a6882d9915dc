#include "blas.h"

#include <stdlib.h>

enum { ROW_MAJOR = 101, NOT_TRANSPOSED = 111, TRANSPOSED = 112 }; /* of CBLAS */

typedef void (*sgemm32)(int, int, int, int, int, int, float, const float *, int, const float *, int, float, float *, int);
typedef void (*sgemm64)(int, int, int, int64_t, int64_t, int64_t, float, const float *, int64_t, const float *, int64_t,
                        float, float *, int64_t);
typedef void (*dgemm32)(int, int, int, int, int, int, double, const double *, int, const double *, int, double, double *,
                        int);
typedef void (*dgemm64)(int, int, int, int64_t, int64_t, int64_t, double, const double *, int64_t, const double *, int64_t,
                        double, double *, int64_t);

/* A copy of x (rows, columns) turned into (columns, rows); NULL: there is no memory. */
#define TURNED(T)                                                                              \
    static T *turned_##T(const T *x, ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t distance)    \
    {                                                                                          \
        T *y = malloc((size_t)(rows * columns + 1) * sizeof *y);              \
        for (ptrdiff_t i = 0; y && i < rows; ++i)                                              \
            for (ptrdiff_t j = 0; j < columns; ++j) y[j * rows + i] = x[i * distance + j];     \
        return y;                                                                              \
    }
TURNED(float)
TURNED(double)

#define PRODUCT(T, name, kind, which)                                                                                   \
    int dbrrl_##name(int ta, int tb, ptrdiff_t m, ptrdiff_t n, ptrdiff_t k, const T *a, ptrdiff_t lda, const T *b,      \
                     ptrdiff_t ldb, T beta, T *c, ptrdiff_t ldc)                                                        \
    {                                                                                                                   \
        const int op_a = ta ? TRANSPOSED : NOT_TRANSPOSED, op_b = tb ? TRANSPOSED : NOT_TRANSPOSED;                     \
        if (m == 0 || n == 0) return 1;                                                                                 \
        if (dbrrl_blas.name && dbrrl_blas.wide) {                                                                       \
            ((name##64)dbrrl_blas.name)(ROW_MAJOR, op_a, op_b, m, n, k, 1, a, lda, b, ldb, beta, c, ldc);               \
            return 1;                                                                                                   \
        }                                                                                                               \
        const ptrdiff_t largest = INT32_MAX;                                                                            \
        if (dbrrl_blas.name && m < largest && n < largest && k < largest && lda < largest && ldb < largest && ldc < largest) { \
            ((name##32)dbrrl_blas.name)(ROW_MAJOR, op_a, op_b, (int)m, (int)n, (int)k, 1, a, (int)lda, b, (int)ldb,     \
                                        beta, c, (int)ldc);                                                             \
            return 1;                                                                                                   \
        }                                                                                                               \
        T *own_a = ta ? turned_##T(a, k, m, lda) : NULL, *own_b = tb ? turned_##T(b, n, k, ldb) : NULL;                 \
        const int ok = (!ta || own_a) && (!tb || own_b);                                                                \
        if (ok)                                                                                                         \
            dbrrl->product[which](m, n, k, ta ? own_a : a, ta ? k : lda, tb ? own_b : b, tb ? n : ldb, beta, c, ldc);   \
        free(own_a);                                                                                                    \
        free(own_b);                                                                                                    \
        return ok;                                                                                                      \
    }
PRODUCT(float, sgemm, f32, 0)
PRODUCT(double, dgemm, f64, 1)
