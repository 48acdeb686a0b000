#include "simd/vec_avx2.h"

#define LVM_LEVEL avx2
#define LVM_TILE_ROWS 6
#define LVM_TILE_VECTORS 2
#include "gemm/gemm-inl.h"
