// Eight 32-bit lanes, as screen_dot-inl.h and pair-inl.h use them; how bytes are multiplied differs by level.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace lvm::avx2 {
namespace {

using Ints = __m256i;
constexpr int kLanes32 = 8, kRowsAtOnce = 2;

inline Ints all(int32_t x) { return _mm256_set1_epi32(x); }
inline Ints add(Ints a, Ints b) { return _mm256_add_epi32(a, b); }
inline Ints load_ints(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline int32_t sum_of(Ints a) {
    const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
}
inline void store_ints(int32_t* p, Ints a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a); }

}  // namespace
}  // namespace lvm::avx2
