#include "simd/vec_scalar.h"

#define LVM_LEVEL scalar
#define LVM_TILE_ROWS 2
#define LVM_TILE_VECTORS 8
#include "gemm/gemm-inl.h"
