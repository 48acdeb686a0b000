#include "simd/vec_avx512.h"

#define LVM_LEVEL avx512
#define LVM_TILE_ROWS 8
#define LVM_TILE_VECTORS 3
#include "gemm/gemm-inl.h"
