#include <cmath>

#include "check.h"
#include "recurrent/gru.h"
#include "runtime/thread_pool.h"

namespace lvm {
namespace {

using Doubles = std::vector<double>;

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// The equations in float64, one number at a time; the gradient is checked against differences of this.
Doubles forward(const RecurrentShape& shape, const Doubles& inputs, const Doubles& weight,
                const Doubles& bias, const Doubles& initial) {
    const int64_t steps = shape.steps, batch = shape.batch, hidden = shape.hidden;
    Doubles states = initial;  // in the order of the steps taken
    for (int64_t k = 0; k < steps; ++k) {
        const int64_t t = shape.reverse ? steps - 1 - k : k;
        for (int64_t b = 0; b < batch; ++b) {
            const double* h = &states[(k * batch + b) * hidden];
            const double* x = &inputs[(t * batch + b) * 3 * hidden];
            const auto product = [&](int64_t unit) {
                double sum = bias[unit];
                for (int64_t i = 0; i < hidden; ++i) sum += weight[unit * hidden + i] * h[i];
                return sum;
            };
            Doubles next;
            const bool rests = shape.lengths && shape.lengths[b] <= t;
            for (int64_t i = 0; i < hidden; ++i) {
                if (rests) {
                    next.push_back(h[i]);
                    continue;
                }
                const double r = sigmoid(x[i] + product(i)), z = sigmoid(x[hidden + i] + product(hidden + i));
                const double n = std::tanh(x[2 * hidden + i] + r * product(2 * hidden + i));
                next.push_back((1 - z) * n + z * h[i]);
            }
            states.insert(states.end(), next.begin(), next.end());
        }
    }
    if (!shape.reverse) return states;
    Doubles placed;
    for (int64_t k = steps; k >= 0; --k) {
        placed.insert(placed.end(), states.begin() + k * batch * hidden,
                      states.begin() + (k + 1) * batch * hidden);
    }
    return placed;
}

double weighted(const Doubles& states, const std::vector<float>& weights, int64_t skip) {
    double sum = 0;
    for (size_t i = 0; i < weights.size(); ++i) sum += states[static_cast<size_t>(skip) + i] * weights[i];
    return sum;
}

// The derivative of `value` with respect to the i-th number of `argument`.
template <class Value>
double slope(Doubles argument, size_t i, const Value& value) {
    constexpr double kStep = 1e-5;
    argument[i] += kStep;
    const double above = value(argument);
    argument[i] -= 2 * kStep;
    return (above - value(argument)) / (2 * kStep);
}

void check_layer(const RecurrentShape& shape) {
    const int64_t steps = shape.steps, batch = shape.batch, hidden = shape.hidden;
    const int64_t cells = steps * batch * hidden;
    const auto inputs = random_numbers<float>(3 * cells, 1),
               weight = random_numbers<float>(3 * hidden * hidden, 2, 0.3),
               bias = random_numbers<float>(3 * hidden, 3),
               initial = random_numbers<float>(batch * hidden, 4), weights = random_numbers<float>(cells, 5);
    std::vector<float> states(cells + batch * hidden), gates(3 * cells), candidates(cells),
        grad_inputs(3 * cells), grad_products(3 * cells), grad_initial(batch * hidden);
    const int64_t skip = shape.reverse ? 0 : batch * hidden, before = batch * hidden - skip;
    std::copy(initial.begin(), initial.end(), states.begin() + (shape.reverse ? cells : 0));
    gru_forward(shape,
                {inputs.data(), weight.data(), bias.data(), states.data(), gates.data(), candidates.data()});
    gru_backward(shape, {weights.data(), weight.data(), states.data(), gates.data(), candidates.data(),
                         grad_inputs.data(), grad_products.data(), grad_initial.data()});

    const Doubles x(inputs.begin(), inputs.end()), w(weight.begin(), weight.end()),
        b(bias.begin(), bias.end()), h(initial.begin(), initial.end());
    const Doubles expected = forward(shape, x, w, b, h);
    for (size_t i = 0; i < states.size(); ++i) CHECK(std::abs(states[i] - expected[i]) < 1e-5);

    const auto every = [](size_t size) { return size / 7 + 1; };  // a sample of each gradient is enough
    for (size_t i = 0; i < x.size(); i += every(x.size())) {
        const auto value = [&](const Doubles& a) {
            return weighted(forward(shape, a, w, b, h), weights, skip);
        };
        CHECK(std::abs(grad_inputs[i] - slope(x, i, value)) < 2e-4);
    }
    for (size_t i = 0; i < h.size(); i += every(h.size())) {
        const auto value = [&](const Doubles& a) {
            return weighted(forward(shape, x, w, b, a), weights, skip);
        };
        CHECK(std::abs(grad_initial[i] - slope(h, i, value)) < 2e-4);
    }
    for (size_t i = 0; i < w.size(); i += every(w.size())) {
        const int64_t unit = static_cast<int64_t>(i) / hidden, from = static_cast<int64_t>(i) % hidden;
        double grad = 0;
        for (int64_t row = 0; row < steps * batch; ++row) {
            grad += static_cast<double>(grad_products[row * 3 * hidden + unit]) *
                    states[before + row * hidden + from];
        }
        const auto value = [&](const Doubles& a) {
            return weighted(forward(shape, x, a, b, h), weights, skip);
        };
        CHECK(std::abs(grad - slope(w, i, value)) < 1e-3);
    }
}

// Without weights r and z are sigmoids of the inputs, and n is a tanh: right to a few roundings over the
// whole range.
void check_gates() {
    const RecurrentShape shape{1, 3000, 7};
    const int64_t wide = 3 * shape.hidden, count = shape.batch * wide;
    std::vector<float> inputs, weight(wide * shape.hidden), bias(wide), states(2 * count), gates(count),
        candidates(count);
    for (int64_t i = 0; i < count; ++i) inputs.push_back(static_cast<float>(-100 + 200.0 * i / count));
    gru_forward(shape,
                {inputs.data(), weight.data(), bias.data(), states.data(), gates.data(), candidates.data()});
    for (int64_t i = 0; i < count; ++i) {
        const bool is_n = i % wide >= 2 * shape.hidden;
        const double expected = is_n ? std::tanh(inputs[i]) : sigmoid(inputs[i]);
        CHECK(std::abs(gates[i] - expected) <= 3e-7 * (is_n ? 1 : expected) + 1e-37);
    }
}

// Gates driven far beyond saturation stay finite.
void check_extremes() {
    const RecurrentShape shape{2, 1, 3};
    std::vector<float> inputs(18), weight(27, 1e20f), bias(9, -1e30f), states(9, 1.0f), gates(18),
        candidates(6);
    for (size_t i = 0; i < inputs.size(); ++i) inputs[i] = i % 2 ? 1e38f : -1e38f;
    gru_forward(shape,
                {inputs.data(), weight.data(), bias.data(), states.data(), gates.data(), candidates.data()});
    for (float state : states) CHECK(std::isfinite(state) && std::abs(state) <= 1);
}

TEST_CASE("a layer and its gradients agree with float64") {
    at_every_level([] {
        for (int threads : {1, 3}) {
            set_num_threads(threads);
            for (int64_t hidden : {1, 3, 7, 16, 17, 33}) {
                for (int64_t batch : {1, 2, 9, 40}) check_layer({3, batch, hidden});
            }
            const int64_t lengths[] = {6, 6, 5, 3, 3, 1, 1, 1, 0};
            for (bool reverse : {false, true}) {
                for (int64_t hidden : {1, 7, 33}) check_layer({6, 9, hidden, lengths, reverse});
                check_layer({5, 3, 9, nullptr, reverse});
            }
            check_layer({1, 5, 65});
            check_layer({12, 2, 5});
        }
    });
}

TEST_CASE("gates keep to their range") { at_every_level(check_gates); }

TEST_CASE("extreme numbers") { at_every_level(check_extremes); }

}  // namespace
}  // namespace lvm
