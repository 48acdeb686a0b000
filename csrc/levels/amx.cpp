// What CPUs with the tile unit (AMX: bfloat16 and int8) do better; they take the kernels of AVX512-BF16, and
// of AVX-512, else.
#include "simd/vec_avx512.h"

namespace lvm::amx {
using namespace avx512;
}

#define LVM_LEVEL amx
#include "gemm/bf16_sums_amx-inl.h"
#include "recurrent/gru_bf16-inl.h"
#include "recurrent/packed_weights_amx-inl.h"
#include "retrieval/screen_amx-inl.h"
