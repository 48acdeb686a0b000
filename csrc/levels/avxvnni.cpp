// What CPUs with AVX-VNNI do better than with AVX2; they take its kernels else.
#include "simd/vec_avx2.h"

namespace lvm::avxvnni {
using namespace avx2;
}

#define LVM_LEVEL avxvnni
#include "retrieval/screen_avxvnni-inl.h"
