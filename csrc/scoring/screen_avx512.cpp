#include "simd/vec_avx512.h"

#define LVM_LEVEL avx512
#define LVM_TILE_QUERIES 6
#define LVM_TILE_VECTORS 4
#include "scoring/screen-inl.h"
