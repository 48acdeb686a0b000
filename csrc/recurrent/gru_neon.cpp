#include "simd/vec_neon.h"

#define LVM_LEVEL neon
#include "recurrent/gru-inl.h"
