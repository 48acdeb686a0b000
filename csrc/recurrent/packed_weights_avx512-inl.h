// What packed_weights-inl.h asks of AVX-512 with VNNI: vpdpbusd takes four bytes a lane, the digits unsigned.
#pragma once

#include <cstring>

#include "core/number_formats.h"
#include "simd/vec_avx512.h"

namespace lvm::avx512::packed_weights {
namespace {

constexpr int kGroup = 4, kDigits = 2, kSurplus = 128, kRowsFloat = 8, kRowsInt = 4;

inline void widen_pairs(const BF16* p, Vec& even, Vec& odd) {
    const __m512i pairs = _mm512_loadu_si512(p);
    even = {_mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16))};
    odd = {_mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(-0x10000)))};
}

using Digit = uint8_t;
using Digits = __m512i;
using Weights = __m512i;
using Ints = __m512i;
inline Digits all(const Digit* p) {
    int32_t four;
    std::memcpy(&four, p, sizeof(four));
    return _mm512_set1_epi32(four);
}
inline Weights load_weights(const int8_t* p) { return _mm512_loadu_si512(p); }
inline Ints load_ints(const int32_t* p) { return _mm512_loadu_si512(p); }
// Not the intrinsic: GCC copies every sum to and fro around it in a loop.
inline Ints multiply_add(Ints sums, Digits digits, Weights weights) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(digits), "v"(weights));
    return sums;
}
inline Vec to_floats(Ints sums) { return {_mm512_cvtepi32_ps(sums)}; }

}  // namespace
}  // namespace lvm::avx512::packed_weights

#include "recurrent/packed_weights-inl.h"
