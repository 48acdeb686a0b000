// Threads for parallel loops: torch's OpenMP threads where there are as many (openmp.h), else our own, asleep
// when idle.
#pragma once

#include <cstdint>
#include <functional>

namespace lvm {

// Threads that parallel_for may use, the caller's included. Default: LVM_FAST_NUM_THREADS, else the CPUs
// given to this process. Throws std::invalid_argument if LVM_FAST_NUM_THREADS is not a whole number from 1 to
// 1024.
int num_threads();

// Throws std::invalid_argument unless 1 <= count <= 1024.
void set_num_threads(int count);

constexpr int kMostThreads = 1024;

// Calls body(begin, end, worker) over [0, count) in pieces of `grain`, handed out as threads become free, on
// at most `most_workers` threads; worker is in [0, most_workers). Nested and concurrent calls run on the
// calling thread alone. The first exception is rethrown.
void parallel_for(int64_t count, int64_t grain, const std::function<void(int64_t, int64_t, int)>& body,
                  int most_workers = kMostThreads);

}  // namespace lvm
