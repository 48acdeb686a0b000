// The bfloat16 steps of one instruction set. Included once per level (LVM_LEVEL), after its sums and the Vec
// of AVX-512.

#include "recurrent/gru.h"
#include "recurrent/gru_half_kernels.h"

namespace lvm::LVM_LEVEL {

using namespace avx512;

#include "simd/math-inl.h"

namespace {

constexpr int64_t kHalves = kUnits / kTileSide;    // tile columns of 32 units of a gate
constexpr int64_t kSums = kSequences * kTileSide;  // of a tile column

void put(BHalf* p, Vec a) {
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

// sums: [gate][half][sequence][16].
void gates_of_units(const HalfStep& s, int64_t first, const float* sums) {
    const int64_t hidden = s.hidden;
    for (int64_t b = 0; b < s.sequences; ++b) {
        for (int64_t half = 0; half < kHalves; ++half) {
            const int64_t unit = first + kTileSide * half;
            const float* products = sums + half * kSums + b * kTileSide;
            BHalf* gates = s.gates + b * kGates * hidden + unit;
            float* state = s.state + b * hidden + unit;
            const Vec r = quick_sigmoid(add(load(gates), load(products)));
            const Vec z = quick_sigmoid(add(load(gates + hidden), load(products + kHalves * kSums)));
            const Vec c = add(load(products + 2 * kHalves * kSums), load(s.bias + unit));
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

void slopes_of_units(const HalfSlopes& s, int64_t unit) {
    const int64_t hidden = s.hidden;
    const Vec one = set1(1);
    Vec sums[4] = {set1(0), set1(0), set1(0), set1(0)};
    for (int64_t b = 0; b < s.sequences; ++b) {
        const int64_t at = b * hidden + unit;
        const BHalf* gates = s.gates + b * kGates * hidden + unit;
        BHalf* slopes = s.slopes + b * slope_stride(hidden) + unit;
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

void step(const HalfStep& s) {
    const SumsOf unit(s.sequences);
    const int64_t tiles = s.hidden / kTileDepth, column = tiles * kTile;
    alignas(64) float sums[kGates * kHalves * kSums];
    for (int64_t first = s.first; first < s.last; first += kUnits) {
        for (int64_t gate = 0; gate < kGates; ++gate) {
            const BHalf* right = s.weights + (first / kUnits * kGates + gate) * kHalves * column;
            float* of_gate = sums + gate * kHalves * kSums;
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

void slopes_of_step(const HalfSlopes& s) {
    for (int64_t unit = s.first; unit < s.last; unit += kTileSide) slopes_of_units(s, unit);
}

void through_weights(const HalfThrough& s) {
    const SumsOf unit_of_rows(s.sequences);
    const int64_t tiles = s.hidden / kTileDepth, column = kGates * tiles * kTile,
                  stride = slope_stride(s.hidden);
    for (int64_t gate = 0; gate < kGates; ++gate) {  // one at a time: its slopes stay in the first cache
        const BHalf* slopes = s.slopes + (gate + 1) * s.hidden;
        for (int64_t unit = s.first; unit < s.last; unit += kUnits) {
            const BHalf* right = s.weights + unit / kTileSide * column + gate * tiles * kTile;
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
}  // namespace lvm::LVM_LEVEL

template <>
const lvm::half::HalfKernels& lvm::half::HalfKernels::table<lvm::Level::LVM_LEVEL>() {
    static constexpr HalfKernels kernels{LVM_LEVEL::multiply, LVM_LEVEL::multiply_tiles, LVM_LEVEL::step,
                                         LVM_LEVEL::slopes_of_step, LVM_LEVEL::through_weights};
    return kernels;
}
