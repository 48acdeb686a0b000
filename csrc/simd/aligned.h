// A block of numbers that starts on a cache line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace lvm {

template <class T>
class AlignedBuffer {
  public:
    explicit AlignedBuffer(int64_t count) : storage_(static_cast<size_t>(count) + kLine / sizeof(T)) {}

    T* data() {
        return reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(storage_.data()) + kLine - 1) &
                                    ~(kLine - 1));
    }
    const T* data() const { return const_cast<AlignedBuffer*>(this)->data(); }

  private:
    static constexpr uintptr_t kLine = 64;
    std::vector<T> storage_;
};

}  // namespace lvm
