// What stands between the products of a packed model, for one instruction set.
#pragma once

#include <cstdint>

#include "runtime/level.h"

namespace lvm {

struct ActivationKernels {
    static constexpr bool has(Level) { return false; }  // no more than every table has
    template <Level>
    static const ActivationKernels& table();

    // The states after a step, for `blocks` blocks of W units; x (W_ih input + b_ih) and products (W_hh h +
    // b_hh) come as packed gate matrices make them, [block][r, z, n][W].
    void (*gates)(const float* x, const float* products, const float* state, int64_t blocks, float* next);

    // The same of an LSTM, [block][i, f, g, o][W]; the cells move on as well. next_cell may be cell.
    void (*lstm_gates)(const float* x, const float* products, const float* cell, int64_t blocks,
                       float* next_cell, float* next);

    // out = (x - mean) / sqrt(variance + epsilon) * weight + bias.
    void (*layer_norm)(const float* x, int64_t count, const float* weight, const float* bias, float epsilon,
                       float* out);

    // x = gelu(x + addend), exact to 2e-7; addend may be null. count: whole vectors.
    void (*gelu)(float* x, const float* addend, int64_t count);

    // out = softmax(scale * x) - 1 / count, for |scale * x| up to 10. Whole vectors are read.
    void (*attention)(const float* x, float scale, int64_t count, float* out);
};

template <>
const ActivationKernels& ActivationKernels::table<Level::scalar>();
template <>
const ActivationKernels& ActivationKernels::table<Level::neon>();
template <>
const ActivationKernels& ActivationKernels::table<Level::avx2>();
template <>
const ActivationKernels& ActivationKernels::table<Level::avx512>();

}  // namespace lvm
