#include "gemm/half_sums_avx512bf16.h"
#include "simd/vec_avx512.h"

#define LVM_LEVEL avx512bf16
#include "gemm/half_tiles-inl.h"
//
#include "recurrent/gru_half-inl.h"
