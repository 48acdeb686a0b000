// What stands between the products of a packed model (activations.h): gates, layer norm, GELU and attention
// of one instruction set. Included by the file of each level, after its Vec.
#pragma once

#include "recurrent/activations.h"
#include "simd/math-inl.h"

namespace lvm::LVM_LEVEL::activations {
namespace {

void gates(const float* x, const float* products, const float* state, int64_t blocks, float* next) {
    for (int64_t b = 0; b < blocks; ++b, x += 3 * W, products += 3 * W, state += W, next += W) {
        const Vec r = sigmoid(add(load(x), load(products)));
        const Vec z = sigmoid(add(load(x + W), load(products + W)));
        const Vec n = hyperbolic_tangent(fma(r, load(products + 2 * W), load(x + 2 * W)));
        store(next, fma(z, sub(load(state), n), n));
    }
}

void lstm_gates(const float* x, const float* products, const float* cell, int64_t blocks, float* next_cell,
                float* next) {
    for (int64_t b = 0; b < blocks; ++b) {
        const auto sum = [&](int64_t gate) { return add(load(x + gate * W), load(products + gate * W)); };
        const Vec kept = mul(sigmoid(sum(1)), load(cell));
        const Vec c = fma(sigmoid(sum(0)), hyperbolic_tangent(sum(2)), kept);
        store(next_cell, c);
        store(next, mul(sigmoid(sum(3)), hyperbolic_tangent(c)));
        x += 4 * W;
        products += 4 * W;
        cell += W;
        next_cell += W;
        next += W;
    }
}

void layer_norm(const float* x, int64_t count, const float* weight, const float* bias, float epsilon,
                float* out) {
    const int64_t whole = count / W * W;
    const auto mean_of = [&](const auto& lanes, const auto& number) {
        Vec sums = set1(0);
        for (int64_t i = 0; i < whole; i += W) sums = add(sums, lanes(load(x + i)));
        float total = sum(sums);
        for (int64_t i = whole; i < count; ++i) total += number(x[i]);
        return total / static_cast<float>(count);
    };
    const float mean = mean_of([](Vec a) { return a; }, [](float a) { return a; });
    const Vec means = set1(mean);
    const float variance = mean_of(
        [&](Vec a) {
            const Vec rest = sub(a, means);
            return mul(rest, rest);
        },
        [&](float a) { return (a - mean) * (a - mean); });
    const float factor = 1 / __builtin_sqrtf(variance + epsilon);
    for (int64_t i = 0; i < whole; i += W) {
        const Vec scaled = mul(mul(sub(load(x + i), means), set1(factor)), load(weight + i));
        store(out + i, add(scaled, load(bias + i)));
    }
    for (int64_t i = whole; i < count; ++i) out[i] = (x[i] - mean) * factor * weight[i] + bias[i];
}

// Abramowitz and Stegun 7.1.26: the error is below 1.5e-7.
inline Vec error_function_of_magnitude(Vec x) {
    constexpr float kPolynomial[] = {-1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f};
    const Vec t = div(set1(1), fma(x, set1(0.3275911f), set1(1)));
    Vec p = set1(1.061405429f);
    for (float c : kPolynomial) p = fma(p, t, set1(c));
    return sub(set1(1), mul(mul(p, t), exponential(sub(set1(0), mul(x, x)))));
}

void gelu(float* x, const float* addend, int64_t count) {
    for (int64_t i = 0; i < count; i += W) {
        const Vec a = addend ? add(load(x + i), load(addend + i)) : load(x + i);
        const Vec erf = error_function_of_magnitude(mul(abs(a), set1(0.70710678118654752f)));
        store(x + i, mul(set1(0.5f), fma(abs(a), erf, a)));  // a / 2 (1 + erf a) = a / 2 + |a| / 2 erf |a|
    }
}

void attention(const float* x, float scale, int64_t count, float* out) {
    const int64_t whole = count / W * W;
    Vec sums = set1(0);
    for (int64_t i = 0; i < whole; i += W) {
        const Vec e = exponential(mul(load(x + i), set1(scale)));
        store(out + i, e);
        sums = add(sums, e);
    }
    float total = sum(sums);
    if (whole < count) {
        float part[W];
        store(static_cast<float*>(part), exponential(mul(load(x + whole), set1(scale))));
        for (int64_t i = whole; i < count; ++i) total += out[i] = part[i - whole];
    }
    const float share = 1 / total, mean = 1 / static_cast<float>(count);
    for (int64_t i = 0; i < whole; i += W) store(out + i, sub(mul(load(out + i), set1(share)), set1(mean)));
    for (int64_t i = whole; i < count; ++i) out[i] = out[i] * share - mean;
}

}  // namespace
}  // namespace lvm::LVM_LEVEL::activations

template <>
const lvm::ActivationKernels& lvm::ActivationKernels::table<lvm::Level::LVM_LEVEL>() {
    namespace level = LVM_LEVEL::activations;
    static constexpr ActivationKernels kernels{level::gates, level::lstm_gates, level::layer_norm,
                                               level::gelu, level::attention};
    return kernels;
}
