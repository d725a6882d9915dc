/* The level of the processor's instructions that the kernels use, chosen at run time, and the table of their loops.

   Each loop is compiled once per level from the same text (loops_*.inc, included by level_*.c through level.inc). Sums
   are made in the same order at every level, so that a level changes the speed and no bit of the result: but for
   programs and products, where a b + c is rounded once if the processor can. */
#ifndef DBRRL_DISPATCH_H
#define DBRRL_DISPATCH_H

#include <stddef.h>
#include <stdint.h>

#if (defined(__x86_64__) || defined(_M_X64)) && (defined(__GNUC__) || defined(__clang__))
#define DBRRL_X86_LEVELS 1
#else
#define DBRRL_X86_LEVELS 0 /* plain: NEON on Arm, SSE2 with a compiler that cannot switch inside a file */
#endif

enum dbrrl_level { DBRRL_NUMPY = -1, DBRRL_PLAIN = 0, DBRRL_AVX2 = 1, DBRRL_AVX512 = 2, DBRRL_LEVELS = 3 };

enum dbrrl_function { DBRRL_EXP, DBRRL_TANH, DBRRL_SIGMOID }; /* of `apply` */

enum dbrrl_activation { DBRRL_NONE, DBRRL_RELU, DBRRL_TANH_AFTER }; /* of `activate` */

/* A convolution of images by kernels; strides are in bytes, those of the images as they are given. */
typedef struct {
    ptrdiff_t images, channels, height, width, out, kernel_down, kernel_across, step_down, step_across, pad_down, pad_across;
    ptrdiff_t stride_image, stride_channel, stride_row, stride_column;
    ptrdiff_t down, across, places; /* places of the kernel: down times across */
    ptrdiff_t row, image, chunk;    /* numbers in a patch, and in an image with what is around it; images at a time */
} dbrrl_conv;

/* Loops of a recorded program, by the names that program.py asks for; the last one has none. */
typedef struct {
    const char *name;
    void (*run)(int64_t n, char *const *p, const int64_t *strides);
} dbrrl_named_loop;
typedef struct {
    const char *name;
    void (*run)(int64_t n, int64_t step, int64_t kept, char *const *p, const int64_t *strides);
} dbrrl_named_reduction;
typedef void (*dbrrl_quantiles)(int64_t n, int64_t m, const void *a, const void *b, const void *fractions, void *y,
                                void *slope);

/* Loops over rows and vectors; [0] is float32, [1] is float64. */
typedef struct {
    void (*adam[2])(ptrdiff_t n, void *values, const void *g, void *first, void *second, const double *constants);
    void (*rmsprop[2])(ptrdiff_t n, void *values, const void *g, void *mean_square, void *mean, void *velocity,
                       const double *constants, int eps_inside_root);
    void (*sgd[2])(ptrdiff_t n, void *values, const void *g, void *velocity, double momentum, double learning_rate,
                   int nesterov);
    void (*approach[2])(ptrdiff_t n, void *values, const void *goal, double tau);
    void (*gae[2])(ptrdiff_t steps, ptrdiff_t batch, const void *reward, const void *value, const void *next_value,
                   const uint8_t *terminated, const uint8_t *boundary, double gamma, double decay, void *advantage);
    void (*moments[2])(ptrdiff_t n, ptrdiff_t size, const void *x, double *mean, double *squares);
    void (*normalize[2])(ptrdiff_t n, ptrdiff_t size, const void *x, const void *mean, const void *inverse_std,
                         double low, double high, void *y);
    void (*standardize[2])(ptrdiff_t n, const void *x, void *y);
    void (*product[2])(ptrdiff_t m, ptrdiff_t n, ptrdiff_t k, const void *a, ptrdiff_t down, ptrdiff_t along,
                       const void *b, ptrdiff_t ldb, int transposed, double beta, void *c, ptrdiff_t ldc);
    int own_products; /* whether `product` is faster than a BLAS where it serves */
    void (*apply)(int function, ptrdiff_t n, const float *x, float *y);
    void (*lstm_cell)(ptrdiff_t batch, ptrdiff_t size, float *gates, const float *bias, const float *c, float *c_after,
                      float *h_after);
    void (*lstm_back)(ptrdiff_t batch, ptrdiff_t size, const float *gates, const float *c, const float *c_after,
                      const float *dh, float *dc, float *d);
    void (*gru_cell)(ptrdiff_t batch, ptrdiff_t size, const float *input, const float *recurrent, const float *bias_i,
                     const float *bias_h, const float *h, float *gates, float *h_after);
    void (*channels_last)(const dbrrl_conv *sizes, const char *x, int bytes, float *y);
    void (*patches)(const dbrrl_conv *sizes, const float *x, float *to);
    void (*scatter)(const dbrrl_conv *sizes, const float *from, float *y);
    void (*activate)(int activation, ptrdiff_t n, ptrdiff_t size, const float *bias, float *y);
    void (*log_softmax)(ptrdiff_t n, ptrdiff_t k, const float *x, float *y, float *room);
    void (*log_softmax_back)(ptrdiff_t n, ptrdiff_t k, const float *g, const float *y, float *dx);
    void (*softmax)(ptrdiff_t n, ptrdiff_t k, const float *x, float *y, float *room);
    void (*softmax_back)(ptrdiff_t n, ptrdiff_t k, const float *g, const float *y, float *dx);
    void (*entropy)(ptrdiff_t n, ptrdiff_t k, const float *log_p, float *p, float *y);
    void (*entropy_back)(ptrdiff_t n, ptrdiff_t k, const float *g, const float *log_p, const float *p, float *dl);
    void (*log_prob)(ptrdiff_t n, ptrdiff_t k, const float *x, const int64_t *index, float *p, float *y, float *room);
    void (*log_prob_back)(ptrdiff_t n, ptrdiff_t k, const float *g, const int64_t *index, const float *p, float *dx);
    double (*surrogate)(ptrdiff_t n, const float *log_p, const float *old, const float *advantage, double low, double high,
                        float *ratio, uint8_t *active);
    void (*gradient)(int activation, ptrdiff_t n, ptrdiff_t size, const float *g, const float *y, float *to, float *sums);
    void (*gru_back)(ptrdiff_t batch, ptrdiff_t size, const float *gates, const float *h, float *dh, float *d);
    const dbrrl_named_loop *named;
    const dbrrl_named_reduction *reductions;
    dbrrl_quantiles quantiles[2];
} dbrrl_loops;

extern const dbrrl_loops dbrrl_loops_plain;
#if DBRRL_X86_LEVELS
extern const dbrrl_loops dbrrl_loops_avx2, dbrrl_loops_avx512;
#endif

extern int dbrrl_level;           /* of enum dbrrl_level; DBRRL_NUMPY: every kernel refuses its arguments */
extern const dbrrl_loops *dbrrl;  /* the loops of this level; those of plain for DBRRL_NUMPY */

/* Whether this build and this processor have a level. */
int dbrrl_has_level(int level);

/* Matrix products of NumPy's own BLAS: cblas_sgemm and cblas_dgemm, NULL where there are none, and how many threads
   they use. With `wide` its integers have 64 bits (ILP64), else 32. */
typedef struct {
    void *sgemm, *dgemm;
    int (*threads)(void);
    int wide;
} dbrrl_blas_functions;

extern dbrrl_blas_functions dbrrl_blas;

#endif
