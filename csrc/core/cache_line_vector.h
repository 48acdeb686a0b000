// A vector that has its cache lines to itself, so that threads at work on different vectors, or on different
// lines of one, do not disturb each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

#include "core/alignment.h"

namespace lvm {

template <class T>
struct CacheLineAllocator {
    using value_type = T;
    CacheLineAllocator() = default;
    template <class Other>
    CacheLineAllocator(const CacheLineAllocator<Other>&) {}
    bool operator==(const CacheLineAllocator&) const { return true; }

    T* allocate(size_t count) { return static_cast<T*>(::operator new(whole(count), kAlignment)); }
    // Not the sized delete: clang before 19 has it with a flag only.
    void deallocate(T* memory, size_t) { ::operator delete(memory, kAlignment); }

  private:
    static constexpr std::align_val_t kAlignment{kCacheLine};
    static size_t whole(size_t count) {
        return static_cast<size_t>(round_up(static_cast<int64_t>(count * sizeof(T)), kCacheLine));
    }
};

template <class T>
using CacheLineVector = std::vector<T, CacheLineAllocator<T>>;

}  // namespace lvm
