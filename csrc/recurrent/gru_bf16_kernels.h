// What an instruction set with bfloat16 products provides to the passes of gru_bf16.h: large products, and
// one step of up to 32 sequences.
#pragma once

#include <cstdint>

#include "core/views.h"
#include "gemm/bf16_tiles.h"
#include "runtime/level.h"

namespace lvm::bf16 {

constexpr int64_t kGates = 3;       // r, z, n
constexpr int64_t kSlopes = 4;      // x_n, x_r, x_z and W_n h
constexpr int64_t kSequences = 32;  // that a step takes at once
constexpr int64_t kUnits = 32;      // whole multiples of which it takes

// Units [first, last) of up to 32 sequences. Arrays without a width are Hp wide, in rows of it.
struct GruStep {
    int64_t sequences, hidden, first, last;  // hidden: padded
    const BF16* weights;  // W_hh transposed: for every 32 units the tile columns r, r, z, z, n, n
    const float* bias;    // [Hp], of n
    const BF16* before;   // [sequences]
    BF16* after;          // [sequences]
    float* state;         // [sequences], before; then after
    BF16* gates;          // [sequences][3 Hp], x projected; then r, z, n
    BF16* candidates;     // [sequences]
};

// Numbers from one row of slopes to the next: a line more than whole pages, whose rows would share cache
// sets.
[[gnu::always_inline]] constexpr int64_t slope_stride(int64_t hidden) { return kSlopes * hidden + 32; }

// slopes: [sequences][4 Hp of slope_stride], gradients of x_n, x_r, x_z and of W_n h + b_n, in this order.
struct GruSlopes {
    int64_t sequences, hidden, first, last;
    const BF16* given;  // [sequences], gradient of the state after; null for zeros
    const BF16* before;
    const BF16* gates;
    const BF16* candidates;
    BF16* slopes;
    const float* through;  // [sequences], gradient of the state after that came through W
    float* carry;          // [sequences], that came through z; then the same of the state before
    float* bias_sums;      // [4][Hp], sums of the slopes, added to
};

// through: units [first, last) of the gradient of the state before, as it comes through W.
struct GruThroughWeights {
    int64_t sequences, hidden, first, last;
    const BF16* slopes;
    const BF16* weights;  // W_hh, gates r, z, n one below the other, in tile columns
    float* through;
};

struct Bf16Kernels {
    template <Level>
    static const Bf16Kernels& table();

    void (*multiply)(const WideProduct& product);

    // The products of 32 rows of tiles (two tile rows, tile by tile in turn) with a packed right operand of a
    // multiple of kPairColumns; `tiles` is the depth. out: [32][columns], rows `stride` apart; added to if
    // `add`.
    void (*multiply_tiles)(const BF16* left, const BF16* right, int64_t tiles, int64_t columns, float* out,
                           int64_t stride, bool add);

    void (*step)(const GruStep& arrays);
    void (*slopes_of_step)(const GruSlopes& arrays);
    void (*through_weights)(const GruThroughWeights& arrays);
};

template <>
const Bf16Kernels& Bf16Kernels::table<Level::avx512bf16>();
template <>
const Bf16Kernels& Bf16Kernels::table<Level::amx>();

// Those of the level in force, which has_bf16_gru().
const Bf16Kernels& bf16_kernels();

}  // namespace lvm::bf16
