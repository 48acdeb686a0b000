#include <atomic>
#include <cmath>
#include <limits>
#include <thread>

#include "check.h"
#include "recurrent/fingerprint.h"
#include "recurrent/packed_model.h"
#include "runtime/phases.h"
#include "runtime/thread_pool.h"

namespace lvm {
namespace {

using Floats = std::vector<float>;
using Doubles = std::vector<double>;

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double gelu(double x) { return x / 2 * (1 + std::erf(x / std::sqrt(2.0))); }

double norm(const Doubles& x) {
    double sum = 0;
    for (double a : x) sum += a * a;
    return std::sqrt(sum);
}

// A model's weights, and the model itself in float64, one number at a time.
struct Oracle {
    PackedModelSizes sizes;
    std::vector<std::vector<Floats>> layers;
    Floats norm_weight, norm_bias, keys, keys_bias, contents, contents_bias, fusion_weight, fusion_bias,
        widen, widen_bias, narrow, narrow_bias;
    bool unit_delta;

    Oracle(const PackedModelSizes& s, bool unit) : sizes(s), unit_delta(unit) {
        unsigned seed = 1;
        const auto make = [&](int64_t count, double scale) {
            return random_numbers<float>(count, seed++, scale);
        };
        const int64_t h = s.hidden, d = s.input;
        const double spread = 1 / std::sqrt(static_cast<double>(h));
        for (int64_t l = 0; l < s.layers; ++l) {
            const int64_t width = l ? h : d;
            const double in = 1 / std::sqrt(static_cast<double>(width));
            layers.push_back(
                {make(3 * h * width, in), make(3 * h * h, spread), make(3 * h, 0.2), make(3 * h, 0.2)});
        }
        norm_weight = make(d, 1);
        norm_bias = make(d, 0.3);
        keys = make((s.slots + d + h) * h, spread);
        keys_bias = make(s.slots + d + h, 0.3);
        contents = make(h * s.slots, 1);
        contents_bias = make(h, 1);
        fusion_weight = make(h, 1);
        fusion_bias = make(h, 0.3);
        widen = make(2 * h * h, spread);
        widen_bias = make(2 * h, 0.3);
        narrow = make(2 * h * d, spread);
        narrow_bias = make(d, 0.3);
    }

    PackedModelWeights weights() const {
        PackedModelWeights w{};
        for (const auto& l : layers) w.layers.push_back({l[0].data(), l[1].data(), l[2].data(), l[3].data()});
        w.input_norm = {norm_weight.data(), norm_bias.data(), 1e-5f};
        w.keys = keys.data();
        w.keys_bias = keys_bias.data();
        w.contents = contents.data();
        w.contents_bias = contents_bias.data();
        w.fusion_norm = {fusion_weight.data(), fusion_bias.data(), 1e-5f};
        w.widen = widen.data();
        w.widen_bias = widen_bias.data();
        w.narrow = narrow.data();
        w.narrow_bias = narrow_bias.data();
        w.unit_delta = unit_delta;
        return w;
    }

    static Doubles times(const Floats& weight, const Floats& bias, const Doubles& x) {
        Doubles result;
        for (size_t row = 0; row < bias.size(); ++row) {
            double sum = bias[row];
            for (size_t i = 0; i < x.size(); ++i)
                sum += static_cast<double>(weight[row * x.size() + i]) * x[i];
            result.push_back(sum);
        }
        return result;
    }

    static Doubles normed(const Doubles& x, const Floats& weight, const Floats& bias) {
        double mean = 0, variance = 0;
        for (double a : x) mean += a / static_cast<double>(x.size());
        for (double a : x) variance += (a - mean) * (a - mean) / static_cast<double>(x.size());
        Doubles result;
        for (size_t i = 0; i < x.size(); ++i) {
            result.push_back((x[i] - mean) / std::sqrt(variance + 1e-5f) * weight[i] + bias[i]);
        }
        return result;
    }

