// What packed_weights-inl.h asks of AVX2: pairs of whole 16-bit codes and weights.
#pragma once

#include <cstring>

#include "core/number_formats.h"
#include "simd/vec_avx2.h"

namespace lvm::avx2::packed_weights {
namespace {

constexpr int kGroup = 2, kDigits = 1, kSurplus = 0, kRowsFloat = 4, kRowsInt = 3;

inline void widen_pairs(const BF16* p, Vec& even, Vec& odd) {
    const __m256i pairs = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    even = {_mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16))};
    odd = {_mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(-0x10000)))};
}

using Digit = int16_t;
using Digits = __m256i;
using Weights = __m256i;
using Ints = __m256i;
inline Digits all(const Digit* p) {
    int32_t pair;
    std::memcpy(&pair, p, sizeof(pair));
    return _mm256_set1_epi32(pair);
}
inline Weights load_weights(const int8_t* p) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline Ints load_ints(const int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline Ints multiply_add(Ints sums, Digits digits, Weights weights) {
    return _mm256_add_epi32(sums, _mm256_madd_epi16(digits, weights));
}
inline Vec to_floats(Ints sums) { return {_mm256_cvtepi32_ps(sums)}; }

}  // namespace
}  // namespace lvm::avx2::packed_weights

#include "recurrent/packed_weights-inl.h"
