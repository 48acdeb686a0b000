// Between stores that go past the caches and whatever tells other threads of them.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace lvm {

inline void store_fence() {
#if defined(__x86_64__)
    _mm_sfence();
#endif
}

}  // namespace lvm
