#include <cmath>

#include "check.h"
#include "recurrent/lstm.h"
#include "runtime/thread_pool.h"

namespace lvm {
namespace {

using Doubles = std::vector<double>;

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

struct Layer {
    Doubles inputs, weight, state, cell;
};

struct States {
    Doubles hidden, cells;  // [N + 1][B][H]
};

// The equations in float64, one number at a time; the gradient is checked against differences of this.
States forward(const RecurrentShape& shape, const Layer& layer) {
    const int64_t batch = shape.batch, hidden = shape.hidden, wide = 4 * hidden;
    States made{Doubles((shape.steps + 1) * batch * hidden), Doubles((shape.steps + 1) * batch * hidden)};
    const int64_t initial = (shape.reverse ? shape.steps : 0) * batch * hidden;
    std::copy(layer.state.begin(), layer.state.end(), made.hidden.begin() + initial);
    std::copy(layer.cell.begin(), layer.cell.end(), made.cells.begin() + initial);
    for (int64_t k = 0; k < shape.steps; ++k) {
        const int64_t t = shape.reverse ? shape.steps - 1 - k : k;
        for (int64_t b = 0; b < batch; ++b) {
            const int64_t from = ((shape.reverse ? t + 1 : t) * batch + b) * hidden;
            const int64_t to = ((shape.reverse ? t : t + 1) * batch + b) * hidden;
            const double* x = &layer.inputs[(t * batch + b) * wide];
            const auto product = [&](int64_t unit) {
                double sum = x[unit];
                for (int64_t i = 0; i < hidden; ++i)
                    sum += layer.weight[unit * hidden + i] * made.hidden[from + i];
                return sum;
            };
            for (int64_t i = 0; i < hidden; ++i) {
                made.hidden[to + i] = made.hidden[from + i];
                made.cells[to + i] = made.cells[from + i];
                if (shape.lengths && shape.lengths[b] <= t) continue;
                const double in = sigmoid(product(i)), forget = sigmoid(product(hidden + i));
                const double fresh = std::tanh(product(2 * hidden + i)),
                             out = sigmoid(product(3 * hidden + i));
                made.cells[to + i] = forget * made.cells[from + i] + in * fresh;
                made.hidden[to + i] = out * std::tanh(made.cells[to + i]);
            }
        }
    }
    return made;
}

// What is differentiated: the states, and the last cells, weighted.
double value_of(const RecurrentShape& shape, const Layer& layer, const std::vector<float>& weights) {
    const States made = forward(shape, layer);
    const int64_t size = shape.batch * shape.hidden;
    double sum = 0;
    for (int64_t i = 0; i < shape.steps * size; ++i)
        sum += made.hidden[(shape.reverse ? 0 : size) + i] * weights[i];
    for (int64_t i = 0; i < size; ++i)
        sum += made.cells[(shape.reverse ? 0 : shape.steps * size) + i] * weights[i];
    return sum;
}

// The derivative with respect to the i-th number of a part of the layer.
double slope(const RecurrentShape& shape, Layer layer, Doubles Layer::* part, size_t i,
             const std::vector<float>& weights) {
    constexpr double kStep = 1e-5;
    (layer.*part)[i] += kStep;
    const double above = value_of(shape, layer, weights);
    (layer.*part)[i] -= 2 * kStep;
    return (above - value_of(shape, layer, weights)) / (2 * kStep);
}

Doubles widened(const std::vector<float>& numbers) { return {numbers.begin(), numbers.end()}; }

void check_layer(const RecurrentShape& shape) {
    const int64_t steps = shape.steps, batch = shape.batch, hidden = shape.hidden, size = batch * hidden;
    const auto inputs = random_numbers<float>(4 * steps * size, 1),
               weight = random_numbers<float>(4 * hidden * hidden, 2, 0.3),
               state = random_numbers<float>(size, 3), cell = random_numbers<float>(size, 4),
               weights = random_numbers<float>(steps * size, 5);
    std::vector<float> gates = inputs, states((steps + 1) * size), cells(states.size()),
                       grad_gates(4 * steps * size, 7.0f), grad_state(size),
                       grad_cell(weights.begin(), weights.begin() + size);
    const int64_t initial = (shape.reverse ? steps : 0) * size;
    std::copy(state.begin(), state.end(), states.begin() + initial);
    std::copy(cell.begin(), cell.end(), cells.begin() + initial);
    lstm_forward(shape, {weight.data(), gates.data(), states.data(), cells.data()});
    lstm_backward(shape, {weights.data(), weight.data(), gates.data(), cells.data(), grad_gates.data(),
                          grad_state.data(), grad_cell.data()});

    const Layer exact{widened(inputs), widened(weight), widened(state), widened(cell)};
    const States expected = forward(shape, exact);
    for (size_t i = 0; i < states.size(); ++i) {
        CHECK(std::abs(states[i] - expected.hidden[i]) < 1e-5);
        CHECK(std::abs(cells[i] - expected.cells[i]) < 1e-5);
    }
    const auto every = [](size_t count) { return count / 7 + 1; };  // a sample of each gradient is enough
    for (size_t i = 0; i < inputs.size(); i += every(inputs.size())) {
        CHECK(std::abs(grad_gates[i] - slope(shape, exact, &Layer::inputs, i, weights)) < 2e-4);
    }
    for (size_t i = 0; i < state.size(); i += every(state.size())) {
        CHECK(std::abs(grad_state[i] - slope(shape, exact, &Layer::state, i, weights)) < 2e-4);
        CHECK(std::abs(grad_cell[i] - slope(shape, exact, &Layer::cell, i, weights)) < 2e-4);
    }
    for (size_t i = 0; i < weight.size(); i += every(weight.size())) {
        const int64_t unit = static_cast<int64_t>(i) / hidden, from = static_cast<int64_t>(i) % hidden;
        const float* before = states.data() + (shape.reverse ? size : 0);
        double grad = 0;
        for (int64_t row = 0; row < steps * batch; ++row) {
            grad += static_cast<double>(grad_gates[row * 4 * hidden + unit]) * before[row * hidden + from];
        }
        CHECK(std::abs(grad - slope(shape, exact, &Layer::weight, i, weights)) < 1e-3);
    }
}

// Gates driven far beyond saturation stay finite.
void check_extremes() {
    const RecurrentShape shape{2, 1, 3};
    std::vector<float> gates(24), weight(36, 1e20f), states(9, 1.0f), cells(9, 1.0f);
    for (size_t i = 0; i < gates.size(); ++i) gates[i] = i % 2 ? 1e38f : -1e38f;
    lstm_forward(shape, {weight.data(), gates.data(), states.data(), cells.data()});
    for (float state : states) CHECK(std::isfinite(state) && std::abs(state) <= 1);
}

TEST_CASE("a layer and its gradients agree with float64") {
    at_every_level([] {
        for (int threads : {1, 3}) {
            set_num_threads(threads);
            for (bool reverse : {false, true}) {
                for (int64_t hidden : {1, 3, 7, 16, 17, 33}) {
                    for (int64_t batch : {1, 2, 9, 40}) check_layer({3, batch, hidden, nullptr, reverse});
                }
                const int64_t lengths[] = {6, 6, 5, 3, 3, 1, 1, 1, 0};
                for (int64_t hidden : {1, 7, 33}) check_layer({6, 9, hidden, lengths, reverse});
                check_layer({1, 5, 65, nullptr, reverse});
                check_layer({12, 2, 5, nullptr, reverse});
            }
        }
    });
}

TEST_CASE("extreme numbers") { at_every_level(check_extremes); }

}  // namespace
}  // namespace lvm
