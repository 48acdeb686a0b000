#include "simd/vec_neon.h"

#define LVM_LEVEL neon
#include "rowwise/rowwise-inl.h"
