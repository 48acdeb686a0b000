// A block of numbers that starts on a cache line; not written at first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace lvm {

template <class T>
class AlignedBuffer {
  public:
    explicit AlignedBuffer(int64_t count)
        : storage_(std::make_unique_for_overwrite<T[]>(static_cast<size_t>(count) + kLine / sizeof(T))) {}

    T* data() {
        return reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(storage_.get()) + kLine - 1) & ~(kLine - 1));
    }
    const T* data() const { return const_cast<AlignedBuffer*>(this)->data(); }

  private:
    static constexpr uintptr_t kLine = 64;
    std::unique_ptr<T[]> storage_;
};

}  // namespace lvm
