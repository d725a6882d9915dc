/* The program's loops for processors with avx512. */
#include "dispatch.h"
#if DBRRL_X86_LEVELS
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma,prefer-vector-width=512")
#endif
#define VARIANT(name) name##_avx512
#define FUSED
#include "program_loops.inc"
#ifdef __clang__
#pragma clang attribute pop
#endif
#else
typedef int dbrrl_no_loops_here;
#endif
