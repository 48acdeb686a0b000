#include "simd/vec_scalar.h"

#define LVM_LEVEL scalar
#include "recurrent/gru-inl.h"
