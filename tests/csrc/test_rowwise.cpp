#include <cmath>

#include "check.h"
#include "rowwise/rowwise.h"

namespace lvm {
namespace {

constexpr double kEps = 1e-8;

template <class T>
double tolerance() {
    if (sizeof(T) == 8) return 1e-14;
    return sizeof(T) == 4 ? 2e-6 : 1e-2;
}

template <class T>
void check_dim(int64_t dim) {
    constexpr int64_t kRows = 5;
    const auto x = random_numbers<T>(kRows * dim, 1), delta = random_numbers<T>(kRows * dim, 2),
               grad = random_numbers<T>(kRows * dim, 3);
    std::vector<T> out(x.size()), grad_x(x.size());
    const Rows x_rows = rows_of(x, dim), delta_rows = rows_of(delta, dim), grad_rows = rows_of(grad, dim);
    CHECK(normalize_rows(x_rows, &delta_rows, {out.data(), kRows, dim}, kEps).row < 0);
    normalize_rows_backward(x_rows, &delta_rows, grad_rows, {grad_x.data(), kRows, dim}, kEps);
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
        const double norm = std::sqrt(squares), s = 1 / (norm + kEps);
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

// Every float16 survives the round trip, and widening agrees with arithmetic.
void check_halves() {
    for (uint32_t bits = 0; bits < 0x10000; ++bits) {
        const Half half{static_cast<uint16_t>(bits)};
        const int exponent = (bits >> 10) & 31, mantissa = bits & 1023;
        if (exponent == 31 && mantissa) continue;
        const double magnitude = exponent == 31 ? INFINITY
                                 : exponent     ? std::ldexp(1024 + mantissa, exponent - 25)
                                                : std::ldexp(mantissa, -24);
        CHECK(widen(half) == static_cast<float>(bits & 0x8000 ? -magnitude : magnitude));
        CHECK(narrow<Half>(widen(half)).bits == half.bits);
    }
    CHECK(narrow<Half>(65519.99).bits == 0x7bff && narrow<Half>(65520).bits == 0x7c00);
    CHECK(narrow<BHalf>(1.00390625).bits == 0x3f80 && narrow<BHalf>(1.01171875).bits == 0x3f82);
}

}  // namespace
}  // namespace lvm

int main() {
    lvm::check_halves();
    lvm::at_every_level([] {
        for (int64_t dim : lvm::kAwkwardDims) {
            lvm::check_dim<float>(dim);
            lvm::check_dim<lvm::Half>(dim);
            lvm::check_dim<lvm::BHalf>(dim);
            lvm::check_dim<double>(dim);
        }
        lvm::check_faults();
    });
}
