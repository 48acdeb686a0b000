#include <bit>
#include <cmath>
#include <cstring>

#include "check.h"
#include "rowwise/rowwise.h"
#include "runtime/thread_pool.h"

namespace lvm {
namespace {

constexpr double kEps = 1e-8;

template <class T>
double tolerance() {
    if (sizeof(T) == 8) return 1e-14;
    return sizeof(T) == 4 ? 2e-6 : 1e-2;
}

template <class T>
void check_dim(int64_t dim, double eps) {
    constexpr int64_t kRows = 5;
    const auto x = random_numbers<T>(kRows * dim, 1), delta = random_numbers<T>(kRows * dim, 2),
               grad = random_numbers<T>(kRows * dim, 3);
    std::vector<T> out(x.size()), grad_x(x.size());
    const Rows x_rows = rows_of(x, dim), delta_rows = rows_of(delta, dim), grad_rows = rows_of(grad, dim);
    CHECK(normalize_rows(x_rows, &delta_rows, {out.data(), kRows, dim}, eps).row < 0);
    normalize_rows_backward(x_rows, &delta_rows, grad_rows, {grad_x.data(), kRows, dim}, eps);
    for (int64_t r = 0; r < kRows; ++r) {
        std::vector<double> v, g;
        double squares = 0, along = 0, length = 0;
        for (int64_t i = r * dim; i < (r + 1) * dim; ++i) {
            v.push_back(static_cast<double>(widen(x[i])) + static_cast<double>(widen(delta[i])));
            g.push_back(widen(grad[i]));
            squares += v.back() * v.back();
            along += v.back() * g.back();
            length += g.back() * g.back();
        }
        const double norm = std::sqrt(squares), s = 1 / (norm + eps);
        for (int64_t i = 0; i < dim; ++i) {
            CHECK(std::abs(widen(out[r * dim + i]) - v[i] * s) <= tolerance<T>());
            const double expected = s * g[i] - s * s / norm * along * v[i];
            CHECK(std::abs(widen(grad_x[r * dim + i]) - expected) <=
                  4 * tolerance<T>() * std::sqrt(length) / norm);
        }
    }
}

void check_faults() {
    std::vector<float> x(4 * 19, 1.0f), out(x.size());
    x[2 * 19 + 18] = std::nanf("");
    x[3 * 19] = INFINITY;
    const Rows rows = rows_of(x, 19);
    const RowFault fault = normalize_rows(rows, nullptr, {out.data(), 4, 19}, kEps);
    CHECK(fault.row == 2 && fault.argument == 0);
    const std::vector<float> ones(x.size(), 1.0f);
    const RowFault second = normalize_rows(rows_of(ones, 19), &rows, {out.data(), 4, 19}, kEps);
    CHECK(second.row == 2 && second.argument == 1);
}

// The first fault is named whichever thread comes to it.
void check_faults_of_many_rows() {
    constexpr int64_t kRows = 3000, kDim = 129;
    std::vector<float> x(kRows * kDim, 1.0f), out(x.size());
    for (int64_t row : {2900, 700, 1500}) x[row * kDim + 128] = INFINITY;
    CHECK(normalize_rows(rows_of(x, kDim), nullptr, {out.data(), kRows, kDim}, kEps).row == 700);
}

// Large results, which may be written around the caches, are those of a few rows at a time, at any alignment.
void check_many_rows(int64_t dim, int64_t misaligned) {
    constexpr int64_t kRows = 3000, kFew = 50;
    const auto block = random_numbers<float>(kFew * dim, 4);
    std::vector<float> x, few(block.size()), memory(kRows * dim + 64);
    for (int64_t r = 0; r < kRows; r += kFew) x.insert(x.end(), block.begin(), block.end());
    float* out = memory.data();
    while (reinterpret_cast<uintptr_t>(out) % 64) ++out;
    out += misaligned;
    CHECK(normalize_rows(rows_of(block, dim), nullptr, {few.data(), kFew, dim}, kEps).row < 0);
    CHECK(normalize_rows(rows_of(x, dim), nullptr, {out, kRows, dim}, kEps).row < 0);
    for (int64_t r = 0; r < kRows; r += kFew) {
        CHECK(std::memcmp(out + r * dim, few.data(), few.size() * sizeof(float)) == 0);
    }
}

// Every float16 survives the round trip, and widening agrees with arithmetic.
void check_f16() {
    for (uint32_t bits = 0; bits < 0x10000; ++bits) {
        const F16 number{static_cast<uint16_t>(bits)};
        const int exponent = (bits >> 10) & 31, mantissa = bits & 1023;
        if (exponent == 31 && mantissa) {
            CHECK(std::isnan(widen(number)));
            continue;
        }
        const double magnitude = exponent == 31 ? INFINITY
                                 : exponent     ? std::ldexp(1024 + mantissa, exponent - 25)
                                                : std::ldexp(mantissa, -24);
        CHECK(widen(number) == static_cast<float>(bits & 0x8000 ? -magnitude : magnitude));
        CHECK(narrow<F16>(widen(number)).bits == number.bits);
    }
    CHECK(narrow<F16>(65519.99).bits == 0x7bff && narrow<F16>(65520).bits == 0x7c00);
}

// Between every two neighbours the middle goes to the even one, and what lies beside it to the nearer one.
template <class T>
void check_rounding(uint16_t infinity) {
    const auto narrowed = [](float x) { return narrow<T>(x).bits; };
    for (uint16_t below = 0; below + 1 < infinity; ++below) {
        const uint16_t above = below + 1, even = below % 2 ? above : below;
        const float low = widen(T{below}), high = widen(T{above}), middle = low + (high - low) / 2;
        CHECK(narrowed(middle) == even && narrowed(-middle) == (even | 0x8000));
        CHECK(narrowed(std::nextafter(middle, low)) == below &&
              narrowed(std::nextafter(middle, high)) == above);
    }
    for (uint32_t nan : {0x7fffffffu, 0xffffffffu, 0x7fc00000u, 0x7f800001u}) {
        CHECK(std::isnan(widen(narrow<T>(std::bit_cast<float>(nan)))));
    }
}

// The same of the stores of an instruction set: 256 sets the norm, and the other sums divided by it are ties.
template <class T>
void check_ties(double half_ulp) {
    constexpr int64_t kDim = 43;
    std::vector<T> x(kDim, narrow<T>(0)), delta = x, out = x;
    x[0] = narrow<T>(256);
    for (int64_t i = 1; i < kDim; i += 3) {
        x[i] = narrow<T>(0x1p-6);
        delta[i] = narrow<T>(0x1p-6 * half_ulp * (i % 2 ? 1 : 3));
    }
    const Rows delta_rows = rows_of(delta, kDim);
    CHECK(normalize_rows(rows_of(x, kDim), &delta_rows, {out.data(), 1, kDim}, 1e-30).row < 0);
    for (int64_t i = 1; i < kDim; ++i) {
        const double sum = static_cast<double>(widen(x[i])) + static_cast<double>(widen(delta[i]));
        CHECK(out[i].bits == narrow<T>(sum / 256).bits);
    }
}

TEST_CASE("every float16 number survives") { check_f16(); }

TEST_CASE("rounding goes to the nearest, ties to even") {
    check_rounding<F16>(0x7c00);
    check_rounding<BF16>(0x7f80);
}

TEST_CASE("rows and their gradients agree with float64") {
    at_every_level([] {
        for (double eps : {kEps, 0.5}) {
            for (int64_t dim : kAwkwardDims) {
                check_dim<float>(dim, eps);
                check_dim<F16>(dim, eps);
                check_dim<BF16>(dim, eps);
                check_dim<double>(dim, eps);
            }
        }
    });
}

TEST_CASE("stores of an instruction set round ties to even") {
    at_every_level([] {
        check_ties<F16>(0x1p-11);
        check_ties<BF16>(0x1p-8);
    });
}

TEST_CASE("the first fault is named") {
    at_every_level([] {
        check_faults();
        for (int threads : {1, 3}) {
            set_num_threads(threads);
            check_faults_of_many_rows();
        }
    });
}

TEST_CASE("many rows are as a few") {
    at_every_level([] {
        for (int threads : {1, 3}) {
            set_num_threads(threads);
            for (int64_t dim : {768, 769}) {
                for (int64_t misaligned : {0, 1}) check_many_rows(dim, misaligned);
            }
        }
    });
}

}  // namespace
}  // namespace lvm
