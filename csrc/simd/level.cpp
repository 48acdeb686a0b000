#include "simd/level.h"

#include <atomic>
#include <cstdlib>
#include <stdexcept>

namespace lvm {
namespace {

constexpr int kUnset = -1;
std::atomic<int> forced_level{kUnset};

Level level_from(const std::string& name, const std::string& where) {
    std::string names;
    for (Level level : available_levels()) {
        if (name == level_name(level)) return level;
        names += (names.empty() ? "" : ", ") + std::string(level_name(level));
    }
    throw std::invalid_argument(where + ": expected an instruction set of this CPU (" + names + "), got '" +
                                name + "'");
}

}  // namespace

const char* level_name(Level level) {
    switch (level) {
        case Level::scalar:
            return "scalar";
        case Level::neon:
            return "neon";
        case Level::avx2:
            return "avx2";
        case Level::avx512:
            return "avx512";
    }
    return "unknown";
}

std::vector<Level> available_levels() {
    std::vector<Level> levels{Level::scalar};
#if defined(__x86_64__)
    const bool avx2 =
        __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    if (avx2) levels.push_back(Level::avx2);
    if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
        levels.push_back(Level::avx512);
    }
#elif defined(__aarch64__)
    levels.push_back(Level::neon);
#endif
    return levels;
}

Level current_level() {
    int level = forced_level.load(std::memory_order_relaxed);
    if (level == kUnset) {
        const char* wanted = std::getenv("LVM_FAST_SIMD");
        level = static_cast<int>(wanted && *wanted ? level_from(wanted, "LVM_FAST_SIMD")
                                                   : available_levels().back());
        forced_level.store(level, std::memory_order_relaxed);
    }
    return static_cast<Level>(level);
}

void set_level(const std::string& name) {
    forced_level.store(static_cast<int>(level_from(name, "set_simd_level")), std::memory_order_relaxed);
}

}  // namespace lvm
