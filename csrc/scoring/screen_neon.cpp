#include "scoring/screen.h"
#include "simd/vec_neon.h"

namespace lvm::neon {
namespace {

using Ints = int32x4_t;
constexpr int kLanes32 = 4, kRowsAtOnce = 2, kFewOpen = 80;

inline Ints start(float) { return vdupq_n_s32(0); }
inline Ints queries(const int8_t* p) { return vreinterpretq_s32_s8(vld1q_s8(p)); }
inline Ints candidate(int32_t four) { return vdupq_n_s32(four); }
inline Ints multiply_add(Ints sum, Ints q, Ints c) {
    return vdotq_s32(sum, vreinterpretq_s8_s32(q), vreinterpretq_s8_s32(c));
}
inline Ints add(Ints a, Ints b) { return vaddq_s32(a, b); }
inline Ints load_ints(const int32_t* p) { return vld1q_s32(p); }
inline void store_ints(int32_t* p, Ints a) { vst1q_s32(p, a); }

}  // namespace

#include "scoring/product-inl.h"

}  // namespace lvm::neon

#define LVM_LEVEL neon
#include "scoring/screen-inl.h"
