// Vectors that have their cache lines to themselves, so that threads at work on different ones, or on
// different lines of one, do not disturb each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

namespace lvm {

template <class T>
struct LineAllocator {
    using value_type = T;
    LineAllocator() = default;
    template <class Other>
    LineAllocator(const LineAllocator<Other>&) {}
    bool operator==(const LineAllocator&) const { return true; }

    T* allocate(size_t count) { return static_cast<T*>(::operator new(whole(count), kLine)); }
    void deallocate(T* memory, size_t count) { ::operator delete(memory, whole(count), kLine); }

  private:
    static constexpr std::align_val_t kLine{64};
    static size_t whole(size_t count) { return (count * sizeof(T) + 63) / 64 * 64; }
};

template <class T>
using Lines = std::vector<T, LineAllocator<T>>;

}  // namespace lvm
