// exp, sigmoid and tanh of a vector. Included by the kernels of each level (LVM_LEVEL), after its Vec.
#pragma once

namespace lvm::LVM_LEVEL {
namespace {

constexpr float kPolynomial[] = {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f,
                                 5.0000001201e-1f};

// Argument reduction and polynomial as in Cephes expf; relative error below 2e-7 for |x| <= 87. Below, x is
// taken for -87; from 88.4 on the result is infinite, so that the sigmoid of -infinity is 0.
inline Vec exponential(Vec x) {
    const Vec bounded = clamp(x, -87.0f, 89.0f);
    const Vec n = round_nearest(mul(bounded, set1(1.44269504088896341f)));
    Vec r = fma(n, set1(-0.693359375f), bounded);
    r = fma(n, set1(2.12194440e-4f), r);
    Vec p = set1(1.9875691500e-4f);
    for (float c : kPolynomial) {
        p = fma(p, r, set1(c));
    }
    return mul(add(fma(mul(r, r), p, r), set1(1)), pow2(n));
}

inline Vec sigmoid(Vec x) { return div(set1(1), add(set1(1), exponential(sub(set1(0), x)))); }

inline Vec hyperbolic_tangent(Vec x) { return sub(mul(set1(2), sigmoid(add(x, x))), set1(1)); }

}  // namespace
}  // namespace lvm::LVM_LEVEL
