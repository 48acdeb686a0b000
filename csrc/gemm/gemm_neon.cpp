#include "simd/vec_neon.h"

#define LVM_LEVEL neon
#define LVM_TILE_ROWS 8
#define LVM_TILE_VECTORS 2
#include "gemm/gemm-inl.h"
