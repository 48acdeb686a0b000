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

// slopes, the gradients of the biases, and that of the initial state.
class BackwardRecurrence {
  public:
    BackwardRecurrence(const RecurrentShape& shape, const Bf16GruBackward& arrays, const LiveRows& live,
                       const BF16* weights, BF16* slopes)
        : shape_(shape),
          arrays_(arrays),
          live_(live),
          weights_(weights),
          slopes_(slopes),
          padded_(padded_to_tiles(shape.hidden)),
          partition_(shape.batch, padded_),
          through_(static_cast<size_t>(shape.batch * padded_)),
          sums_(static_cast<size_t>(partition_.teams() * kSlopes * padded_)) {}

    void run() {
        std::copy(arrays_.grad_final, arrays_.grad_final + shape_.batch * padded_, arrays_.grad_initial);
        run_phases(shape_.steps + 1, partition_.count(), [&](int64_t phase, int share) {
            const Partition::Part part = partition_.part(share);
            const int64_t t = shape_.steps - 1 - phase;
            over_sequences(part, [&](int64_t first, int64_t count) {
                if (phase > 0) pass_through(t + 1, first, count, part);
                add_to_resting(t + 1, first, count, part);
                if (t >= 0) take_slopes(t, first, count, part);
            });
        });
        for (size_t i = 0; i < through_.size(); ++i) arrays_.grad_initial[i] += through_[i];
        sum_biases();
    }

  private:
    int64_t row(int64_t t, int64_t first) const { return live_.first(t) + first; }
    int64_t state(int64_t t, int64_t first) const { return (t * shape_.batch + first) * padded_; }

    // Needs the slopes of all units: they were taken one phase before.
    void pass_through(int64_t t, int64_t first, int64_t count, const Partition::Part& part) {
        const int64_t active = shape_.active(t, first, count);
        if (active == 0) return;
        bf16_kernels().through_weights({active, padded_, part.first_unit, part.last_unit,
                                        slopes_ + row(t, first) * slope_stride(padded_), weights_,
                                        through_.data() + first * padded_});
    }

    // What is given to state t of a sequence that has no step t goes on to the state before.
    void add_to_resting(int64_t t, int64_t first, int64_t count, const Partition::Part& part) {
        if (!arrays_.grad_states) return;
        const int64_t active = t > 0 ? shape_.active(t - 1, first, count) : 0;
        for (int64_t b = active; b < count; ++b) {
            const BF16* given = arrays_.grad_states + state(t, first + b);
            float* carry = arrays_.grad_initial + (first + b) * padded_;
            for (int64_t unit = part.first_unit; unit < part.last_unit; ++unit)
                carry[unit] += widen(given[unit]);
        }
    }

    void take_slopes(int64_t t, int64_t first, int64_t count, const Partition::Part& part) {
        const int64_t active = shape_.active(t, first, count), at = row(t, first);
        if (active == 0) return;
        bf16_kernels().slopes_of_step(
            {active, padded_, part.first_unit, part.last_unit,
             arrays_.grad_states ? arrays_.grad_states + state(t + 1, first) : nullptr,
             arrays_.states + state(t, first), arrays_.gates + at * kGates * padded_,
             arrays_.candidates + at * padded_, slopes_ + at * slope_stride(padded_),
             through_.data() + first * padded_, arrays_.grad_initial + first * padded_,
             sums_.data() + part.team * kSlopes * padded_});
    }

    void sum_biases() {
        std::fill(arrays_.grad_input_bias, arrays_.grad_input_bias + kGates * padded_, 0.0f);
        std::fill(arrays_.grad_recurrent_bias, arrays_.grad_recurrent_bias + kGates * padded_, 0.0f);
        for (int64_t team = 0; team < partition_.teams(); ++team) {
            const float* sums = sums_.data() + team * kSlopes * padded_;
            for (int64_t i = 0; i < kGates * padded_; ++i) {
                arrays_.grad_input_bias[i] += sums[i < 2 * padded_ ? i + padded_ : i - 2 * padded_];
                arrays_.grad_recurrent_bias[i] += sums[i + padded_];
            }
        }
    }

    const RecurrentShape& shape_;
    const Bf16GruBackward& arrays_;
    const LiveRows& live_;
    const BF16* weights_;
    BF16* slopes_;
    int64_t padded_;
    Partition partition_;
    std::vector<float> through_, sums_;
};

// grad_inputs <- slopes of x_n, x_r, x_z times W_ih.
void backward_to_inputs(const RecurrentShape& shape, const Bf16GruBackward& arrays, const LiveRows& live,
                        const BF16* slopes, Workspace& workspace) {
    const int64_t padded = padded_to_tiles(shape.hidden), inputs = arrays.weights.inputs,
                  width = padded_to_tiles(inputs), depth = kGates * padded;
    const BF16* right =
        pack_matrix(arrays.weights.input, arrays.weights.input_stride, inputs, width, shape.hidden, 2,
                    Workspace::bf16_numbers(workspace.weights, depth * width));
    const auto out_of = [&](int64_t step, int64_t sequence) {
        return static_cast<char*>(const_cast<void*>(arrays.grad_inputs.at(step, sequence)));
    };
    for (int64_t t = 0; t < shape.steps; ++t) {
        for (int64_t b = shape.active(t, 0, shape.batch); b < shape.batch; ++b) {
            std::fill_n(out_of(t, b), width * (arrays.grad_inputs.is_bf16 ? 2 : 4), char{0});
        }
    }
    const auto left = [&](int64_t first, int64_t, BigBuffer&) {
        return LeftRows{slopes + first * slope_stride(padded), slope_stride(padded)};
    };
    const auto out = [&](int64_t first, int64_t rows, char** addresses) {
        live.over(first, first + rows,
                  [&](int64_t i, int64_t step, int64_t sequence) { addresses[i] = out_of(step, sequence); });
    };
    multiply_live(live, {right, depth, width, nullptr, arrays.grad_inputs.is_bf16}, left, out);
}

}  // namespace

void backward_pass(const RecurrentShape& shape, const Bf16GruBackward& arrays) {
    const Borrowed workspace;
    const LiveRows live(shape);
    const int64_t hidden = shape.hidden, padded = padded_to_tiles(hidden);
    BF16* slopes =
        Workspace::bf16_numbers(workspace->slopes, (live.count() + kLeftRows) * slope_stride(padded));
    const BF16* weights =
        pack_matrix(arrays.weights.recurrent, hidden, hidden, padded, hidden, 0,
                    Workspace::bf16_numbers(workspace->recurrent, kGates * padded * padded));
    BackwardRecurrence(shape, arrays, live, weights, slopes).run();
    if (arrays.grad_inputs.data) backward_to_inputs(shape, arrays, live, slopes, *workspace);
    sum_weight_gradients(shape, arrays, live, slopes, *workspace);
}

}  // namespace lvm::bf16
