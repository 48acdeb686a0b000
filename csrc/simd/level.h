// Which instruction set the kernels use: the best one this CPU has, unless LVM_FAST_SIMD or set_level() says
// otherwise.
#pragma once

#include <string>
#include <vector>

namespace lvm {

enum class Level { scalar, neon, avx2, avx512 };

const char* level_name(Level level);

// The levels this CPU can run, slowest first.
std::vector<Level> available_levels();

// The level in force. The first call reads LVM_FAST_SIMD; throws std::invalid_argument if it names a level
// this CPU lacks.
Level current_level();

// Forces a level by name. Throws std::invalid_argument if the name is unknown or the CPU lacks it.
void set_level(const std::string& name);

}  // namespace lvm
