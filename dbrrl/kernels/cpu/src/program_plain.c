/* The program's loops for any processor. */
#define VARIANT(name) name##_plain
#include "program_loops.inc"
