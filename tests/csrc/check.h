// Test cases by name, and checks that say what came in place of what was expected. A run goes on after a
// failed check and reports all of them.
//
//     test_gru                 every test case
//     test_gru zero layer      those whose names hold one of these words
//     test_gru --list          their names
#pragma once

#include <atomic>
#include <cstdio>
#include <cstring>
#include <exception>
#include <mutex>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "core/conversions.h"
#include "core/views.h"
#include "runtime/level.h"

namespace lvm::testing {

struct TestCase {
    const char* name;
    void (*run)();
};

// What the run knows so far.
struct Run {
    std::vector<TestCase> cases;
    std::string level;  // the instruction set at work, if the case tries several
    std::mutex printing;
    std::atomic<int64_t> checks{0};
    int64_t failures = 0, failures_of_case = 0;
};

inline Run& run() {
    static Run one;
    return one;
}

struct Registered {
    Registered(const char* name, void (*body)()) { run().cases.push_back({name, body}); }
};

template <class T>
std::string text_of(const T& value) {
    std::ostringstream text;
    text.precision(17);
    if constexpr (requires { text << value; }) {
        text << value;
    } else {
        text << "...";
    }
    return text.str();
}

// What became of a check, and the two sides of its comparison.
struct Outcome {
    bool holds;
    std::string sides;

    explicit operator bool() const { return holds; }
};

template <class L, class R>
Outcome compared(bool holds, const L& left, const char* sign, const R& right) {
    return {holds, holds ? std::string() : text_of(left) + " " + sign + " " + text_of(right)};
}

// The left side of a comparison, or a whole condition without one.
template <class L>
struct Left {
    const L& left;

    template <class R>
    Outcome operator==(const R& right) const {
        return compared(left == right, left, "==", right);
    }
    template <class R>
    Outcome operator!=(const R& right) const {
        return compared(left != right, left, "!=", right);
    }
    template <class R>
    Outcome operator<(const R& right) const {
        return compared(left < right, left, "<", right);
    }
    template <class R>
    Outcome operator<=(const R& right) const {
        return compared(left <= right, left, "<=", right);
    }
    template <class R>
    Outcome operator>(const R& right) const {
        return compared(left > right, left, ">", right);
    }
    template <class R>
    Outcome operator>=(const R& right) const {
        return compared(left >= right, left, ">=", right);
    }
    explicit operator bool() const { return static_cast<bool>(left); }
};

struct Condition {
    template <class L>
    Left<L> operator<<(const L& left) const {
        return {left};
    }
};

inline void report(const char* file, int line, const std::string& expected, const std::string& got) {
    constexpr int64_t kMostPrinted = 20;  // of a case
    Run& all = run();
    const std::lock_guard<std::mutex> lock(all.printing);
    ++all.failures;
    if (++all.failures_of_case > kMostPrinted) return;
    const std::string at = all.level.empty() ? "" : " at level " + all.level;
    std::fprintf(stderr, "%s:%d:%s expected %s, got %s\n", file, line, at.c_str(), expected.c_str(),
                 got.c_str());
    if (all.failures_of_case == kMostPrinted) std::fprintf(stderr, "... and more of this case\n");
}

// `outcome`: an Outcome, a Left or a bool.
template <class T>
void check(const T& outcome, const char* file, int line, const char* condition) {
    run().checks.fetch_add(1, std::memory_order_relaxed);
    if (static_cast<bool>(outcome)) return;
    std::string got = "false";
    if constexpr (requires { outcome.sides; }) got = outcome.sides;
    report(file, line, condition, got);
}

// Runs the cases that are asked for; the exit status of the program.
inline int main_of(const std::vector<std::string>& words) {
    Run& all = run();
    int ran = 0, failed = 0;
    for (const TestCase& test : all.cases) {
        bool is_asked = words.empty();
        for (const std::string& word : words) is_asked |= std::strstr(test.name, word.c_str()) != nullptr;
        if (!is_asked) continue;
        std::printf("%s\n", test.name);
        all.failures_of_case = 0;
        try {
            test.run();
        } catch (const std::exception& error) {
            report(test.name, 0, "no exception", error.what());
        }
        all.level.clear();
        ++ran;
        failed += all.failures_of_case > 0;
    }
    std::printf("%d test cases, %lld checks; %d cases and %lld checks failed\n", ran,
                static_cast<long long>(all.checks.load()), failed, static_cast<long long>(all.failures));
    if (ran == 0) std::fprintf(stderr, "no test case has such a name; --list tells them\n");
    return ran == 0 || failed > 0;
}

}  // namespace lvm::testing

#define LVM_JOINED(a, b) a##b
#define LVM_TEST_CASE(name, id)                                                                            \
    static void LVM_JOINED(test_case_, id)();                                                              \
    static const ::lvm::testing::Registered LVM_JOINED(registered_, id){name, LVM_JOINED(test_case_, id)}; \
    static void LVM_JOINED(test_case_, id)()

// A test case: TEST_CASE("what holds") { ... }
#define TEST_CASE(name) LVM_TEST_CASE(name, __COUNTER__)

// Of a comparison both sides are reported.
#define CHECK(...) \
    ::lvm::testing::check(::lvm::testing::Condition() << __VA_ARGS__, __FILE__, __LINE__, #__VA_ARGS__)

int main(int count, char** arguments) {
    const std::vector<std::string> words(arguments + 1, arguments + count);
    if (words.size() == 1 && words[0] == "--list") {
        for (const auto& test : lvm::testing::run().cases) std::printf("%s\n", test.name);
        return 0;
    }
    return lvm::testing::main_of(words);
}

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
        testing::run().level = level_name(level);
        body();
    }
    testing::run().level.clear();
}

}  // namespace lvm
