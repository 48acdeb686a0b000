#include "gemm/half_sums_amx.h"
#include "simd/vec_avx512.h"

#define LVM_LEVEL amx
#include "gemm/half_tiles-inl.h"
//
#include "recurrent/gru_half-inl.h"
