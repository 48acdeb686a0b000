// A block of numbers that starts on a cache line; not written at first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "core/alignment.h"

namespace lvm {

template <class T>
class AlignedBuffer {
  public:
    explicit AlignedBuffer(int64_t count)
        : storage_(std::make_unique_for_overwrite<T[]>(static_cast<size_t>(count) + kCacheLine / sizeof(T))) {
    }

    T* data() {
        constexpr uintptr_t kLast = kCacheLine - 1;
        return reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(storage_.get()) + kLast) & ~kLast);
    }
    const T* data() const { return const_cast<AlignedBuffer*>(this)->data(); }

  private:
    std::unique_ptr<T[]> storage_;
};

}  // namespace lvm
