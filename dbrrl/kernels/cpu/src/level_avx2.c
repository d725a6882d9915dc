#include "dispatch.h"
#include <math.h>
#include <string.h>

#if DBRRL_X86_LEVELS
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
#define LEVEL avx2
#define FUSED /* a b + c is one instruction */
#include "level.inc"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
typedef int dbrrl_nothing_here;
#endif
