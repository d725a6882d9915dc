#define LEVEL plain
#include "level.inc"
