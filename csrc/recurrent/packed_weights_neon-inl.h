// What packed_weights-inl.h asks of NEON with dot products: four bytes a lane.
#pragma once

#include <cstring>

#include "core/number_formats.h"
#include "simd/vec_neon.h"

namespace lvm::neon::packed_weights {
namespace {

constexpr int kGroup = 4, kDigits = 2, kSurplus = 0, kRowsFloat = 6, kRowsInt = 3;

inline void widen_pairs(const BF16* p, Vec& even, Vec& odd) {
    uint32x4_t pairs;
    std::memcpy(&pairs, p, sizeof(pairs));
    even = {vreinterpretq_f32_u32(vshlq_n_u32(pairs, 16))};
    odd = {vreinterpretq_f32_u32(vandq_u32(pairs, vdupq_n_u32(0xffff0000u)))};
}

using Digit = int8_t;
using Digits = int8x16_t;
using Weights = int8x16_t;
using Ints = int32x4_t;
inline Digits all(const Digit* p) {
    int32_t four;
    std::memcpy(&four, p, sizeof(four));
    return vreinterpretq_s8_s32(vdupq_n_s32(four));
}
inline Weights load_weights(const int8_t* p) { return vld1q_s8(p); }
inline Ints load_ints(const int32_t* p) { return vld1q_s32(p); }
inline Ints multiply_add(Ints sums, Digits digits, Weights weights) {
    return vdotq_s32(sums, weights, digits);
}
inline Vec to_floats(Ints sums) { return {vcvtq_f32_s32(sums)}; }

}  // namespace
}  // namespace lvm::neon::packed_weights

#include "recurrent/packed_weights-inl.h"
