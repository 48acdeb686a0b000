// What packed_weights-inl.h asks of plain C++.
#pragma once

#include <cstring>

#include "core/number_formats.h"
#include "simd/vec_scalar.h"

namespace lvm::scalar::packed_weights {
namespace {

constexpr int kGroup = 1, kDigits = 2, kSurplus = 0, kRowsFloat = 4, kRowsInt = 4;

inline void widen_pairs(const BF16* p, Vec& even, Vec& odd) {
    even = load(p);
    odd = load(p + 1);
}

using Digit = int8_t;
using Digits = int32_t;
using Weights = int32_t;
using Ints = int32_t;
inline Digits all(const Digit* p) { return *p; }
inline Weights load_weights(const int8_t* p) { return *p; }
inline Ints load_ints(const int32_t* p) { return *p; }
inline Ints multiply_add(Ints sums, Digits digits, Weights weights) { return sums + digits * weights; }
inline Vec to_floats(Ints sums) { return {static_cast<float>(sums)}; }

}  // namespace
}  // namespace lvm::scalar::packed_weights

#include "recurrent/packed_weights-inl.h"
