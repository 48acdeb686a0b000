#include "simd/vec_avx512.h"

#define LVM_LEVEL avx512
#include "recurrent/gru-inl.h"
