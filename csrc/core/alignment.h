// Cache lines, and counts in whole multiples.
#pragma once

#include <cstdint>

namespace lvm {

constexpr int64_t kCacheLine = 64;  // bytes

// A count rounded up to a whole multiple.
[[gnu::always_inline]] constexpr int64_t round_up(int64_t count, int64_t multiple) {
    return (count + multiple - 1) / multiple * multiple;
}

// Whether memory begins on a cache line.
inline bool on_cache_line(const void* memory) {
    return reinterpret_cast<uintptr_t>(memory) % kCacheLine == 0;
}

}  // namespace lvm
