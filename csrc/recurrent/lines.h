// Whole cache lines, and vectors that have theirs to themselves, so that threads at work on different ones,
// or on different lines of one, do not disturb each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

namespace lvm {

constexpr int64_t kLine = 64;  // bytes

// A count in whole multiples.
constexpr int64_t up_to(int64_t count, int64_t multiple) {
    return (count + multiple - 1) / multiple * multiple;
}

template <class T>
struct LineAllocator {
    using value_type = T;
    LineAllocator() = default;
    template <class Other>
    LineAllocator(const LineAllocator<Other>&) {}
    bool operator==(const LineAllocator&) const { return true; }

    T* allocate(size_t count) { return static_cast<T*>(::operator new(whole(count), kAlignment)); }
    // Not the sized delete: clang before 19 has it with a flag only.
    void deallocate(T* memory, size_t) { ::operator delete(memory, kAlignment); }

  private:
    static constexpr std::align_val_t kAlignment{kLine};
    static size_t whole(size_t count) {
        return static_cast<size_t>(up_to(static_cast<int64_t>(count * sizeof(T)), kLine));
    }
};

template <class T>
using Lines = std::vector<T, LineAllocator<T>>;

}  // namespace lvm
