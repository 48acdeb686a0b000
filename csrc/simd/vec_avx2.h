// Eight float32 lanes.
#pragma once

#include <immintrin.h>

#include "core/number_formats.h"
#include "simd/rounded_here.h"

namespace lvm::avx2 {
namespace {

struct Vec {
    static constexpr int width = 8;
    __m256 v;
};
constexpr int W = Vec::width;

// Sums that the registers hold beside the operands of a matrix product: rows times vectors.
constexpr int kSumRows = 6, kSumVectors = 2;

inline Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
inline Vec load(const F16* p) {
    return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
inline Vec load(const BF16* p) {
    const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(wide, 16))};
}

inline __m128i to_f16(Vec a) { return _mm256_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT); }
inline __m128i to_bf16(Vec a) {
    const __m256i bits = _mm256_castps_si256(a.v);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(a.v, a.v, _CMP_UNORD_Q));
    const __m256i kept = _mm256_blendv_epi8(rounded, _mm256_set1_epi32(0x7fc00000), nan);
    const __m256i high = _mm256_srli_epi32(kept, 16);
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(high, high), 0x08);
    return _mm256_castsi256_si128(packed);
}

inline void store(float* p, Vec a) { _mm256_storeu_ps(p, a.v); }
inline void store(F16* p, Vec a) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), to_f16(a)); }
inline void store(BF16* p, Vec a) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), to_bf16(a)); }
inline void stream(float* p, Vec a) { _mm256_stream_ps(p, a.v); }
inline void stream(F16* p, Vec a) { _mm_stream_si128(reinterpret_cast<__m128i*>(p), to_f16(a)); }
inline void stream(BF16* p, Vec a) { _mm_stream_si128(reinterpret_cast<__m128i*>(p), to_bf16(a)); }
// 64 bytes to an aligned place.
inline void stream_line(int8_t* to, const int8_t* from) {
    for (int i = 0; i < 64; i += 32) {
        _mm256_stream_si256(reinterpret_cast<__m256i*>(to + i),
                            _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i)));
    }
}
inline void fence() { _mm_sfence(); }

inline Vec set1(float x) { return {_mm256_set1_ps(x)}; }
inline Vec add(Vec a, Vec b) { return {_mm256_add_ps(a.v, b.v)}; }
inline Vec mul(Vec a, Vec b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
inline float sum(Vec a) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

// One bit a lane: a > b, and not (a < b). NaN is never greater and never less.
inline uint64_t greater(Vec a, Vec b) {
    return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a.v, b.v, _CMP_GT_OQ)));
}
inline uint64_t not_less(Vec a, Vec b) {
    return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a.v, b.v, _CMP_NLT_UQ)));
}

inline Vec sub(Vec a, Vec b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline Vec div(Vec a, Vec b) { return {_mm256_div_ps(a.v, b.v)}; }
inline Vec clamp(Vec a, float low, float high) {  // of a NaN and a number these give what stands last
    return {_mm256_min_ps(_mm256_set1_ps(high), _mm256_max_ps(_mm256_set1_ps(low), a.v))};
}
inline Vec round_nearest(Vec a) {
    return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
// 2^n for whole n from -126 to 127.
inline Vec pow2(Vec n) {
    const __m256i biased = _mm256_add_epi32(_mm256_cvtps_epi32(n.v), _mm256_set1_epi32(127));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(biased, 23))};
}

// a > b ? yes : no, lane by lane.
inline Vec where_greater(Vec a, Vec b, Vec yes, Vec no) {
    return {_mm256_blendv_ps(no.v, yes.v, _mm256_cmp_ps(a.v, b.v, _CMP_GT_OQ))};
}
// Lane i: bit i ? yes : no.
inline Vec where_bits(uint32_t bits, Vec yes, Vec no) {
    const __m256i lanes = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i chosen = _mm256_and_si256(_mm256_set1_epi32(static_cast<int32_t>(bits)), lanes);
    return {_mm256_blendv_ps(no.v, yes.v, _mm256_castsi256_ps(_mm256_cmpeq_epi32(chosen, lanes)))};
}
inline Vec max(Vec a, Vec b) { return {_mm256_max_ps(a.v, b.v)}; }
inline Vec abs(Vec a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)}; }
// 0 in place of what is nearer to it than `least`; NaN stays.
inline Vec without_tiny(Vec a, float least) {
    return {_mm256_and_ps(a.v, _mm256_cmp_ps(abs(a).v, _mm256_set1_ps(least), _CMP_NLT_UQ))};
}
inline float largest(Vec a) {
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

// Whole numbers from and to integers.
inline Vec load(const int32_t* p) {
    return {_mm256_cvtepi32_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
inline void store(int8_t* p, Vec a) {
    const __m256i wide = _mm256_cvtps_epi32(a.v);
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(words, words));
}

// A whole number a lane: how often a > b was.
struct Count {
    __m256i v = _mm256_setzero_si256();
};
inline void count_greater(Count& count, Vec a, Vec b) {
    count.v = _mm256_sub_epi32(count.v, _mm256_castps_si256(_mm256_cmp_ps(a.v, b.v, _CMP_GT_OQ)));
}
inline void store(int32_t* p, Count count) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), count.v); }

// Eight float64 sums of products of float32.
struct Sums {
    __m256d v[2] = {_mm256_setzero_pd(), _mm256_setzero_pd()};
};
inline void add_products(Sums& sums, const float* a, const float* b) {
    for (int h = 0; h < 2; ++h) {
        const __m256d x = _mm256_cvtps_pd(_mm_loadu_ps(a + 4 * h));
        sums.v[h] = _mm256_fmadd_pd(x, _mm256_cvtps_pd(_mm_loadu_ps(b + 4 * h)), sums.v[h]);
    }
}
// The same of squares of differences, each operation rounded to float64.
inline void add_squares(Sums& sums, const float* a, const float* b) {
    for (int h = 0; h < 2; ++h) {
        const __m256d x = _mm256_cvtps_pd(_mm_loadu_ps(a + 4 * h));
        const __m256d apart = _mm256_sub_pd(x, _mm256_cvtps_pd(_mm_loadu_ps(b + 4 * h)));
        sums.v[h] = _mm256_add_pd(sums.v[h], rounded_here(_mm256_mul_pd(apart, apart)));
    }
}
inline void store(double* p, const Sums& sums) {
    for (int h = 0; h < 2; ++h) _mm256_storeu_pd(p + 4 * h, sums.v[h]);
}

}  // namespace
}  // namespace lvm::avx2
