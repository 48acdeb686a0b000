// AVX2 with dot products of bytes: recent CPUs without AVX-512.
#include "scoring/screen.h"
#include "simd/vec_avx2.h"

namespace lvm::avxvnni {

using namespace avx2;

namespace {

using Ints = __m256i;
constexpr int kLanes32 = 8, kRowsAtOnce = 2, kFewOpen = 80;

// The instruction takes the query as unsigned: 128 more a code, hence 128 x the candidate's sum too much.
constexpr int kSurplus = 128;
inline Ints queries(const int8_t* p) {
    const __m256i codes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm256_xor_si256(codes, _mm256_set1_epi8(-128));
}
inline Ints all(int32_t x) { return _mm256_set1_epi32(x); }
inline Ints multiply_add(Ints sum, Ints q, Ints c) { return _mm256_dpbusd_avx_epi32(sum, q, c); }
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

}  // namespace lvm::avxvnni

#define LVM_LEVEL avxvnni
#include "scoring/screen-inl.h"
