// Keeps a product apart from the sum that takes it.
#pragma once

namespace lvm {

// x (float64, or a vector of them) rounded as it stands: no compiler merges it into a fused multiply-add, so
// that all instruction sets give the same sum.
template <class T>
[[gnu::always_inline]] inline T rounded_here(T x) {
#if defined(__x86_64__)
    __asm__("" : "+x"(x));
#elif defined(__aarch64__)
    __asm__("" : "+w"(x));
#else
    __asm__("" : "+m"(x));
#endif
    return x;
}

}  // namespace lvm
