#include "scoring/screen.h"
#include "simd/vec_scalar.h"

namespace lvm::scalar {
namespace {

struct Ints {
    int32_t v;
};
constexpr int kLanes32 = 1, kRowsAtOnce = 1, kFewOpen = 40;

constexpr int kSurplus = 0;
inline Ints queries(const int8_t* p) { return {load_unaligned(reinterpret_cast<const int32_t*>(p))}; }
inline Ints all(int32_t x) { return {x}; }
inline Ints multiply_add(Ints sum, Ints q, Ints c) {
    int8_t a[4], b[4];
    std::memcpy(a, &q, sizeof(a));
    std::memcpy(b, &c, sizeof(b));
    return {sum.v + a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3]};
}
inline Ints add(Ints a, Ints b) { return {a.v + b.v}; }
inline Ints load_ints(const void* p) { return {load_unaligned(static_cast<const int32_t*>(p))}; }
inline int32_t sum_of(Ints a) { return a.v; }
inline void store_ints(int32_t* p, Ints a) { *p = a.v; }

}  // namespace

#include "scoring/pair-inl.h"
#include "scoring/product-inl.h"

}  // namespace lvm::scalar

#define LVM_LEVEL scalar
#include "scoring/screen-inl.h"
