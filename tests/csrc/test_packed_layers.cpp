#include <cmath>

#include "check.h"
#include "recurrent/packed_model.h"
#include "runtime/thread_pool.h"

namespace lvm {
namespace {

using Floats = std::vector<float>;
using Doubles = std::vector<double>;

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

double norm(const Doubles& x) {
    double sum = 0;
    for (double a : x) sum += a * a;
    return std::sqrt(sum);
}

struct Map {
    Floats weight, bias;

    Doubles of(const Doubles& x) const {
        Doubles result;
        for (size_t row = 0; row < bias.size(); ++row) {
            double sum = bias[row];
            for (size_t i = 0; i < x.size(); ++i)
                sum += static_cast<double>(weight[row * x.size() + i]) * x[i];
            result.push_back(sum);
        }
        return result;
    }
};

// A model of LSTM layers, or of GRU blocks behind an entry map, and the same in float64, number by number.
struct Oracle {
    PackedModelSizes sizes;
    Cell cell;
    std::vector<std::pair<Map, Map>> layers;  // of the inputs, of the states
    std::vector<Map> norms;
    Map entry, output;

    Oracle(const PackedModelSizes& s, Cell c) : sizes(s), cell(c) {
        unsigned seed = 1;
        const auto map = [&](int64_t rows, int64_t depth) {
            const double spread = 1 / std::sqrt(static_cast<double>(depth));
            Floats weight = random_numbers<float>(rows * depth, seed++, spread);
            return Map{std::move(weight), random_numbers<float>(rows, seed++, 0.3)};
        };
        const int64_t h = s.hidden, wide = (c == Cell::gru ? 3 : 4) * h;
        for (int64_t l = 0; l < s.layers; ++l) {
            Map inputs = map(wide, l == 0 && c == Cell::lstm ? s.input : h);
            layers.emplace_back(std::move(inputs), map(wide, h));
            if (c == Cell::gru) norms.push_back(map(h, 1));
        }
        if (c == Cell::gru) entry = map(h, s.input);
        output = map(s.input, h);
    }

    PackedModelWeights weights() const {
        PackedModelWeights w{};
        w.cell = cell;
        for (const auto& [inputs, states] : layers) {
            w.layers.push_back(
                {inputs.weight.data(), states.weight.data(), inputs.bias.data(), states.bias.data()});
        }
        for (const Map& each : norms) w.block_norms.push_back({each.weight.data(), each.bias.data(), 1e-5f});
        if (cell == Cell::gru) {
            w.entry = entry.weight.data();
            w.entry_bias = entry.bias.data();
        }
        w.output = output.weight.data();
        w.output_bias = output.bias.data();
        w.unit_delta = true;
        return w;
    }

    // One step of one sequence; states: of all layers, the cells of an LSTM behind them.
    Doubles step(const Doubles& vector, std::vector<Doubles>& states) const {
        const auto h = static_cast<size_t>(sizes.hidden);
        Doubles x = cell == Cell::gru ? entry.of(vector) : vector;
        for (size_t l = 0; l < layers.size(); ++l) {
            Doubles& state = states[l];
            const Doubles in = layers[l].first.of(x),
                          own = layers[l].second.of({state.begin(), state.begin() + h});
            for (size_t i = 0; i < h; ++i) {
                if (cell == Cell::gru) {
                    const double r = sigmoid(in[i] + own[i]), z = sigmoid(in[h + i] + own[h + i]);
                    state[i] += (1 - z) * (std::tanh(in[2 * h + i] + r * own[2 * h + i]) - state[i]);
                    continue;
                }
                const auto sum = [&](size_t gate) { return in[gate * h + i] + own[gate * h + i]; };
                state[h + i] = sigmoid(sum(1)) * state[h + i] + sigmoid(sum(0)) * std::tanh(sum(2));
                state[i] = sigmoid(sum(3)) * std::tanh(state[h + i]);
            }
            if (norms.empty()) {
                x.assign(state.begin(), state.begin() + h);
            } else {
                for (size_t i = 0; i < h; ++i) x[i] += state[i];
                x = normed(x, norms[l]);
            }
        }
        Doubles next = output.of(x);
        const double length = norm(next);
        for (size_t i = 0; i < next.size(); ++i) next[i] = vector[i] + next[i] / length;
        const double size = norm(next) + 1e-8;
        for (double& a : next) a /= size;
        return next;
    }

