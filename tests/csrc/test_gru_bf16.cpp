#include <cmath>

#include "check.h"
#include "recurrent/gru_bf16.h"
#include "rowwise/dropout.h"
#include "runtime/thread_pool.h"

namespace lvm {
namespace {

using Doubles = std::vector<double>;

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

struct Layer {
    RecurrentShape shape;
    int64_t inputs;
    Doubles x, weight_ih, weight_hh, bias_ih, bias_hh, initial;
};

double product(const double* row, const double* vector, int64_t width) {
    double sum = 0;
    for (int64_t i = 0; i < width; ++i) sum += row[i] * vector[i];
    return sum;
}

// All states, (N + 1) x B x H, in float64.
Doubles forward(const Layer& layer) {
    const int64_t hidden = layer.shape.hidden, inputs = layer.inputs, batch = layer.shape.batch;
    Doubles states = layer.initial;
    for (int64_t t = 0; t < layer.shape.steps; ++t) {
        for (int64_t b = 0; b < batch; ++b) {
            const double* h = &states[(t * batch + b) * hidden];
            const double* x = &layer.x[(t * batch + b) * inputs];
            const auto of_x = [&](int64_t i) {
                return product(&layer.weight_ih[i * inputs], x, inputs) + layer.bias_ih[i];
            };
            const auto of_h = [&](int64_t i) {
                return product(&layer.weight_hh[i * hidden], h, hidden) + layer.bias_hh[i];
            };
            Doubles next;
            for (int64_t i = 0; i < hidden; ++i) {
                const double r = sigmoid(of_x(i) + of_h(i)), z = sigmoid(of_x(hidden + i) + of_h(hidden + i));
                const double n = std::tanh(of_x(2 * hidden + i) + r * of_h(2 * hidden + i));
                const bool rests = layer.shape.lengths && layer.shape.lengths[b] <= t;
                next.push_back(rests ? h[i] : (1 - z) * n + z * h[i]);
            }
            states.insert(states.end(), next.begin(), next.end());
        }
    }
    return states;
}

struct Weights {  // of the sum of states that is differentiated
    std::vector<BF16> states;
    std::vector<float> final;
};

double weighted(const Layer& layer, const Weights& weights) {
    const int64_t hidden = layer.shape.hidden, padded = padded_to_tiles(hidden), batch = layer.shape.batch;
    const Doubles states = forward(layer);
    double sum = 0;
    for (int64_t row = 0; row < (layer.shape.steps + 1) * batch; ++row) {
        const bool last = row >= layer.shape.steps * batch;
        for (int64_t i = 0; i < hidden; ++i) {
            double weight = widen(weights.states[row * padded + i]);
            if (last) weight += weights.final[(row - layer.shape.steps * batch) * padded + i];
            sum += states[row * hidden + i] * weight;
        }
    }
    return sum;
}

// A sample of the slopes of `argument`, by differences, against `found`; relative to their size.
template <class Found>
void check_slopes(Layer& layer, Doubles Layer::* argument, const Weights& weights, const Found& found) {
    const size_t count = (layer.*argument).size(), every = count / 9 + 1;
    double error = 0, size = 1e-6;
    for (size_t i = 0; i < count; i += every) {
        constexpr double kStep = 1e-5;
        double& value = (layer.*argument)[i];
        const double kept = value;
        value = kept + kStep;
        const double above = weighted(layer, weights);
        value = kept - kStep;
        const double slope = (above - weighted(layer, weights)) / (2 * kStep);
        value = kept;
        error += std::pow(slope - found(static_cast<int64_t>(i)), 2);
        size += slope * slope;
    }
    CHECK(std::sqrt(error / size) < 0.05);
}

Doubles wide(const std::vector<float>& numbers) { return {numbers.begin(), numbers.end()}; }

template <class T>
void check_layer(const RecurrentShape& shape, int64_t inputs, bool by_sequence = false) {
    const int64_t steps = shape.steps, batch = shape.batch, hidden = shape.hidden,
                  padded = padded_to_tiles(hidden), width = padded_to_tiles(inputs), rows = steps * batch;
    const auto x = random_numbers<T>(rows * inputs, 1);
    const auto weight_ih = random_numbers<float>(3 * hidden * inputs, 2, 0.3),
               weight_hh = random_numbers<float>(3 * hidden * hidden, 3, 0.3 / std::sqrt(hidden)),
               bias_ih = random_numbers<float>(3 * hidden, 4), bias_hh = random_numbers<float>(3 * hidden, 5),
               initial = random_numbers<float>(batch * hidden, 6);
    Weights weights{random_numbers<BF16>((rows + batch) * padded, 7),
                    random_numbers<float>(batch * padded, 8)};
    Layer layer{shape,         inputs,        {},           wide(weight_ih), wide(weight_hh),
                wide(bias_ih), wide(bias_hh), wide(initial)};
    const int64_t step_stride = by_sequence ? inputs : batch * inputs,
                  sequence_stride = by_sequence ? steps * inputs : inputs;
    for (int64_t t = 0; t < steps; ++t) {
        for (int64_t b = 0; b < batch; ++b) {
            for (int64_t i = 0; i < inputs; ++i)
                layer.x.push_back(widen(x[t * step_stride + b * sequence_stride + i]));
        }
    }
    const StepVectors vectors{x.data(), sizeof(T) == 2, step_stride, sequence_stride};
    const Bf16GruWeights matrices{weight_ih.data(), weight_hh.data(), inputs, inputs};
    std::vector<BF16> states((rows + batch) * padded), gates(rows * 3 * padded), candidates(rows * padded);
    std::vector<float> final(batch * padded);
    gru_bf16_forward(shape, {vectors, matrices, bias_ih.data(), bias_hh.data(), initial.data(), states.data(),
                             final.data(), gates.data(), candidates.data()});
    const Doubles expected = forward(layer);
    for (int64_t row = 0; row < rows + batch; ++row) {
        for (int64_t i = 0; i < padded; ++i) {
            const double state = i < hidden ? expected[row * hidden + i] : 0;
            CHECK(std::abs(widen(states[row * padded + i]) - state) < 0.03);
            if (row >= rows) CHECK(std::abs(final[(row - rows) * padded + i] - state) < 0.03);
        }
    }

    std::vector<T> grad_x(rows * width, narrow<T>(99));
    std::vector<float> grad_ih(3 * padded * width), grad_hh(3 * padded * padded), grad_bias_ih(3 * padded),
        grad_bias_hh(3 * padded), grad_initial(batch * padded);
    const StepVectors grads{grad_x.data(), sizeof(T) == 2, batch * width, width};
    gru_bf16_backward(shape, {vectors, matrices, states.data(), gates.data(), candidates.data(),
                              weights.states.data(), weights.final.data(), grads, grad_ih.data(),
                              grad_hh.data(), grad_bias_ih.data(), grad_bias_hh.data(), grad_initial.data()});
    const auto of_gate = [&](int64_t i, int64_t columns, int64_t stride) {
        return (i / columns / hidden * padded + i / columns % hidden) * stride + i % columns;
    };
    const auto matrix = [&](const std::vector<float>& grad, int64_t columns, int64_t stride) {
        return [&grad, of_gate, columns, stride](int64_t i) { return grad[of_gate(i, columns, stride)]; };
    };
    check_slopes(layer, &Layer::x, weights,
                 [&](int64_t i) { return widen(grad_x[i / inputs * width + i % inputs]); });
    check_slopes(layer, &Layer::weight_ih, weights, matrix(grad_ih, inputs, width));
    check_slopes(layer, &Layer::weight_hh, weights, matrix(grad_hh, hidden, padded));
    check_slopes(layer, &Layer::bias_ih, weights, matrix(grad_bias_ih, 1, 1));
    check_slopes(layer, &Layer::bias_hh, weights, matrix(grad_bias_hh, 1, 1));
    check_slopes(layer, &Layer::initial, weights,
                 [&](int64_t i) { return grad_initial[i / hidden * padded + i % hidden]; });
}

void check_all_layers() {
    for (int64_t hidden : {1, 7, 16, 33, 65}) {
        for (int64_t batch : {1, 3, 17, 40}) check_layer<float>({3, batch, hidden}, 5);
    }
    const int64_t lengths[] = {6, 6, 5, 3, 3, 1, 1, 1, 0};
    for (int64_t hidden : {7, 64}) check_layer<BF16>({6, 9, hidden, lengths}, 40);
    check_layer<BF16>({2, 5, 31}, 1, true);
    check_layer<float>({4, 3, 32}, 70, true);
    check_layer<float>({70, 33, 8}, 3);  // more steps of sequences than a chunk of the weight gradients
}

template <class T>
void check_dropout() {
    constexpr int64_t kCount = 100'003;
    const std::vector<T> ones(kCount, narrow<T>(1));
    std::vector<T> out(kCount), again(kCount), other(kCount);
    dropout(ones.data(), dtype_of<T>(), kCount, 0.25, 7, out.data());
    set_num_threads(1);
    dropout(ones.data(), dtype_of<T>(), kCount, 0.25, 7, again.data());
    dropout(ones.data(), dtype_of<T>(), kCount, 0.25, 8, other.data());
    int64_t dropped = 0, differ = 0;
    for (int64_t i = 0; i < kCount; ++i) {
        const float value = widen(out[i]);
        CHECK(value == 0 || std::abs(value - 4.0f / 3) < 0.01f);
        CHECK(value == widen(again[i]));
        dropped += value == 0;
        differ += value != widen(other[i]);
    }
    const double share = static_cast<double>(dropped) / kCount,
                 differing = static_cast<double>(differ) / kCount;
    CHECK(std::abs(share - 0.25) < 0.007);        // 5 standard deviations
    CHECK(std::abs(differing - 0.375) < 0.0077);  // 2 x 1/4 x 3/4
    const float inf = INFINITY;
    std::vector<T> large(64, narrow<T>(inf));
    dropout(large.data(), dtype_of<T>(), 64, 1, 7, large.data());
    for (const T& value : large) CHECK(widen(value) == 0);
}

TEST_CASE("a bfloat16 layer and its gradients agree with float64") {
    for (int threads : {1, 3}) {
        set_num_threads(threads);
        at_every_level([] {
            if (has_bf16_gru()) check_all_layers();
        });
    }
}

TEST_CASE("dropout of float32 numbers") {
    set_num_threads(3);
    check_dropout<float>();
}

TEST_CASE("dropout of bfloat16 numbers") {
    set_num_threads(3);
    check_dropout<BF16>();
}

}  // namespace
}  // namespace lvm
