#include "dispatch.h"
#include <math.h>
#include <string.h>

#if DBRRL_X86_LEVELS
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,prefer-vector-width=512")
#endif
#define LEVEL avx512
#define FUSED /* a b + c is one instruction */
#include "level.inc"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
typedef int dbrrl_nothing_here;
#endif
