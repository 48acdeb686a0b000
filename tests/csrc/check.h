// A minimal test harness: CHECK prints where and exits.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "core/conversions.h"
#include "core/views.h"
#include "runtime/level.h"

#define CHECK(condition)                                                         \
    do {                                                                         \
        if (!(condition)) {                                                      \
            std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            std::exit(1);                                                        \
        }                                                                        \
    } while (false)

namespace lvm {

constexpr int64_t kAwkwardDims[] = {1, 2, 3, 7, 8, 15, 16, 17, 31, 63, 64, 65, 768, 769};

template <class T>
std::vector<T> random_numbers(int64_t count, unsigned seed, double scale = 1) {
    std::mt19937 generator(seed);
    std::normal_distribution<double> normal(0, scale);
    std::vector<T> numbers(static_cast<size_t>(count));
    for (T& number : numbers) number = narrow<T>(normal(generator));
    return numbers;
}

template <class T>
constexpr DType dtype_of();
template <>
constexpr DType dtype_of<float>() {
    return DType::float32;
}
template <>
constexpr DType dtype_of<double>() {
    return DType::float64;
}
template <>
constexpr DType dtype_of<F16>() {
    return DType::float16;
}
template <>
constexpr DType dtype_of<BF16>() {
    return DType::bfloat16;
}

template <class T>
Rows rows_of(const std::vector<T>& numbers, int64_t dim) {
    return {numbers.data(), dtype_of<T>(), static_cast<int64_t>(numbers.size()) / dim, dim, dim};
}

// Calls body() at every instruction set of this machine.
template <class Body>
void at_every_level(const Body& body) {
    for (Level level : available_levels()) {
        set_level(level_name(level));
        std::printf("  %s\n", level_name(level));
        body();
    }
}

}  // namespace lvm
