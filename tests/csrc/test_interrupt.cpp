// Every long call ends when its caller asks it to, and what it worked on serves on.
#include <exception>

#include "check.h"
#include "recurrent/gru.h"
#include "recurrent/packed_model.h"
#include "retrieval/bank.h"
#include "runtime/interrupt.h"
#include "runtime/thread_pool.h"

namespace lvm {
namespace {

using Floats = std::vector<float>;

struct Enough : std::exception {};

// The call takes at least some 100 milliseconds if nothing ends it.
template <class Call>
void check_ended(const Call& call) {
    bool caught = false;
    const PollScope scope([] { throw Enough(); });
    try {
        call();
    } catch (const Enough&) {
        caught = true;
    }
    CHECK(caught);
}

void check_scoring() {
    constexpr int64_t kSize = 30'000, kDim = 384, kCount = 2'000'000;
    const Floats some = random_numbers<float>(3000 * kDim, 1);
    Floats numbers(kSize * kDim);
    for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = some[i % some.size()];
    const Rows rows = rows_of(numbers, kDim);
    const Rows endless{numbers.data(), DType::float32, 10'000'000, kDim, 0};
    const Rows many{numbers.data(), DType::float32, 1'000'000, kDim, 0};
    check_ended([&] { Bank(many, Metric::cosine); });
    Bank bank(rows, Metric::inner_product);
    const Rows queries{numbers.data(), DType::float32, kCount, kDim, 0};
    std::vector<int64_t> ids(10'000'000);
    std::vector<double> scores(ids.size());
    check_ended([&] { bank.pair_scores(endless, ids.data(), scores.data()); });
    check_ended([&] { bank.rank(queries, scores.data(), ids.data(), 0, kSize, {}, ids.data()); });
    const std::vector<double> low(kCount, -1), high(kCount, 1), least(kCount, -1e300), most(kCount, 1e300);
    const Band all{least.data(), most.data()};
    check_ended([&] { bank.best(queries, all, 1, {}, nullptr, scores.data(), ids.data()); });
    check_ended(
        [&] { bank.best(queries, {low.data(), high.data()}, 1, {}, nullptr, scores.data(), ids.data()); });
    check_ended([&] { bank.sum_exp(queries, 1, scores.data(), nullptr, scores.data()); });
    bank.best({numbers.data(), DType::float32, 3, kDim, kDim}, all, 1, {}, nullptr, scores.data(),
              ids.data());
    for (int64_t q = 0; q < 3; ++q) CHECK(ids[static_cast<size_t>(q)] == q);
    check_ended([&] { bank.refill(many); });
    CHECK(bank.size() == 0);
    bank.refill({numbers.data(), DType::float32, 2, kDim, kDim});
    bank.best({numbers.data() + kDim, DType::float32, 1, kDim, kDim}, all, 1, {}, nullptr, scores.data(),
              ids.data());
    CHECK(ids[0] == 1);
}

void check_gru() {
    constexpr int64_t kSteps = 1500, kHidden = 1024, kWide = 3 * kHidden;
    const Floats inputs(kSteps * kWide), weight(kWide * kHidden), bias(kWide);
    Floats states((kSteps + 1) * kHidden), gates(kSteps * kWide), candidates(kSteps * kHidden),
        grad_inputs(inputs.size()), grad_products(inputs.size()), grad_initial(kHidden);
    const RecurrentShape shape{kSteps, 1, kHidden};
    check_ended([&] {
        gru_forward(shape, {inputs.data(), weight.data(), bias.data(), states.data(), gates.data(),
                            candidates.data()});
    });
    check_ended([&] {
        gru_backward(shape,
                     {states.data() + kHidden, weight.data(), states.data(), gates.data(), candidates.data(),
                      grad_inputs.data(), grad_products.data(), grad_initial.data()});
    });
}

// The states of a stream are as before.
void check_memory_gru() {
    constexpr int64_t kInput = 8, kHidden = 512, kSlots = 8, kSteps = 20'000;
    const Floats numbers = random_numbers<float>(3 * kHidden * kHidden, 1, 0.05);
    const float* any = numbers.data();
    PackedModelWeights weights{};
    weights.layers = {{any, any, any, any}, {any, any, any, any}};
    weights.input_norm = weights.fusion_norm = {any, any, 1e-5f};
    weights.keys = weights.keys_bias = weights.contents = weights.contents_bias = any;
    weights.widen = weights.widen_bias = weights.narrow = weights.narrow_bias = any;
    const PackedModel model({kInput, kHidden, 2, kSlots}, weights, Format::float32);
    const Floats context = random_numbers<float>(kSteps * kInput, 2);
    PackedModel::States ended(model, 1), other(model, 1);
    Floats next(kInput), expected(kInput);
    CHECK(model.advance(context.data(), 3, ended, next.data()));
    CHECK(model.advance(context.data(), 3, other, expected.data()));
    check_ended([&] { model.advance(context.data(), kSteps, ended, next.data()); });
    CHECK(model.advance(context.data(), 3, ended, next.data()));
    CHECK(model.advance(context.data(), 3, other, expected.data()));
    CHECK(next == expected);
}

template <class Test>
void at_one_and_two_threads(const Test& test) {
    for (int threads : {1, 2}) {
        set_num_threads(threads);
        test();
    }
}

TEST_CASE("questions to a bank can be ended") { at_one_and_two_threads(check_scoring); }

TEST_CASE("a GRU can be ended") { at_one_and_two_threads(check_gru); }

TEST_CASE("a memory GRU can be ended") { at_one_and_two_threads(check_memory_gru); }

}  // namespace
}  // namespace lvm
