// The bfloat16 steps of one instruction set, forward and backward (gru_bf16.h). Included by the file of each
// level (LVM_LEVEL), after its sums (gemm/bf16_sums_<level>-inl.h) and the Vec of AVX-512.
#pragma once

#include "gemm/bf16_tiles-inl.h"
#include "recurrent/gru.h"
#include "recurrent/gru_bf16_kernels.h"
#include "simd/math-inl.h"

namespace lvm::LVM_LEVEL::gru_bf16 {
namespace {

using namespace lvm::bf16;
using namespace bf16_tiles;

constexpr int64_t kTileColumns = kUnits / kTileSide;  // tile columns of 32 units of a gate
constexpr int64_t kSums = kSequences * kTileSide;     // of a tile column

void put(BF16* p, Vec a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(a.v)));
}

// 1 / (1 + e^-x) with a reciprocal good to 2^-23 in place of a division.
Vec quick_sigmoid(Vec x) {
    // bounded: what corrects the reciprocal of an infinite sum would be NaN
    const Vec below = add(set1(1), exponential(clamp(sub(set1(0), x), -87.0f, 87.0f)));
    const Vec guess{_mm512_rcp14_ps(below.v)};
    return mul(guess, sub(set1(2), mul(below, guess)));
}

Vec quick_tanh(Vec x) { return fma(set1(2), quick_sigmoid(add(x, x)), set1(-1)); }

// sums: [gate][tile column][sequence][16].
void gates_of_units(const GruStep& s, int64_t first, const float* sums) {
    const int64_t hidden = s.hidden;
    for (int64_t b = 0; b < s.sequences; ++b) {
        for (int64_t column = 0; column < kTileColumns; ++column) {
            const int64_t unit = first + kTileSide * column;
            const float* products = sums + column * kSums + b * kTileSide;
            BF16* gates = s.gates + b * kGates * hidden + unit;
            float* state = s.state + b * hidden + unit;
            const Vec r = quick_sigmoid(add(load(gates), load(products)));
            const Vec z = quick_sigmoid(add(load(gates + hidden), load(products + kTileColumns * kSums)));
            const Vec c = add(load(products + 2 * kTileColumns * kSums), load(s.bias + unit));
            const Vec n = quick_tanh(fma(r, c, load(gates + 2 * hidden)));
            const Vec next = fma(z, sub(load(state), n), n);
            put(gates, r);
            put(gates + hidden, z);
            put(gates + 2 * hidden, n);
            put(s.candidates + b * hidden + unit, c);
            put(s.after + b * hidden + unit, next);
            store(state, next);
        }
    }
}

void slopes_of_units(const GruSlopes& s, int64_t unit) {
    const int64_t hidden = s.hidden;
    const Vec one = set1(1);
    Vec sums[4] = {set1(0), set1(0), set1(0), set1(0)};
    for (int64_t b = 0; b < s.sequences; ++b) {
        const int64_t at = b * hidden + unit;
        const BF16* gates = s.gates + b * kGates * hidden + unit;
        BF16* slopes = s.slopes + b * slope_stride(hidden) + unit;
        const Vec came = add(load(s.carry + at), load(s.through + at));
        const Vec g = without_tiny(s.given ? add(load(s.given + at), came) : came, kLeastGradient);
        const Vec r = load(gates), z = load(gates + hidden), n = load(gates + 2 * hidden);
        const Vec dn = mul(mul(g, sub(one, z)), sub(one, mul(n, n)));
        const Vec dz = mul(mul(g, sub(load(s.before + at), n)), mul(z, sub(one, z)));
        const Vec dr = mul(mul(dn, load(s.candidates + at)), mul(r, sub(one, r)));
        const Vec dc = mul(dn, r);
        const Vec all[4] = {dn, dr, dz, dc};
        for (int i = 0; i < 4; ++i) {
            put(slopes + i * hidden, all[i]);
            sums[i] = add(sums[i], all[i]);
        }
        store(s.carry + at, mul(g, z));
    }
    for (int i = 0; i < 4; ++i) {
        float* total = s.bias_sums + i * hidden + unit;
        store(total, add(load(total), sums[i]));
    }
}

void step(const GruStep& s) {
    const SumsOf unit(s.sequences);
    const int64_t tiles = s.hidden / kTileDepth, column = tiles * kTile;
    alignas(64) float sums[kGates * kTileColumns * kSums];
    for (int64_t first = s.first; first < s.last; first += kUnits) {
        for (int64_t gate = 0; gate < kGates; ++gate) {
            const BF16* right = s.weights + (first / kUnits * kGates + gate) * kTileColumns * column;
            float* of_gate = sums + gate * kTileColumns * kSums;
            sum_tiles({.rows = s.sequences,
                       .left = s.before,
                       .lower = s.before + kTileSide * s.hidden,
                       .left_stride = s.hidden,
                       .left_step = kTileDepth,
                       .tiles = tiles,
                       .right = right,
                       .right2 = right + column,
                       .out = of_gate,
                       .out2 = of_gate + kSums,
                       .out_stride = kTileSide,
                       .add = false});
        }
        gates_of_units(s, first, sums);
    }
}

void slopes_of_step(const GruSlopes& s) {
    for (int64_t unit = s.first; unit < s.last; unit += kTileSide) slopes_of_units(s, unit);
}

void through_weights(const GruThroughWeights& s) {
    const SumsOf unit_of_rows(s.sequences);
    const int64_t tiles = s.hidden / kTileDepth, column = kGates * tiles * kTile,
                  stride = slope_stride(s.hidden);
    for (int64_t gate = 0; gate < kGates; ++gate) {  // one at a time: its slopes stay in the first cache
        const BF16* slopes = s.slopes + (gate + 1) * s.hidden;
        for (int64_t unit = s.first; unit < s.last; unit += kUnits) {
            const BF16* right = s.weights + unit / kTileSide * column + gate * tiles * kTile;
            sum_tiles({.rows = s.sequences,
                       .left = slopes,
                       .lower = slopes + kTileSide * stride,
                       .left_stride = stride,
                       .left_step = kTileDepth,
                       .tiles = tiles,
                       .right = right,
                       .right2 = right + column,
                       .out = s.through + unit,
                       .out2 = s.through + unit + kTileSide,
                       .out_stride = s.hidden,
                       .add = gate > 0});
        }
    }
}

}  // namespace
}  // namespace lvm::LVM_LEVEL::gru_bf16

template <>
const lvm::bf16::Bf16Kernels& lvm::bf16::Bf16Kernels::table<lvm::Level::LVM_LEVEL>() {
    namespace tiles = LVM_LEVEL::bf16_tiles;
    namespace gru = LVM_LEVEL::gru_bf16;
    static constexpr Bf16Kernels kernels{tiles::multiply, tiles::multiply_tiles, gru::step,
                                         gru::slopes_of_step, gru::through_weights};
    return kernels;
}
