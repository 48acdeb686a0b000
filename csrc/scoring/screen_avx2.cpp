#include "simd/vec_avx2.h"

#define LVM_LEVEL avx2
#define LVM_TILE_QUERIES 6
#define LVM_TILE_VECTORS 2
#include "scoring/screen-inl.h"
