// Four float32 lanes.
#pragma once

#include <arm_neon.h>

#include <cstring>

#include "core/number_formats.h"
#include "simd/rounded_here.h"

namespace lvm::neon {
namespace {

struct Vec {
    static constexpr int width = 4;
    float32x4_t v;
};
constexpr int W = Vec::width;

// Sums that the registers hold beside the operands of a matrix product: rows times vectors.
constexpr int kSumRows = 8, kSumVectors = 2;

inline uint16x4_t load_bits(const void* p) {
    uint16x4_t bits;
    std::memcpy(&bits, p, sizeof(bits));
    return bits;
}

inline Vec load(const float* p) {
    float32x4_t v;
    std::memcpy(&v, p, sizeof(v));
    return {v};
}
inline Vec load(const F16* p) { return {vcvt_f32_f16(vreinterpret_f16_u16(load_bits(p)))}; }
inline Vec load(const BF16* p) { return {vreinterpretq_f32_u32(vshll_n_u16(load_bits(p), 16))}; }

inline void store(float* p, Vec a) { std::memcpy(p, &a.v, sizeof(a.v)); }
inline void store(F16* p, Vec a) {
    const uint16x4_t bits = vreinterpret_u16_f16(vcvt_f16_f32(a.v));
    std::memcpy(p, &bits, sizeof(bits));
}
inline void store(BF16* p, Vec a) {
    const uint32x4_t bits = vreinterpretq_u32_f32(a.v);
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    const uint32x4_t rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
    const uint32x4_t number = vceqq_f32(a.v, a.v);
    const uint16x4_t narrow = vshrn_n_u32(vbslq_u32(number, rounded, vdupq_n_u32(0x7fc00000)), 16);
    std::memcpy(p, &narrow, sizeof(narrow));
}
template <class T>
inline void stream(T* p, Vec a) {
    store(p, a);
}
inline void stream_line(int8_t* to, const int8_t* from) { std::memcpy(to, from, 64); }
inline void fence() {}

inline Vec set1(float x) { return {vdupq_n_f32(x)}; }
inline Vec add(Vec a, Vec b) { return {vaddq_f32(a.v, b.v)}; }
inline Vec mul(Vec a, Vec b) { return {vmulq_f32(a.v, b.v)}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {vfmaq_f32(c.v, a.v, b.v)}; }
inline float sum(Vec a) { return vaddvq_f32(a.v); }

inline uint64_t lane_bits(uint32x4_t lanes) {
    constexpr uint32_t weights[4] = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(lanes, vld1q_u32(weights)));
}
// One bit a lane: a > b, and not (a < b). NaN is never greater and never less.
inline uint64_t greater(Vec a, Vec b) { return lane_bits(vcgtq_f32(a.v, b.v)); }
inline uint64_t not_less(Vec a, Vec b) { return lane_bits(vmvnq_u32(vcltq_f32(a.v, b.v))); }

inline Vec sub(Vec a, Vec b) { return {vsubq_f32(a.v, b.v)}; }
inline Vec div(Vec a, Vec b) { return {vdivq_f32(a.v, b.v)}; }
inline Vec clamp(Vec a, float low, float high) {
    return {vminq_f32(vmaxq_f32(a.v, vdupq_n_f32(low)), vdupq_n_f32(high))};
}
inline Vec round_nearest(Vec a) { return {vrndnq_f32(a.v)}; }
// 2^n for whole n from -126 to 127.
inline Vec pow2(Vec n) {
    const int32x4_t biased = vaddq_s32(vcvtnq_s32_f32(n.v), vdupq_n_s32(127));
    return {vreinterpretq_f32_s32(vshlq_n_s32(biased, 23))};
}

// a > b ? yes : no, lane by lane.
inline Vec where_greater(Vec a, Vec b, Vec yes, Vec no) {
    return {vbslq_f32(vcgtq_f32(a.v, b.v), yes.v, no.v)};
}
// Lane i: bit i ? yes : no.
inline Vec where_bits(uint32_t bits, Vec yes, Vec no) {
    const uint32x4_t lanes = {1, 2, 4, 8};
    return {vbslq_f32(vtstq_u32(vdupq_n_u32(bits), lanes), yes.v, no.v)};
}
inline Vec max(Vec a, Vec b) { return {vmaxq_f32(a.v, b.v)}; }
inline Vec abs(Vec a) { return {vabsq_f32(a.v)}; }
// 0 in place of what is nearer to it than `least`; NaN stays.
inline Vec without_tiny(Vec a, float least) {
    const uint32x4_t tiny = vcltq_f32(vabsq_f32(a.v), vdupq_n_f32(least));
    return {vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(a.v), tiny))};
}
inline float largest(Vec a) { return vmaxvq_f32(a.v); }

// Whole numbers from and to integers.
inline Vec load(const int32_t* p) { return {vcvtq_f32_s32(vld1q_s32(p))}; }
inline void store(int8_t* p, Vec a) {
    const int16x4_t words = vqmovn_s32(vcvtnq_s32_f32(a.v));
    const int8x8_t bytes = vqmovn_s16(vcombine_s16(words, words));
    std::memcpy(p, &bytes, 4);
}

// A whole number a lane: how often a > b was.
struct Count {
    uint32x4_t v = vdupq_n_u32(0);
};
inline void count_greater(Count& count, Vec a, Vec b) { count.v = vsubq_u32(count.v, vcgtq_f32(a.v, b.v)); }
inline void store(int32_t* p, Count count) { vst1q_s32(p, vreinterpretq_s32_u32(count.v)); }

// Eight float64 sums of products of float32.
struct Sums {
    float64x2_t v[4] = {vdupq_n_f64(0), vdupq_n_f64(0), vdupq_n_f64(0), vdupq_n_f64(0)};
};
inline void add_products(Sums& sums, const float* a, const float* b) {
    for (int h = 0; h < 2; ++h) {
        const float32x4_t x = vld1q_f32(a + 4 * h), y = vld1q_f32(b + 4 * h);
        sums.v[2 * h] =
            vfmaq_f64(sums.v[2 * h], vcvt_f64_f32(vget_low_f32(x)), vcvt_f64_f32(vget_low_f32(y)));
        sums.v[2 * h + 1] = vfmaq_f64(sums.v[2 * h + 1], vcvt_high_f64_f32(x), vcvt_high_f64_f32(y));
    }
}
// The same of squares of differences, each operation rounded to float64.
inline void add_squares(Sums& sums, const float* a, const float* b) {
    for (int h = 0; h < 2; ++h) {
        const float32x4_t x = vld1q_f32(a + 4 * h), y = vld1q_f32(b + 4 * h);
        const float64x2_t low = vsubq_f64(vcvt_f64_f32(vget_low_f32(x)), vcvt_f64_f32(vget_low_f32(y)));
        const float64x2_t high = vsubq_f64(vcvt_high_f64_f32(x), vcvt_high_f64_f32(y));
        sums.v[2 * h] = vaddq_f64(sums.v[2 * h], rounded_here(vmulq_f64(low, low)));
        sums.v[2 * h + 1] = vaddq_f64(sums.v[2 * h + 1], rounded_here(vmulq_f64(high, high)));
    }
}
inline void store(double* p, const Sums& sums) {
    for (int i = 0; i < 4; ++i) vst1q_f64(p + 2 * i, sums.v[i]);
}

}  // namespace
}  // namespace lvm::neon
