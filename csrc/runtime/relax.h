// What a thread does between two looks at something it waits for.
#pragma once

namespace lvm {

inline void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

}  // namespace lvm
