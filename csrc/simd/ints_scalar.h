// Plain C++ stand-in for a vector of one 32-bit lane, as retrieval's screen_dot-inl.h and pair-inl.h use it.
#pragma once

#include <cstring>

#include "core/views.h"

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
}  // namespace lvm::scalar
