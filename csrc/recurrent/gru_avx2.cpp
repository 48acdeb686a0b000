#include "simd/vec_avx2.h"

#define LVM_LEVEL avx2
#include "recurrent/gru-inl.h"