    // One step of one sequence; states: of all layers.
    Doubles step(const Doubles& vector, std::vector<Doubles>& states) const {
        const auto h = static_cast<size_t>(sizes.hidden), d = static_cast<size_t>(sizes.input),
                   s = static_cast<size_t>(sizes.slots);
        Doubles x = normed(vector, norm_weight, norm_bias);
        for (size_t l = 0; l < layers.size(); ++l) {
            const Doubles in = times(layers[l][0], layers[l][2], x),
                          own = times(layers[l][1], layers[l][3], states[l]);
            for (size_t i = 0; i < h; ++i) {
                const double r = sigmoid(in[i] + own[i]), z = sigmoid(in[h + i] + own[h + i]);
                const double n = std::tanh(in[2 * h + i] + r * own[2 * h + i]);
                states[l][i] = (1 - z) * n + z * states[l][i];
            }
            x = states[l];
        }
        const Doubles read = times(keys, keys_bias, x);
        const double length =
            norm({read.begin() + static_cast<int64_t>(s), read.begin() + static_cast<int64_t>(s + d)});
        Doubles shares;
        double total = 0;
        for (size_t i = 0; i < s; ++i) total += shares.emplace_back(std::exp(read[i] / length));
        for (double& share : shares) share = share / total - 1 / static_cast<double>(s);
        Doubles fused = times(contents, contents_bias, shares);
        for (size_t i = 0; i < h; ++i) fused[i] = gelu(fused[i] + read[s + d + i]);
        Doubles wide = times(widen, widen_bias, normed(fused, fusion_weight, fusion_bias));
        for (double& a : wide) a = gelu(a);
        Doubles next = times(narrow, narrow_bias, wide);
        const double scale = unit_delta ? 1 / norm(next) : 1;
        for (size_t i = 0; i < d; ++i) next[i] = vector[i] + scale * next[i];
        const double size = norm(next) + 1e-8;
        for (double& a : next) a /= size;
        return next;
    }
};

// Largest difference of a prediction; the weights of the oracle make for lively states, so int8 errs by per
// cents.
double most_error(Format format) {
    return format == Format::float32 ? 5e-6 : format == Format::bfloat16 ? 0.03 : 0.15;
}

// Step by step against float64, and all steps at once against step by step.
void check_model(const PackedModelSizes& sizes, int64_t batch, int64_t steps, Format format) {
    const Oracle oracle(sizes, (sizes.hidden + steps) % 2 == 0);
    const PackedModel model(sizes, oracle.weights(), format);
    const int64_t row = batch * sizes.input;
    const Floats context = random_numbers<float>(steps * row, 77);
    std::vector<std::vector<Doubles>> states(
        static_cast<size_t>(batch),
        std::vector<Doubles>(static_cast<size_t>(sizes.layers), Doubles(static_cast<size_t>(sizes.hidden))));
    PackedModel::States stream(model, batch), whole(model, batch);
    Floats next(static_cast<size_t>(row)), at_once(next.size());
    double square = 0, worst = 0;
    for (int64_t t = 0; t < steps; ++t) {
        const float* vectors = context.data() + t * row;
        CHECK(model.advance(vectors, 1, stream, next.data()));
        for (int64_t b = 0; b < batch; ++b) {
            const float* vector = vectors + b * sizes.input;
            const Doubles expected =
                oracle.step({vector, vector + sizes.input}, states[static_cast<size_t>(b)]);
            for (int64_t i = 0; i < sizes.input; ++i) {
                const double error = std::abs(next[static_cast<size_t>(b * sizes.input + i)] -
                                              expected[static_cast<size_t>(i)]);
                worst = std::max(worst, error);
                square += error * error / static_cast<double>(steps * batch);
            }
        }
    }
    CHECK(worst <= most_error(format) * (format == Format::float32 ? 1 : 3));
    CHECK(std::sqrt(square) <= most_error(format) * 2);
    CHECK(model.advance(context.data(), steps, whole, at_once.data()));
    const double apart =
        format == Format::bfloat16 ? 2e-5 : 0;  // tiles split a number into two halves of 8 bits
    for (size_t i = 0; i < next.size(); ++i) CHECK(std::abs(next[i] - at_once[i]) <= apart);
    // and on from there, and again from the start
    CHECK(model.advance(context.data(), 1, stream, next.data()));
    CHECK(model.advance(context.data(), 1, whole, at_once.data()));
    for (size_t i = 0; i < next.size(); ++i) CHECK(std::abs(next[i] - at_once[i]) <= apart);
    stream.reset();
    const PackedModel::States fresh(model, batch);
    PackedModel::States begun = fresh;
    CHECK(model.advance(context.data(), 1, stream, next.data()));
    CHECK(model.advance(context.data(), 1, begun, at_once.data()));
    CHECK(next == at_once);
}

// The packed products alone: exact weights for bfloat16 and int8 codes, so that only the codes' rounding is
// left.
void check_products(Format format, int64_t rows, int64_t depth, int64_t vectors, int64_t gates) {
    const PackedKernels& kernels = kernels_in_force<PackedKernels>();
    const FormatKernels& own = kernels.of(format);
    Floats weights = random_numbers<float>(rows * depth, 3), bias = random_numbers<float>(rows, 4);
    for (size_t i = 0; i < weights.size(); ++i) {
        if (format == Format::bfloat16) weights[i] = widen(narrow<BF16>(weights[i]));
        if (format != Format::int8) continue;
        weights[i] = static_cast<float>(static_cast<int>(weights[i] * 50) % 127);
        if (i % static_cast<size_t>(depth) == 0)
            weights[i] = i % 2 ? -127.0f : 127.0f;  // the scale becomes 1
    }
    const PlainMatrix plain{weights.data(), bias.data(), rows, depth, gates};
    PackedMatrix matrix = packed_shape(plain, format, kernels);
    BigBuffer memory;
    memory.reserve(matrix.bytes());
    pack(plain, kernels, matrix, memory.data());
    const Floats x = random_numbers<float>(vectors * depth, 5);
    const int64_t bytes = (matrix.depth * own.code_bytes + 63) / 64 * 64, whole = (vectors + 15) / 16 * 16;
    for (const bool many : {false, true}) {
        CacheLineVector<uint8_t> codes(static_cast<size_t>(whole * bytes));
        CacheLineVector<float> scales(static_cast<size_t>(whole)),
            out(static_cast<size_t>(vectors * matrix.outputs), -1);
        for (int64_t v = 0; v < vectors; ++v) {
            const auto prepare = many ? own.prepare_many : own.prepare_few;
            scales[static_cast<size_t>(v)] =
                prepare(x.data() + v * depth, depth, matrix.depth, codes.data() + v * bytes);
        }
        const Codes all{codes.data(), bytes, scales.data()};
        const int64_t half = matrix.blocks / matrix.whole / 2 * matrix.whole;
        (many ? own.many : own.few)(matrix, all, vectors, 0, half, out.data());
        (many ? own.many : own.few)(matrix, all, vectors, half, matrix.blocks, out.data());
        for (int64_t v = 0; v < vectors; ++v) {
            for (int64_t r = 0; r < rows; ++r) {
                double expected = bias[static_cast<size_t>(r)], size = 0, largest = 0;
                for (int64_t i = 0; i < depth; ++i) {
                    const double w = weights[static_cast<size_t>(r * depth + i)],
                                 a = x[static_cast<size_t>(v * depth + i)];
                    expected += w * a;
                    size += std::abs(w);
                    largest = std::max(largest, std::abs(a));
                }
                const int64_t units = gates ? rows / gates : rows, unit = r % units, lanes = kernels.lanes;
                const int64_t at = gates ? (unit / lanes * gates + r / units) * lanes + unit % lanes : r;
                const double rounding = format == Format::int8       ? 0.51 / 16383
                                        : format == Format::bfloat16 ? 1e-5
                                                                     : 1e-6;
                const double error = std::abs(out[static_cast<size_t>(v * matrix.outputs + at)] - expected);
                CHECK(error <= rounding * largest * size + 1e-6);
            }
        }
    }
}

// A context that is not finite is refused and changes nothing.
void check_faults() {
    const PackedModelSizes sizes{5, 4, 2, 3};
    const Oracle oracle(sizes, true);
    const PackedModel model(sizes, oracle.weights(), Format::float32);
    PackedModel::States one(model, 1), other(model, 1);
    Floats vector(5, 0.5f), bad(5, 0.5f), next(5), expected(5);
    for (float fault : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
        bad[3] = fault;
        CHECK(!model.advance(bad.data(), 1, one, next.data()));
    }
    CHECK(model.advance(vector.data(), 1, one, next.data()));
    CHECK(model.advance(vector.data(), 1, other, expected.data()));
    CHECK(next == expected);
}

// Every share of every phase once, no phase before the one before it is done, however many threads come.
void check_phases() {
    constexpr int64_t kPhases = 300;
    for (int threads : {1, 2, 5}) {
        set_num_threads(threads);
        for (int shares : {1, 2, 3, 7}) {
            std::vector<std::atomic<int>> done(kPhases);
            std::atomic<bool> in_order = true;
            const auto work = [&](int64_t phase, int share) {
                if (phase > 0 && done[static_cast<size_t>(phase - 1)] != shares) in_order = false;
                if (phase % 50 == 7 && share == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
                ++done[static_cast<size_t>(phase)];
            };
            run_phases(kPhases, shares, work);
            CHECK(in_order);
            for (const auto& count : done) CHECK(count == shares);
            for (auto& count : done) count = 0;
            parallel_for(2, 1, [&](int64_t begin, int64_t, int) {  // nested: the caller's thread alone
                if (begin == 0) run_phases(kPhases, shares, work);
            });
            CHECK(in_order);
            for (const auto& count : done) CHECK(count == shares);
        }
    }
}

// Two threads ask one model at once: each gets the answer of one alone.
void check_concurrent_callers() {
    const PackedModelSizes sizes{9, 40, 2, 6};
    const Oracle oracle(sizes, true);
    const PackedModel model(sizes, oracle.weights(), Format::int8);
    const Floats context = random_numbers<float>(30 * 9, 8);
    const auto predict = [&] {
        PackedModel::States states(model, 1);
        Floats next(9);
        CHECK(model.advance(context.data(), 30, states, next.data()));
        return next;
    };
    const Floats expected = predict();
    std::vector<std::thread> callers;
    for (int i = 0; i < 3; ++i) {
        callers.emplace_back([&] {
            for (int r = 0; r < 20; ++r) CHECK(predict() == expected);
        });
    }
    for (std::thread& caller : callers) caller.join();
}

// Every bit counts, and nothing beyond the memory is read.
void check_fingerprint() {
    for (int64_t size : {1, 3, 4, 63, 64, 129, 1000, (128 << 10) + 1}) {
        std::vector<uint8_t> data(static_cast<size_t>(size));
        const auto number = [&] { return fingerprint({{data.data(), size}}); };
        const uint64_t before = number();
        for (int64_t at = 0; at < size; at += 1 + size / 500) {
            for (int bit = 0; bit < 8; ++bit) {
                data[static_cast<size_t>(at)] ^= static_cast<uint8_t>(1 << bit);
                CHECK(number() != before);
                data[static_cast<size_t>(at)] ^= static_cast<uint8_t>(1 << bit);
            }
        }
        CHECK(number() == before);
        CHECK(fingerprint({{data.data(), size - 1}}) != before);
        CHECK(fingerprint({{data.data(), size}, {data.data(), 0}}) != before);
    }
}

constexpr Format kFormats[] = {Format::float32, Format::bfloat16, Format::int8};

TEST_CASE("phases come one after another") { check_phases(); }

TEST_CASE("packed products agree with float64") {
    at_every_level([] {
        for (Format format : kFormats) {
            for (int64_t depth : {1, 2, 7, 64, 65, 513}) {
                for (int64_t vectors : {1, 2, 9, 17}) {
                    check_products(format, 51, depth, vectors, depth % 2 == 0 ? 3 : 0);
                    check_products(format, 3, depth, vectors, 3);
                    check_products(format, 4 * 13, depth, vectors, 4);
                }
            }
        }
    });
}

TEST_CASE("a model agrees with float64") {
    at_every_level([] {
        for (Format format : kFormats) {
            for (int threads : {1, 3}) {
                set_num_threads(threads);
                check_model({6, 1, 1, 1}, 1, 3, format);
                check_model({7, 7, 2, 5}, 2, 9, format);
                check_model({16, 16, 3, 33}, 3, 20, format);
                check_model({33, 50, 4, 17}, 1, 12, format);
                check_model({3, 5, 2, 4}, 1, 300, format);  // more than one chunk
                check_model({3, 5, 2, 4}, 3, 130, format);
            }
        }
    });
}

TEST_CASE("NaN and infinity are told") { at_every_level(check_faults); }

TEST_CASE("fingerprints see every change") { at_every_level(check_fingerprint); }

TEST_CASE("several callers at once") { at_every_level(check_concurrent_callers); }

}  // namespace
}  // namespace lvm
