/* The program's loops for processors with avx2. */
#include "dispatch.h"
#if DBRRL_X86_LEVELS
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
#define VARIANT(name) name##_avx2
#define FUSED
#include "program_loops.inc"
#ifdef __clang__
#pragma clang attribute pop
#endif
#else
typedef int dbrrl_no_loops_here;
#endif
