#include "dispatch.h"
#include <math.h>
#include <string.h>

#if DBRRL_X86_LEVELS
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
#define LEVEL avx2
#define FUSED /* a b + c is one instruction */
#define VECTOR_BYTES 32
#define PRODUCT_ROWS 6 /* of which two vectors each stay in registers */
#define VECTOR_f32 __m256
#define VECTOR_f64 __m256d
#define ON_VECTORS_f32(name) _mm256_##name##_ps
#define ON_VECTORS_f64(name) _mm256_##name##_pd
#include "level.inc"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
typedef int dbrrl_nothing_here;
#endif
