// Shares the sequences of a batch out to the threads.
#pragma once

#include <algorithm>
#include <cstdint>

#include "runtime/thread_pool.h"

namespace lvm {

// Calls body(first, count) for groups of sequences; a group runs through all steps on one thread, with no
// waiting for others.
template <class Body>
void over_sequences(int64_t batch, const Body& body) {
    constexpr int64_t kMost =
        32;  // that one thread carries along: their states and products stay in its caches
    const int64_t threads = num_threads();
    const int64_t grain = std::clamp((batch + threads - 1) / threads, int64_t{1}, kMost);
    parallel_for(batch, grain, [&](int64_t begin, int64_t end, int) {
        for (int64_t first = begin; first < end; first += kMost) body(first, std::min(kMost, end - first));
    });
}

}  // namespace lvm
