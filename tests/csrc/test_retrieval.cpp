#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "check.h"
#include "core/big_buffer.h"
#include "retrieval/bank.h"
#include "retrieval/screen.h"
#include "runtime/store_fence.h"
#include "runtime/thread_pool.h"

namespace lvm {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// The documented order of summation, written out.
double score(const float* a, const float* b, int64_t dim, Metric metric) {
    double partial[32] = {};
    for (int64_t i = 0; i < dim; ++i) {
        const double x = static_cast<double>(a[i]), y = static_cast<double>(b[i]);
        const volatile double term = metric == Metric::l2 ? (x - y) * (x - y) : x * y;  // rounded by itself
        partial[i % 32] += term;
    }
    for (int half = 16; half > 0; half /= 2) {
        for (int j = 0; j < half; ++j) partial[j] += partial[j + half];
    }
    return metric == Metric::l2 ? -partial[0] : partial[0];
}

template <class T>
std::vector<float> widened(const std::vector<T>& numbers) {
    std::vector<float> wide;
    for (const T& number : numbers) wide.push_back(static_cast<float>(widen(number)));
    return wide;
}

std::vector<uint8_t> random_bits(int64_t count, int64_t size) {
    std::vector<uint8_t> bits;
    for (const float x : random_numbers<float>(count * ((size + 7) / 8), 4, 100))
        bits.push_back(static_cast<uint8_t>(static_cast<int>(x)));
    return bits;
}

// Two half-open ranges a query, some of them empty.
std::vector<int64_t> random_ranges(int64_t count, int64_t size) {
    std::vector<int64_t> ranges;
    for (int64_t b = 0; b < count; ++b) {
        const int64_t begin = (b * 31) % size;
        ranges.insert(ranges.end(), {begin, std::min(begin + b % 50, size), size / 2, size / 2 + b % 2});
    }
    return ranges;
}

bool is_allowed(const Filter& filter, int64_t b, int64_t i) {
    const uint8_t* bits = filter.allow + b * filter.allow_stride;
    if (!(bits[i / 8] >> (7 - i % 8) & 1) || filter.exclude[b] == i) return false;
    for (int64_t r = 0; r < filter.ranges_each; ++r) {
        const int64_t* range = filter.ranges + (b * filter.ranges_each + r) * 2;
        if (i >= range[0] && i < range[1]) return false;
    }
    return true;
}

template <class T>
void check_bank(int64_t count, int64_t size, int64_t dim, double scale,
                Metric metric = Metric::inner_product) {
    auto vectors = random_numbers<T>(size * dim, 1, scale);
    const auto queries = random_numbers<T>(count * dim, 2);
    // Every third candidate repeats an earlier one: ties.
    for (int64_t i = 2; i < size; i += 3) std::copy_n(&vectors[(i / 2) * dim], dim, &vectors[i * dim]);
    const std::vector<float> v = widened(vectors), q = widened(queries);
    const Bank bank(rows_of(vectors, dim), metric);
    const Rows rows = rows_of(queries, dim);

    std::vector<int64_t> targets, ranks(count);
    for (int64_t b = 0; b < count; ++b) targets.push_back((b * 7) % size);
    std::vector<double> target_scores(count);
    bank.pair_scores(rows, targets.data(), target_scores.data());
    bank.rank(rows, target_scores.data(), targets.data(), 0, size, {}, ranks.data());
    std::vector<int64_t> few(count);
    bank.rank(rows, target_scores.data(), targets.data(), 0, 3, {}, few.data());
    const int64_t k = std::min<int64_t>(size, 6);
    std::vector<double> scores(count * k), band_scores(count * k);
    std::vector<int64_t> ids(count * k), in_band(count * k);
    const double middle = metric == Metric::l2 ? -2.0 * static_cast<double>(dim) * scale * scale : 0;
    const std::vector<double> low(count, middle - scale), high(count, middle + scale),
        least(count, -kInfinity), most(count, kInfinity);
    bank.best(rows, {least.data(), most.data()}, k, {}, nullptr, scores.data(), ids.data());
    const Filter no_targets{.exclude = targets.data(), .excluded = 1};
    bank.best(rows, {low.data(), high.data()}, k, no_targets, nullptr, band_scores.data(), in_band.data());
    const std::vector<uint8_t> allow = random_bits(count, size);
    const std::vector<int64_t> ranges = random_ranges(count, size);
    const Filter filter{.allow = allow.data(),
                        .allow_stride = (size + 7) / 8,
                        .exclude = targets.data(),
                        .excluded = 1,
                        .ranges = ranges.data(),
                        .ranges_each = 2};
    std::vector<int64_t> allowed_ranks(count), allowed_best(count * k);
    std::vector<double> allowed_scores(count * k);
    bank.rank(rows, target_scores.data(), targets.data(), 0, size, filter, allowed_ranks.data());
    bank.best(rows, {least.data(), most.data()}, k, filter, nullptr, allowed_scores.data(),
              allowed_best.data());

    for (int64_t b = 0; b < count; ++b) {
        std::vector<double> exact;
        for (int64_t i = 0; i < size; ++i) exact.push_back(score(&q[b * dim], &v[i * dim], dim, metric));
        std::vector<int64_t> order(size);
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(),
                         [&](int64_t i, int64_t j) { return exact[i] > exact[j]; });
        CHECK(order[ranks[b]] == targets[b]);
        CHECK(few[b] == std::min<int64_t>(ranks[b], 3));
        CHECK(std::equal(order.begin(), order.begin() + k, &ids[b * k]));
        for (int64_t i = 0; i < k; ++i) CHECK(scores[b * k + i] == exact[ids[b * k + i]]);
        std::vector<int64_t> allowed;
        int64_t ahead = 0;
        for (int64_t place = 0; place < size; ++place) {
            if (!is_allowed(filter, b, order[place])) continue;
            allowed.push_back(order[place]);
            ahead += place < ranks[b];
        }
        CHECK(allowed_ranks[b] == ahead);
        allowed.resize(k, -1);
        CHECK(std::equal(allowed.begin(), allowed.end(), &allowed_best[b * k]));
        std::erase_if(order,
                      [&](int64_t i) { return exact[i] < low[b] || exact[i] >= high[b] || i == targets[b]; });
        order.resize(k, -1);
        CHECK(std::equal(order.begin(), order.end(), &in_band[b * k]));
    }
}

