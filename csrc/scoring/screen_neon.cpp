#include "simd/vec_neon.h"

#define LVM_LEVEL neon
#define LVM_TILE_QUERIES 6
#define LVM_TILE_VECTORS 4
#include "scoring/screen-inl.h"
