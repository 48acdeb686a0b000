// Which instruction set the kernels use: the best one this CPU has, unless LVM_FAST_SIMD or set_level() says
// otherwise.
#pragma once

#include <string>
#include <vector>

namespace lvm {

enum class Level { scalar, neon, i8mm, avx2, avxvnni, avx512, avx512bf16, amx };

const char* level_name(Level level);

// The levels this CPU can run, slowest first.
std::vector<Level> available_levels();

// The level in force. The first call reads LVM_FAST_SIMD; throws std::invalid_argument if it names a level
// this CPU lacks.
Level current_level();

// Forces a level by name. Throws std::invalid_argument if the name is unknown or the CPU lacks it.
void set_level(const std::string& name);

// The table of kernels of the level in force, or of the best one below it that has its own. A table type
// declares a specialisation of `table<Level>()` for every level it has: scalar, neon, avx2, avx512, and more
// where `Kernels::has(level)` says so.
template <class Kernels>
const Kernels& kernels_in_force() {
    switch (current_level()) {
#if defined(__x86_64__)
        case Level::amx:
            if constexpr (Kernels::has(Level::amx)) return Kernels::template table<Level::amx>();
            [[fallthrough]];
        case Level::avx512bf16:
            if constexpr (Kernels::has(Level::avx512bf16))
                return Kernels::template table<Level::avx512bf16>();
            [[fallthrough]];
        case Level::avx512:
            return Kernels::template table<Level::avx512>();
        case Level::avxvnni:
            if constexpr (Kernels::has(Level::avxvnni)) return Kernels::template table<Level::avxvnni>();
            [[fallthrough]];
        case Level::avx2:
            return Kernels::template table<Level::avx2>();
#elif defined(__aarch64__)
        case Level::i8mm:
            if constexpr (Kernels::has(Level::i8mm)) return Kernels::template table<Level::i8mm>();
            [[fallthrough]];
        case Level::neon:
            return Kernels::template table<Level::neon>();
#endif
        default:
            return Kernels::template table<Level::scalar>();
    }
}

}  // namespace lvm
