#include "scoring/screen.h"
#include "simd/vec_avx2.h"

namespace lvm::avx2 {
namespace {

using Ints = __m256i;
constexpr int kLanes32 = 8, kRowsAtOnce = 2, kFewOpen = 120;

constexpr int kSurplus = 0;
inline Ints queries(const int8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline Ints all(int32_t x) { return _mm256_set1_epi32(x); }
// Unsigned times signed bytes, the sign moved to the query: two products of at most 127 * 127 fit 16 bits.
inline Ints multiply_add(Ints sum, Ints q, Ints c) {
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(c), _mm256_sign_epi8(q, c));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
inline Ints add(Ints a, Ints b) { return _mm256_add_epi32(a, b); }
inline Ints load_ints(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline int32_t sum_of(Ints a) {
    const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
}
inline void store_ints(int32_t* p, Ints a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a); }

}  // namespace

#include "scoring/pair-inl.h"
#include "scoring/product-inl.h"

}  // namespace lvm::avx2

#define LVM_LEVEL avx2
#include "scoring/screen-inl.h"
