// Dot products of bytes in sixteen lanes, as screen_dot-inl.h and pair-inl.h use them.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace lvm::avx512 {
namespace {

using Ints = __m512i;
constexpr int kLanes32 = 16, kRowsAtOnce = 8, kFewOpen = 160;

// The instruction takes the query as unsigned: 128 more a code, hence 128 x the candidate's sum too much.
constexpr int kSurplus = 128;
inline Ints all(int32_t x) { return _mm512_set1_epi32(x); }
inline Ints load_ints(const void* p) { return _mm512_loadu_si512(p); }
inline Ints queries(const int8_t* p) { return _mm512_xor_si512(load_ints(p), _mm512_set1_epi8(-128)); }
inline Ints multiply_add(Ints sum, Ints q, Ints c) { return _mm512_dpbusd_epi32(sum, q, c); }
inline Ints add(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
inline int32_t sum_of(Ints a) { return _mm512_reduce_add_epi32(a); }
inline void store_ints(int32_t* p, Ints a) { _mm512_storeu_si512(p, a); }

}  // namespace
}  // namespace lvm::avx512
