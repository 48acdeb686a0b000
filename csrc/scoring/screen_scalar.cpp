#include "simd/vec_scalar.h"

#define LVM_LEVEL scalar
#define LVM_TILE_QUERIES 2
#define LVM_TILE_VECTORS 8
#include "scoring/screen-inl.h"
