// float16 and bfloat16 to and from float32, one number at a time, for code that runs on any CPU. Rounding is
// to nearest, ties to even.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "core/number_formats.h"

namespace lvm {

inline float widen(float x) { return x; }
inline double widen(double x) { return x; }

inline float widen(BF16 x) { return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16); }

inline float widen(F16 x) {
    const uint32_t sign = static_cast<uint32_t>(x.bits & 0x8000u) << 16;
    const uint32_t magnitude = x.bits & 0x7fffu;
    if (magnitude >= 0x7c00u) return std::bit_cast<float>(sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13));
    // Moving the bits up and multiplying by 2^112 corrects the exponent and gets subnormals right at once.
    const float value = std::bit_cast<float>(magnitude << 13) * 0x1p112f;
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(value));
}

template <class T>
T narrow(double x);

template <>
inline double narrow<double>(double x) {
    return x;
}

template <>
inline float narrow<float>(double x) {
    return static_cast<float>(x);
}

template <>
inline BF16 narrow<BF16>(double x) {
    const uint32_t bits = std::bit_cast<uint32_t>(static_cast<float>(x));
    if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((bits >> 16) | 0x40u)};
    return {static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

template <>
inline F16 narrow<F16>(double x) {
    const uint32_t bits = std::bit_cast<uint32_t>(static_cast<float>(x));
    const uint32_t sign = (bits >> 16) & 0x8000u;
    const uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return {static_cast<uint16_t>(sign | 0x7e00u)};
    if (magnitude >= 0x477ff000u) return {static_cast<uint16_t>(sign | 0x7c00u)};  // rounds to infinity
    if (magnitude < 0x38800000u) {                                                 // a float16 subnormal
        const float ulps = std::nearbyint(std::bit_cast<float>(magnitude) * 0x1p24f);
        return {static_cast<uint16_t>(sign | static_cast<uint32_t>(ulps))};
    }
    const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
    return {static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13))};
}

}  // namespace lvm
