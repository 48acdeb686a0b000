// The float32 LSTM steps of one instruction set, forward and backward (lstm.h). Included by the file of each
// level, after its Vec.
#pragma once

#include "recurrent/lstm.h"
#include "recurrent/lstm_kernels.h"
#include "recurrent/over_units-inl.h"
#include "simd/math-inl.h"

namespace lvm::LVM_LEVEL::lstm {
namespace {

void step(const float* products, const float* cell, int64_t hidden, float* gates, float* next_cell,
          float* next) {
    const int64_t forget = hidden, fresh = 2 * hidden, show = 3 * hidden;  // where f, g and o begin
    over(hidden, [=](auto get, auto put) {
        const Vec i = sigmoid(add(get(gates), get(products)));
        const Vec f = sigmoid(add(get(gates + forget), get(products + forget)));
        const Vec g = hyperbolic_tangent(add(get(gates + fresh), get(products + fresh)));
        const Vec o = sigmoid(add(get(gates + show), get(products + show)));
        const Vec c = fma(f, get(cell), mul(i, g));
        put(gates, i);
        put(gates + forget, f);
        put(gates + fresh, g);
        put(gates + show, o);
        put(next_cell, c);
        put(next, mul(o, hyperbolic_tangent(c)));
    });
}

void step_backward(const float* grad, const float* gates, const float* cell, const float* next_cell,
                   int64_t hidden, float* grad_gates, float* grad_cell) {
    const int64_t forget = hidden, fresh = 2 * hidden, show = 3 * hidden;
    const Vec one = set1(1);
    over(hidden, [=](auto get, auto put) {
        const Vec i = get(gates), f = get(gates + forget), g = get(gates + fresh), o = get(gates + show);
        const Vec dh = without_tiny(get(grad), kLeastGradient), shown = hyperbolic_tangent(get(next_cell));
        const Vec through = mul(mul(dh, o), sub(one, mul(shown, shown)));
        const Vec dc = without_tiny(add(get(grad_cell), through), kLeastGradient);
        put(grad_gates, mul(mul(dc, g), mul(i, sub(one, i))));
        put(grad_gates + forget, mul(mul(dc, get(cell)), mul(f, sub(one, f))));
        put(grad_gates + fresh, mul(mul(dc, i), sub(one, mul(g, g))));
        put(grad_gates + show, mul(mul(dh, shown), mul(o, sub(one, o))));
        put(grad_cell, mul(dc, f));
    });
}

}  // namespace
}  // namespace lvm::LVM_LEVEL::lstm

template <>
const lvm::LstmKernels& lvm::LstmKernels::table<lvm::Level::LVM_LEVEL>() {
    static constexpr LstmKernels kernels{LVM_LEVEL::lstm::step, LVM_LEVEL::lstm::step_backward};
    return kernels;
}
