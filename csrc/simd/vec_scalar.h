// Plain C++ stand-in for a vector of one number.
#pragma once

#include <bit>
#include <cmath>
#include <cstring>

#include "core/conversions.h"
#include "core/views.h"
#include "simd/rounded_here.h"

namespace lvm::scalar {
namespace {

struct Vec {
    static constexpr int width = 1;
    float v;
};
constexpr int W = Vec::width;

// Sums that the registers hold beside the operands of a matrix product: rows times vectors.
constexpr int kSumRows = 2, kSumVectors = 8;

template <class T>
inline Vec load(const T* p) {
    return {widen(load_unaligned(p))};
}
template <class T>
inline void store(T* p, Vec a) {
    const T value = narrow<T>(a.v);
    std::memcpy(p, &value, sizeof(T));
}
template <class T>
inline void stream(T* p, Vec a) {
    store(p, a);
}
inline Vec set1(float x) { return {x}; }
inline Vec add(Vec a, Vec b) { return {a.v + b.v}; }
inline Vec mul(Vec a, Vec b) { return {a.v * b.v}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {a.v * b.v + c.v}; }
inline float sum(Vec a) { return a.v; }
inline void stream_line(int8_t* to, const int8_t* from) { std::memcpy(to, from, 64); }
inline void fence() {}

// One bit a lane: a > b, and not (a < b). NaN is never greater and never less.
inline uint64_t greater(Vec a, Vec b) { return a.v > b.v; }
inline uint64_t not_less(Vec a, Vec b) { return !(a.v < b.v); }

inline Vec sub(Vec a, Vec b) { return {a.v - b.v}; }
inline Vec div(Vec a, Vec b) { return {a.v / b.v}; }
inline Vec clamp(Vec a, float low, float high) {  // a NaN stays one
    return {a.v < low ? low : a.v > high ? high : a.v};
}
inline Vec round_nearest(Vec a) { return {std::nearbyint(a.v)}; }
// 2^n for whole n from -126 to 127.
inline Vec pow2(Vec n) { return {std::bit_cast<float>((static_cast<int32_t>(n.v) + 127) << 23)}; }

// a > b ? yes : no, lane by lane.
inline Vec where_greater(Vec a, Vec b, Vec yes, Vec no) { return a.v > b.v ? yes : no; }
// Lane i: bit i ? yes : no.
inline Vec where_bits(uint32_t bits, Vec yes, Vec no) { return bits & 1 ? yes : no; }
inline Vec max(Vec a, Vec b) { return {a.v > b.v ? a.v : b.v}; }
inline Vec abs(Vec a) { return {std::fabs(a.v)}; }
// 0 in place of what is nearer to it than `least`; NaN stays.
inline Vec without_tiny(Vec a, float least) { return {std::fabs(a.v) < least ? 0.0f : a.v}; }
inline float largest(Vec a) { return a.v; }

// Whole numbers from and to integers.
inline Vec load(const int32_t* p) { return {static_cast<float>(*p)}; }
inline void store(int8_t* p, Vec a) { *p = static_cast<int8_t>(a.v); }

// A whole number a lane: how often a > b was.
struct Count {
    int32_t v = 0;
};
inline void count_greater(Count& count, Vec a, Vec b) { count.v += a.v > b.v; }
inline void store(int32_t* p, Count count) { *p = count.v; }

// Eight float64 sums of products of float32.
struct Sums {
    double v[8] = {};
};
inline void add_products(Sums& sums, const float* a, const float* b) {
    for (int i = 0; i < 8; ++i) sums.v[i] += static_cast<double>(a[i]) * static_cast<double>(b[i]);
}
// The same of squares of differences, each operation rounded to float64.
inline void add_squares(Sums& sums, const float* a, const float* b) {
    for (int i = 0; i < 8; ++i) {
        const double apart = static_cast<double>(a[i]) - static_cast<double>(b[i]);
        sums.v[i] += rounded_here(apart * apart);
    }
}
inline void store(double* p, const Sums& sums) { std::memcpy(p, sums.v, sizeof(sums.v)); }

}  // namespace
}  // namespace lvm::scalar