// The fine parts of query and winner point the same way: their product, which screening leaves out, decides.
void check_fine_parts() {
    constexpr int64_t kDim = 64, kRaised = 28;
    std::vector<float> query(kDim, 10.45f), vectors(kDim, 10.0f);
    query[0] = vectors[0] = 127;
    std::fill_n(&vectors[1], kRaised, 11.0f);
    vectors.insert(vectors.end(), query.begin(), query.end());
    const Bank bank(rows_of(vectors, kDim), Metric::inner_product);
    const int64_t target = 0;
    double wanted = 0;
    int64_t rank = -1;
    bank.pair_scores(rows_of(query, kDim), &target, &wanted);
    bank.rank(rows_of(query, kDim), &wanted, &target, 0, 2, {}, &rank);
    CHECK(rank == 1);
}

// Codes that go past the caches are the same, in the same places.
void check_code_places() {
    constexpr int64_t kChunks = 3, kBytes = kChunks * kTileBytes;
    const auto row = random_numbers<float>(kChunks * kTileDims, 3);
    struct Codes {
        BigBuffer coarse, fine;
        CodeBounds bounds;
    } codes[2];
    for (int past = 0; past < 2; ++past) {
        for (BigBuffer* plane : {&codes[past].coarse, &codes[past].fine}) {
            plane->reserve(kBytes);
            std::fill_n(plane->data(), kBytes, int8_t{99});
        }
        codes[past].bounds = screen_kernels().encode(
            row.data(), kChunks, {codes[past].coarse.data(), codes[past].fine.data(), past == 1});
        store_fence();
    }
    CHECK(std::equal(codes[0].coarse.data(), codes[0].coarse.data() + kBytes, codes[1].coarse.data()));
    CHECK(std::equal(codes[0].fine.data(), codes[0].fine.data() + kBytes, codes[1].fine.data()));
    CHECK(std::memcmp(&codes[0].bounds, &codes[1].bounds, sizeof(CodeBounds)) == 0);
    CHECK(codes[0].coarse.data()[kTileDims] == 99);  // another row's
    CHECK(codes[0].coarse.data()[0] != 99 && codes[0].coarse.data()[2 * kTileBytes] != 99);
}

// Banks whose lists begin with a sample: of all of it, panel by panel; of every block; of every sixteenth,
// with planes that go past the caches.
void check_samples() {
    check_bank<float>(130 * num_threads(), 1100, 33, 1);
    check_bank<float>(40, 2500, 33, 1);
    check_bank<float>(5, 133'000, 3, 1);
}

// Many workers on the same queries, and on queries of their own: what a thread sanitizer should see.
void check_threads() {
    set_num_threads(3);
    for (int64_t dim : {3, 65}) check_bank<float>(70, 1100, dim, 1);
    check_samples();
}

TEST_CASE("fine products of many open pairs") { at_every_level(check_fine_parts); }

TEST_CASE("codes past the caches") { at_every_level(check_code_places); }

TEST_CASE("ranks, top-k and bands are exact") {
    at_every_level([] {
        for (int threads : {1, 3}) {
            set_num_threads(threads);
            for (int64_t dim : kAwkwardDims) {
                for (int64_t count : {1, 5, 13}) {
                    for (int64_t size : {1, 64, 131}) check_bank<float>(count, size, dim, 1);
                }
                check_bank<F16>(7, 70, dim, 1);
                check_bank<BF16>(7, 70, dim, 1);
                for (Metric metric : {Metric::inner_product, Metric::l2})
                    check_bank<float>(70, 1100, dim, 1, metric);
            }
            for (Metric metric : {Metric::inner_product, Metric::l2}) {
                for (double scale : {1e-42, 1e-12, 1e12, 1e37}) check_bank<float>(9, 90, 33, scale, metric);
            }
        }
    });
}

TEST_CASE("samples of large banks") {
    at_every_level([] {
        for (int threads : {1, 3}) {
            set_num_threads(threads);
            check_samples();
        }
    });
}

TEST_CASE("threads beside each other") { at_every_level(check_threads); }

}  // namespace
}  // namespace lvm
