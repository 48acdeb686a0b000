// What ARM CPUs with I8MM do better than with dot products of bytes; they take the kernels of NEON else.
#include "simd/vec_neon.h"

namespace lvm::i8mm {
using namespace neon;
}

#define LVM_LEVEL i8mm
#include "retrieval/screen_i8mm-inl.h"
