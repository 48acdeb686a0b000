// Much memory, not written before its first use, in large pages where the system offers them.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#include "core/alignment.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace lvm {

class BigBuffer {
  public:
    // Makes room for `bytes`; what was held is lost, the memory kept if it suffices. Throws std::bad_alloc.
    void reserve(int64_t bytes) {
        if (bytes <= capacity_) return;
        memory_.reset();
        const int64_t unit = bytes < kPage ? kCacheLine : kPage;
        capacity_ = round_up(bytes, unit);
        memory_.reset(static_cast<int8_t*>(
            std::aligned_alloc(static_cast<size_t>(unit), static_cast<size_t>(capacity_))));
        if (!memory_) {
            capacity_ = 0;
            throw std::bad_alloc();
        }
#if defined(__linux__)
        if (unit == kPage)
            madvise(memory_.get(), static_cast<size_t>(capacity_),
                    MADV_HUGEPAGE);  // a hint: failure is no harm
#endif
    }

    int8_t* data() const { return memory_.get(); }

  private:
    static constexpr int64_t kPage = 2 << 20;
    struct Free {
        void operator()(int8_t* memory) const { std::free(memory); }
    };

    std::unique_ptr<int8_t, Free> memory_;
    int64_t capacity_ = 0;
};

}  // namespace lvm