    static Doubles normed(const Doubles& x, const Map& map) {
        double mean = 0, variance = 0;
        for (double a : x) mean += a / static_cast<double>(x.size());
        for (double a : x) variance += (a - mean) * (a - mean) / static_cast<double>(x.size());
        Doubles result;
        for (size_t i = 0; i < x.size(); ++i) {
            result.push_back((x[i] - mean) / std::sqrt(variance + 1e-5f) * map.weight[i] + map.bias[i]);
        }
        return result;
    }
};

double most_error(Format format) {
    return format == Format::float32 ? 2e-5 : format == Format::bfloat16 ? 0.05 : 0.2;
}

// Step by step against float64, and all steps at once against step by step.
void check_model(const PackedModelSizes& sizes, Cell cell, int64_t batch, int64_t steps, Format format) {
    const Oracle oracle(sizes, cell);
    const PackedModel model(sizes, oracle.weights(), format);
    const int64_t row = batch * sizes.input;
    const Floats context = random_numbers<float>(steps * row, 77);
    const Doubles zeros(static_cast<size_t>(2 * sizes.hidden));
    std::vector<std::vector<Doubles>> states(static_cast<size_t>(batch),
                                             std::vector<Doubles>(static_cast<size_t>(sizes.layers), zeros));
    PackedModel::States stream(model, batch), whole(model, batch);
    Floats next(static_cast<size_t>(row)), at_once(next.size());
    for (int64_t t = 0; t < steps; ++t) {
        const float* vectors = context.data() + t * row;
        CHECK(model.advance(vectors, 1, stream, next.data()));
        for (int64_t b = 0; b < batch; ++b) {
            const float* vector = vectors + b * sizes.input;
            const Doubles expected =
                oracle.step({vector, vector + sizes.input}, states[static_cast<size_t>(b)]);
            for (int64_t i = 0; i < sizes.input; ++i) {
                const float found = next[static_cast<size_t>(b * sizes.input + i)];
                CHECK(std::abs(found - expected[static_cast<size_t>(i)]) <= most_error(format));
            }
        }
    }
    CHECK(model.advance(context.data(), steps, whole, at_once.data()));
    const double apart =
        format == Format::bfloat16 ? 2e-5 : 0;  // tiles split a number into two halves of 8 bits
    for (size_t i = 0; i < next.size(); ++i) CHECK(std::abs(next[i] - at_once[i]) <= apart);
}

// Some sequences go on while others wait; one begins anew.
void check_rows() {
    const PackedModelSizes sizes{5, 9, 2, 0};
    const Oracle oracle(sizes, Cell::lstm);
    const PackedModel model(sizes, oracle.weights(), Format::float32);
    const Floats context = random_numbers<float>(4 * 5, 9);
    PackedModel::States all(model, 3);
    Floats three(15), one(5), expected(5);
    CHECK(model.advance(context.data(), 1, all, three.data()));
    PackedModel::States some = all.taken({2, 0});
    Floats two(10);
    CHECK(model.advance(context.data() + 5, 1, some, two.data()));
    all.put({2, 0}, some);
    all.reset({1});
    CHECK(model.advance(context.data(), 1, all, three.data()));
    PackedModel::States alone(model, 1);
    CHECK(
        model.advance(context.data() + 5, 1, alone, one.data()));  // the second begins with its second vector
    for (size_t i = 0; i < 5; ++i) CHECK(three[5 + i] == one[i]);
    PackedModel::States third(model, 1);
    for (int64_t vector : {2, 1, 2}) {
        CHECK(model.advance(context.data() + 5 * vector, 1, third, expected.data()));
    }
    for (size_t i = 0; i < 5; ++i) CHECK(std::abs(three[10 + i] - expected[i]) < 1e-6);
}

TEST_CASE("models of GRU blocks and of LSTM layers agree with float64") {
    at_every_level([] {
        for (Format format : {Format::float32, Format::bfloat16, Format::int8}) {
            for (Cell cell : {Cell::gru, Cell::lstm}) {
                for (int threads : {1, 3}) {
                    set_num_threads(threads);
                    check_model({6, 1, 1, 0}, cell, 1, 3, format);
                    check_model({7, 7, 2, 0}, cell, 2, 9, format);
                    check_model({16, 16, 3, 0}, cell, 3, 20, format);
                    check_model({33, 50, 2, 0}, cell, 1, 12, format);
                    check_model({3, 5, 2, 0}, cell, 1, 300, format);  // more than one chunk
                    check_model({3, 5, 2, 0}, cell, 17, 130, format);
                }
            }
        }
    });
}

TEST_CASE("streams of a batch join and leave") { at_every_level(check_rows); }

}  // namespace
}  // namespace lvm
