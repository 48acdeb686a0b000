#include "simd/vec_avx512.h"

#define LVM_LEVEL avx512
#include "rowwise/rowwise-inl.h"
