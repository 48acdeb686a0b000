// The float32 GRU steps of one instruction set, forward and backward (gru.h). Included by the file of each
// level, after its Vec.
#pragma once

#include "recurrent/gru.h"
#include "recurrent/gru_kernels.h"
#include "recurrent/over_units-inl.h"
#include "simd/math-inl.h"

namespace lvm::LVM_LEVEL::gru {
namespace {

void step(const float* x, const float* products, const float* bias, const float* state, int64_t hidden,
          float* gates, float* candidate, float* next) {
    const int64_t update = hidden, fresh = 2 * hidden;  // where z and n begin
    over(hidden, [=](auto get, auto put) {
        const Vec r = sigmoid(add(get(x), add(get(products), get(bias))));
        const Vec z = sigmoid(add(get(x + update), add(get(products + update), get(bias + update))));
        const Vec c = add(get(products + fresh), get(bias + fresh));
        const Vec n = hyperbolic_tangent(fma(r, c, get(x + fresh)));
        put(gates, r);
        put(gates + update, z);
        put(gates + fresh, n);
        put(candidate, c);
        put(next, fma(z, sub(get(state), n), n));
    });
}

void step_backward(const float* grad, const float* gates, const float* candidate, const float* state,
                   int64_t hidden, float* grad_x, float* grad_products, float* carry) {
    const int64_t update = hidden, fresh = 2 * hidden;
    const Vec one = set1(1);
    over(hidden, [=](auto get, auto put) {
        const Vec g = without_tiny(get(grad), kLeastGradient);
        const Vec r = get(gates), z = get(gates + update), n = get(gates + fresh);
        const Vec dn = mul(mul(g, sub(one, z)), sub(one, mul(n, n)));
        const Vec dz = mul(mul(g, sub(get(state), n)), mul(z, sub(one, z)));
        const Vec dr = mul(mul(dn, get(candidate)), mul(r, sub(one, r)));
        put(grad_x, dr);
        put(grad_x + update, dz);
        put(grad_x + fresh, dn);
        put(grad_products, dr);
        put(grad_products + update, dz);
        put(grad_products + fresh, mul(dn, r));
        put(carry, mul(g, z));
    });
}

}  // namespace
}  // namespace lvm::LVM_LEVEL::gru

template <>
const lvm::GruKernels& lvm::GruKernels::table<lvm::Level::LVM_LEVEL>() {
    static constexpr GruKernels kernels{LVM_LEVEL::gru::step, LVM_LEVEL::gru::step_backward};
    return kernels;
}
