// Scoring by AVX2: products of bytes by way of 16 bits.
#pragma once

#include <immintrin.h>

#include "simd/ints_avx2.h"
#include "simd/vec_avx2.h"

namespace lvm::avx2::retrieval {
namespace {

constexpr int kFewOpen = 120, kSurplus = 0;

inline Ints queries(const int8_t* p) { return load_ints(p); }
// Unsigned times signed bytes, the sign moved to the query: two products of at most 127 * 127 fit 16 bits.
inline Ints multiply_add(Ints sum, Ints q, Ints c) {
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(c), _mm256_sign_epi8(q, c));
    return add(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

}  // namespace
}  // namespace lvm::avx2::retrieval

#include "retrieval/screen_dot-inl.h"
