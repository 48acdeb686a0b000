// What each instruction set provides to gru.cpp.
#pragma once

#include <cstdint>

#include "runtime/level.h"

namespace lvm {

struct GruKernels {
    static constexpr bool has(Level) { return false; }  // no more than every table has
    template <Level>
    static const GruKernels& table();

    // One sequence, one step. x, products, bias, gates: [3H]; state, candidate, next: [H].
    void (*step)(const float* x, const float* products, const float* bias, const float* state, int64_t hidden,
                 float* gates, float* candidate, float* next);

    // Its gradient: from grad [H] of the next state to grad_x, grad_products [3H] and, through z alone, carry
    // [H].
    void (*step_backward)(const float* grad, const float* gates, const float* candidate, const float* state,
                          int64_t hidden, float* grad_x, float* grad_products, float* carry);
};

template <>
const GruKernels& GruKernels::table<Level::scalar>();
template <>
const GruKernels& GruKernels::table<Level::neon>();
template <>
const GruKernels& GruKernels::table<Level::avx2>();
template <>
const GruKernels& GruKernels::table<Level::avx512>();

}  // namespace lvm
