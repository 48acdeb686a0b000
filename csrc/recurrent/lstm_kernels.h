// What each instruction set provides to lstm.cpp.
#pragma once

#include <cstdint>

#include "runtime/level.h"

namespace lvm {

struct LstmKernels {
    static constexpr bool has(Level) { return false; }  // no more than every table has
    template <Level>
    static const LstmKernels& table();

    // One sequence, one step. gates [4H]: x, in whose place the gates are written; products [4H]: W h; the
    // others [H].
    void (*step)(const float* products, const float* cell, int64_t hidden, float* gates, float* next_cell,
                 float* next);

    // Its gradient: from grad of the next state and grad_cell of the next cell [H] to grad_gates [4H] and,
    // through f alone, grad_cell.
    void (*step_backward)(const float* grad, const float* gates, const float* cell, const float* next_cell,
                          int64_t hidden, float* grad_gates, float* grad_cell);
};

template <>
const LstmKernels& LstmKernels::table<Level::scalar>();
template <>
const LstmKernels& LstmKernels::table<Level::neon>();
template <>
const LstmKernels& LstmKernels::table<Level::avx2>();
template <>
const LstmKernels& LstmKernels::table<Level::avx512>();

}  // namespace lvm
