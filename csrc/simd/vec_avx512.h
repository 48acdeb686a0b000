// Sixteen float32 lanes.
#pragma once

#include <immintrin.h>

#include "core/number_formats.h"
#include "simd/rounded_here.h"

namespace lvm::avx512 {
namespace {

struct Vec {
    static constexpr int width = 16;
    __m512 v;
};
constexpr int W = Vec::width;

// Sums that the registers hold beside the operands of a matrix product: rows times vectors.
constexpr int kSumRows = 8, kSumVectors = 3;

inline Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline Vec load(const F16* p) {
    return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
inline Vec load(const BF16* p) {
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}

inline __m256i to_f16(Vec a) { return _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline __m256i to_bf16(Vec a) {
    const __m512i bits = _mm512_castps_si512(a.v);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const __mmask16 nan = _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q);
    const __m512i kept = _mm512_mask_blend_epi32(nan, rounded, _mm512_set1_epi32(0x7fc00000));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(kept, 16));
}

inline void store(float* p, Vec a) { _mm512_storeu_ps(p, a.v); }
inline void store(F16* p, Vec a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), to_f16(a)); }
inline void store(BF16* p, Vec a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), to_bf16(a)); }
inline void stream(float* p, Vec a) { _mm512_stream_ps(p, a.v); }
inline void stream(F16* p, Vec a) { _mm256_stream_si256(reinterpret_cast<__m256i*>(p), to_f16(a)); }
inline void stream(BF16* p, Vec a) { _mm256_stream_si256(reinterpret_cast<__m256i*>(p), to_bf16(a)); }
// 64 bytes to an aligned place.
inline void stream_line(int8_t* to, const int8_t* from) {
    _mm512_stream_si512(reinterpret_cast<__m512i*>(to), _mm512_loadu_si512(from));
}
inline void fence() { _mm_sfence(); }

inline Vec set1(float x) { return {_mm512_set1_ps(x)}; }
inline Vec add(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Vec mul(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline float sum(Vec a) { return _mm512_reduce_add_ps(a.v); }

// One bit a lane: a > b, and not (a < b). NaN is never greater and never less.
inline uint64_t greater(Vec a, Vec b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ); }
inline uint64_t not_less(Vec a, Vec b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_NLT_UQ); }

inline Vec sub(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Vec div(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
inline Vec clamp(Vec a, float low, float high) {  // of a NaN and a number these give what stands last
    return {_mm512_min_ps(_mm512_set1_ps(high), _mm512_max_ps(_mm512_set1_ps(low), a.v))};
}
inline Vec round_nearest(Vec a) {
    return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
// 2^n for whole n from -126 to 127.
inline Vec pow2(Vec n) {
    const __m512i biased = _mm512_add_epi32(_mm512_cvtps_epi32(n.v), _mm512_set1_epi32(127));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(biased, 23))};
}

// a > b ? yes : no, lane by lane.
inline Vec where_greater(Vec a, Vec b, Vec yes, Vec no) {
    return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ), no.v, yes.v)};
}
// Lane i: bit i ? yes : no.
inline Vec where_bits(uint32_t bits, Vec yes, Vec no) {
    return {_mm512_mask_blend_ps(static_cast<__mmask16>(bits), no.v, yes.v)};
}
inline Vec max(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
inline Vec abs(Vec a) { return {_mm512_abs_ps(a.v)}; }
// 0 in place of what is nearer to it than `least`; NaN stays.
inline Vec without_tiny(Vec a, float least) {
    return {
        _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(_mm512_abs_ps(a.v), _mm512_set1_ps(least), _CMP_NLT_UQ), a.v)};
}
inline float largest(Vec a) { return _mm512_reduce_max_ps(a.v); }

// Whole numbers from and to integers.
inline Vec load(const int32_t* p) { return {_mm512_cvtepi32_ps(_mm512_loadu_si512(p))}; }
inline void store(int8_t* p, Vec a) {
    const __m128i narrow = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(a.v));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), narrow);
}

// A whole number a lane: how often a > b was.
struct Count {
    __m512i v = _mm512_setzero_si512();
};
inline void count_greater(Count& count, Vec a, Vec b) {
    const __mmask16 more = _mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ);
    count.v = _mm512_mask_add_epi32(count.v, more, count.v, _mm512_set1_epi32(1));
}
inline void store(int32_t* p, Count count) { _mm512_storeu_si512(p, count.v); }

// Eight float64 sums of products of float32.
struct Sums {
    __m512d v = _mm512_setzero_pd();
};
inline void add_products(Sums& sums, const float* a, const float* b) {
    sums.v =
        _mm512_fmadd_pd(_mm512_cvtps_pd(_mm256_loadu_ps(a)), _mm512_cvtps_pd(_mm256_loadu_ps(b)), sums.v);
}
// The same of squares of differences, each operation rounded to float64.
inline void add_squares(Sums& sums, const float* a, const float* b) {
    const __m512d apart =
        _mm512_sub_pd(_mm512_cvtps_pd(_mm256_loadu_ps(a)), _mm512_cvtps_pd(_mm256_loadu_ps(b)));
    sums.v = _mm512_add_pd(sums.v, rounded_here(_mm512_mul_pd(apart, apart)));
}
inline void store(double* p, const Sums& sums) { _mm512_storeu_pd(p, sums.v); }

}  // namespace
}  // namespace lvm::avx512
