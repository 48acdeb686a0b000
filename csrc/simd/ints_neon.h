// Four 32-bit lanes and the dot products of bytes, as screen_dot-inl.h and pair-inl.h use them.
#pragma once

#include <arm_neon.h>

#include <cstdint>

namespace lvm::neon {
namespace {

using Ints = int32x4_t;
constexpr int kLanes32 = 4, kRowsAtOnce = 2, kFewOpen = 80;

constexpr int kSurplus = 0;
inline Ints queries(const int8_t* p) { return vreinterpretq_s32_s8(vld1q_s8(p)); }
inline Ints all(int32_t x) { return vdupq_n_s32(x); }
inline Ints multiply_add(Ints sum, Ints q, Ints c) {
    return vdotq_s32(sum, vreinterpretq_s8_s32(q), vreinterpretq_s8_s32(c));
}
inline Ints add(Ints a, Ints b) { return vaddq_s32(a, b); }
inline Ints load_ints(const void* p) { return vld1q_s32(static_cast<const int32_t*>(p)); }
inline int32_t sum_of(Ints a) { return vaddvq_s32(a); }
inline void store_ints(int32_t* p, Ints a) { vst1q_s32(p, a); }

}  // namespace
}  // namespace lvm::neon
