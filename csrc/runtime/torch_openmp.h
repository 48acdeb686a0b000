// The OpenMP threads that torch brought into the process. After each of its operators they look out for more
// work for some milliseconds, on cores that threads of our own would have to share with them.
#pragma once

namespace lvm {

struct OpenMp {
    // fn(data) on `threads` threads, the caller's included; returns when all are done.
    void (*parallel)(void (*fn)(void*), void* data, unsigned threads, unsigned flags);
    int (*thread_num)();   // of the calling thread, from 0
    int (*max_threads)();  // that the next parallel region has
};

// The runtime that torch is linked with, if it is worth joining and the calling thread leads its threads:
// that is the first thread of a process (every other one would start more threads) that is no fork of another
// (its threads would be missing, and a job would wait for them forever). Null otherwise, where
// OMP_WAIT_POLICY puts idle threads to sleep at once, and without torch or GNU's runtime.
const OpenMp* torch_openmp();

}  // namespace lvm
