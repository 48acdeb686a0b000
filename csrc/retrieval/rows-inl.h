// What the scoring kernels do with one row at a time: codes, exact scores, stored numbers as float32.
// Included by screen-inl.h.
#pragma once

#include <cmath>
#include <cstring>
#include <limits>

#include "retrieval/screen.h"
#include "simd/math-inl.h"
#include "simd/rounded_here.h"

namespace lvm::LVM_LEVEL::retrieval {
namespace {

// A bound on the sum of `count` squares in float32 lanes (Higham, Accuracy and Stability of Numerical
// Algorithms, sec. 3.1), as a factor on its square root.
inline float inflation(int64_t count) {
    const int64_t terms = count / W + 32;
    return 1 + 0x1p-23f * static_cast<float>(terms);
}

CodeBounds encode(const float* row, int64_t chunks, const CodePlace& place) {
    constexpr float kSmallest = 1e-15f, kLargest = 1e15f, kMostCode = 127, kRoundings = 0x1p-21f;
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    const int64_t dim = chunks * kTileDims;
    Vec most = set1(0), squares = set1(0);
    for (int64_t d = 0; d < dim; d += W) {
        const Vec x = load(row + d);
        most = max(most, abs(x));
        squares = fma(x, x, squares);
    }
    const float magnitude = largest(most), size = sum(squares);
    const bool zero = magnitude == 0 && size == 0;
    if (zero || !(magnitude >= kSmallest && magnitude <= kLargest && size < kInfinity)) {
        for (int64_t c = 0; c < chunks; ++c) {
            std::memset(place.coarse + c * kTileBytes, 0, kTileDims);
            std::memset(place.fine + c * kTileBytes, 0, kTileDims);
        }
        const float unknown = zero ? 0 : kInfinity;
        return {0, unknown, unknown, unknown, 0, 0};
    }
    const float scale = magnitude / kMostCode;
    const Vec inverse = set1(1 / scale), steps = set1(kFineSteps);
    Vec coarse_squares = set1(0), fine_squares = set1(0), coarse_sum = set1(0), fine_sum = set1(0);
    int8_t coarse_line[kTileDims], fine_line[kTileDims];
    for (int64_t c = 0; c < chunks; ++c) {
        int8_t* coarse = place.past_caches ? coarse_line : place.coarse + c * kTileBytes;
        int8_t* fine = place.past_caches ? fine_line : place.fine + c * kTileBytes;
        for (int64_t d = 0; d < kTileDims; d += W) {
            const Vec x = clamp(mul(load(row + c * kTileDims + d), inverse), -kMostCode, kMostCode);
            const Vec whole = round_nearest(x);
            const Vec rest = sub(x, whole);
            const Vec parts = clamp(round_nearest(mul(rest, steps)), -kMostCode, kMostCode);
            const Vec left = sub(mul(rest, steps), parts);
            coarse_squares = fma(rest, rest, coarse_squares);
            fine_squares = fma(left, left, fine_squares);
            coarse_sum = add(coarse_sum, whole);
            fine_sum = add(fine_sum, parts);
            store(coarse + d, whole);
            store(fine + d, parts);
        }
        if (place.past_caches) {
            stream_line(place.coarse + c * kTileBytes, coarse);
            stream_line(place.fine + c * kTileBytes, fine);
        }
    }
    const float norm = __builtin_sqrtf(size) * inflation(dim);
    const float coarse_rest = __builtin_sqrtf(sum(coarse_squares)) * inflation(dim) * scale;
    const float fine_rest = __builtin_sqrtf(sum(fine_squares)) * inflation(dim) * scale / kFineSteps;
    // What rounding x / scale may have cost is a few parts in 2^24 of every number.
    return {scale,           norm,         coarse_rest + norm * kRoundings, fine_rest + norm * kRoundings,
            sum(coarse_sum), sum(fine_sum)};
}

constexpr int kLanes = 8, kPartialSums = 32;

// The sum over all i of what `add_lanes` adds lane by lane and `term` gives for one pair of numbers.
template <class AddLanes, class Term>
double ordered_sum(const float* a, const float* b, int64_t dim, const AddLanes& add_lanes, const Term& term) {
    Sums sums[kPartialSums / kLanes];
    int64_t i = 0;
    for (; i + kPartialSums <= dim; i += kPartialSums) {
        for (int s = 0; s < kPartialSums / kLanes; ++s)
            add_lanes(sums[s], a + i + s * kLanes, b + i + s * kLanes);
    }
    double partial[kPartialSums];
    for (int s = 0; s < kPartialSums / kLanes; ++s) store(partial + s * kLanes, sums[s]);
    for (int j = 0; i < dim; ++i, ++j) partial[j] += term(a[i], b[i]);
    for (int half = kPartialSums / 2; half > 0; half /= 2) {
        for (int j = 0; j < half; ++j) partial[j] += partial[j + half];
    }
    return partial[0];
}

double dot(const float* a, const float* b, int64_t dim) {
    return ordered_sum(
        a, b, dim, [](Sums& sums, const float* x, const float* y) { add_products(sums, x, y); },
        [](double x, double y) { return x * y; });
}

double squared_distance(const float* a, const float* b, int64_t dim) {
    return ordered_sum(
        a, b, dim, [](Sums& sums, const float* x, const float* y) { add_squares(sums, x, y); },
        [](double x, double y) { return rounded_here((x - y) * (x - y)); });
}

template <class T>
void widen_row(const T* x, int64_t dim, float* out) {
    int64_t i = 0;
    for (; i + W <= dim; i += W) store(out + i, load(x + i));
    if (i == dim) return;
    T part[W] = {};
    float wide[W];
    std::memcpy(part, x + i, static_cast<size_t>(dim - i) * sizeof(T));
    store(wide, load(part));
    std::memcpy(out + i, wide, static_cast<size_t>(dim - i) * sizeof(float));
}

void widen(const Rows& rows, int64_t i, float* out) {
    switch (rows.dtype) {
        case DType::float16:
            return widen_row(rows.row<F16>(i), rows.dim, out);
        case DType::bfloat16:
            return widen_row(rows.row<BF16>(i), rows.dim, out);
        case DType::int8: {
            const int8_t* x = rows.row<int8_t>(i);
            const float scale = rows.scales[i];
            for (int64_t d = 0; d < rows.dim; ++d) out[d] = static_cast<float>(x[d]) * scale;
            return;
        }
        default:
            std::memcpy(out, rows.row<float>(i), static_cast<size_t>(rows.dim) * sizeof(float));
    }
}

void scale(float* x, int64_t dim, double factor) {
    for (int64_t d = 0; d < dim; ++d) x[d] = static_cast<float>(static_cast<double>(x[d]) * factor);
}

double sum_exp(const float* x, int64_t count, float factor, float top) {
    Vec sums = set1(0), excess = set1(0);
    int64_t i = 0;
    for (; i + W <= count; i += W) {
        const Vec exponent = mul(set1(factor), sub(load(x + i), set1(top)));
        excess = add(excess, sub(exponent, exponent));  // NaN once a score is not finite
        sums = add(sums, exponential(exponent));
    }
    double total = sum(sums) + sum(excess);
    for (; i < count; ++i) total += std::exp(static_cast<double>(factor) * (x[i] - top));
    return total;
}

}  // namespace
}  // namespace lvm::LVM_LEVEL::retrieval
