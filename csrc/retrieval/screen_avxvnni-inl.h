// Scoring by AVX2 with dot products of bytes: recent CPUs without AVX-512.
#pragma once

#include <immintrin.h>

#include "simd/ints_avx2.h"
#include "simd/vec_avx2.h"

namespace lvm::avxvnni::retrieval {
namespace {

// The instruction takes the query as unsigned: 128 more a code, hence 128 x the candidate's sum too much.
constexpr int kFewOpen = 80, kSurplus = 128;

inline Ints queries(const int8_t* p) { return _mm256_xor_si256(load_ints(p), _mm256_set1_epi8(-128)); }
inline Ints multiply_add(Ints sum, Ints q, Ints c) { return _mm256_dpbusd_avx_epi32(sum, q, c); }

}  // namespace
}  // namespace lvm::avxvnni::retrieval

#include "retrieval/screen_dot-inl.h"
