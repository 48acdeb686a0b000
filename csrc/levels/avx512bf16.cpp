// What CPUs with AVX512-BF16 do better than with AVX-512; they take its kernels else.
#include "simd/vec_avx512.h"

namespace lvm::avx512bf16 {
using namespace avx512;
}

#define LVM_LEVEL avx512bf16
#include "gemm/bf16_pack-inl.h"
#include "gemm/bf16_sums_avx512bf16-inl.h"
#include "recurrent/gru_bf16-inl.h"
