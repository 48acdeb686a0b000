#include <algorithm>
#include <vector>

#include "core/conversions.h"
#include "recurrent/gru_bf16_kernels.h"
#include "recurrent/gru_bf16_partition.h"
#include "recurrent/gru_bf16_passes.h"
#include "recurrent/gru_bf16_products.h"
#include "runtime/phases.h"

namespace lvm::bf16 {
namespace {

// gates <- W_ih x + b_ih, and b_hh where it only adds (r and z).
void project(const RecurrentShape& shape, const Bf16GruForward& arrays, const LiveRows& live,
             Workspace& workspace) {
    const int64_t hidden = shape.hidden, padded = padded_to_tiles(hidden), inputs = arrays.weights.inputs,
                  depth = padded_to_tiles(inputs), wide = kGates * padded;
    const BF16* right =
        pack_gates(arrays.weights.input, arrays.weights.input_stride, inputs, hidden,
                   Workspace::bf16_numbers(workspace.weights, wide * depth),
                   [&](int64_t gate, int64_t tile) { return gate * padded / kTileSide + tile; });
    std::vector<float> bias(static_cast<size_t>(wide));
    for (int64_t gate = 0; gate < kGates; ++gate) {
        for (int64_t unit = 0; unit < hidden; ++unit) {
            const int64_t i = gate * hidden + unit;
            bias[static_cast<size_t>(gate * padded + unit)] =
                arrays.input_bias[i] + (gate < 2 ? arrays.recurrent_bias[i] : 0);
        }
    }
    const auto left = [&](int64_t first, int64_t rows, BigBuffer& scratch) {
        BF16* packed = Workspace::bf16_numbers(scratch, kLeftRows * depth);
        const auto sources = live.addresses(arrays.inputs, first, first + rows);
        bf16_packing().left(list_of(sources, arrays.inputs.is_bf16), inputs, depth, packed);
        return LeftRows{packed, depth};
    };
    const auto out = [&](int64_t first, int64_t rows, char** addresses) {
        for (int64_t i = 0; i < rows; ++i)
            addresses[i] = reinterpret_cast<char*>(arrays.gates + (first + i) * wide);
    };
    multiply_live(live, {right, depth, wide, bias.data(), true}, left, out);
}

void recur(const RecurrentShape& shape, const Bf16GruForward& arrays, const LiveRows& live,
           Workspace& workspace) {
    const int64_t hidden = shape.hidden, padded = padded_to_tiles(hidden), batch = shape.batch;
    const BF16* weights =
        pack_gates(arrays.weights.recurrent, hidden, hidden, hidden,
                   Workspace::bf16_numbers(workspace.recurrent, kGates * padded * padded),
                   [](int64_t gate, int64_t tile) {
                       constexpr int64_t kTileColumns = kUnits / kTileSide;
                       return (tile / kTileColumns * kGates + gate) * kTileColumns + tile % kTileColumns;
                   });
    std::vector<float> bias(static_cast<size_t>(padded));
    std::copy(arrays.recurrent_bias + 2 * hidden, arrays.recurrent_bias + 3 * hidden, bias.begin());
    for (int64_t b = 0; b < batch; ++b) {
        for (int64_t unit = 0; unit < padded; ++unit) {
            const float value = unit < hidden ? arrays.initial[b * hidden + unit] : 0;
            arrays.final[b * padded + unit] = value;
            arrays.states[b * padded + unit] = narrow<BF16>(value);
        }
    }
    const Partition partition(batch, padded);
    run_phases(shape.steps, partition.count(), [&](int64_t t, int share) {
        const Partition::Part part = partition.part(share);
        over_sequences(part, [&](int64_t first, int64_t count) {
            const int64_t active = shape.active(t, first, count), row = live.first(t) + first;
            const BF16* before = arrays.states + (t * batch + first) * padded;
            BF16* after = arrays.states + ((t + 1) * batch + first) * padded;
            if (active > 0) {
                bf16_kernels().step({active, padded, part.first_unit, part.last_unit, weights, bias.data(),
                                     before, after, arrays.final + first * padded,
                                     arrays.gates + row * kGates * padded, arrays.candidates + row * padded});
            }
            for (int64_t b = active; b < count; ++b) {
                std::copy(before + b * padded + part.first_unit, before + b * padded + part.last_unit,
                          after + b * padded + part.first_unit);
            }
        });
    });
}

}  // namespace

void forward_pass(const RecurrentShape& shape, const Bf16GruForward& arrays) {
    const Borrowed workspace;
    const LiveRows live(shape);
    project(shape, arrays, live, *workspace);
    recur(shape, arrays, live, *workspace);
}

}  // namespace lvm::bf16
