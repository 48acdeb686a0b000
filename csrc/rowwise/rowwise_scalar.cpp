#include "simd/vec_scalar.h"

#define LVM_LEVEL scalar
#include "rowwise/rowwise-inl.h"
