/* A recorded update: instructions over buffers, run in one call. See program.py, which writes them. */
#ifndef DBRRL_PROGRAM_H
#define DBRRL_PROGRAM_H
#include <stdint.h>

typedef struct { const char *name; void (*run)(int64_t n, char *const *p, const int64_t *strides); } Loop;
typedef struct {
  const char *name;
  void (*run)(int64_t n, int64_t step, int64_t kept, char *const *p, const int64_t *strides);
} Reduction;

typedef void (*Quantiles)(int64_t n, int64_t m, const void *a, const void *b, const void *fractions, void *y, void *slope);

#endif
