// The sequences that a recurrent layer reads, and the order in which its steps are taken.
#pragma once

#include <cstdint>

namespace lvm {

// Gradients of states nearer to zero than this are taken for zero, as they become after some hundred steps
// back: denormal numbers would make all that follows, the caller's products too, a hundred times slower.
constexpr float kLeastGradient = 0x1p-96f;

// N steps of B sequences, H units. Of N + 1 states, the initial one is the first, or the last in reverse.
struct RecurrentShape {
    int64_t steps, batch, hidden;
    // [B], non-increasing, each at most N: a sequence rests beyond its length, at no cost but a copy of its
    // state; null for N everywhere.
    const int64_t* lengths = nullptr;
    bool reverse = false;  // from each sequence's last step to its first

    // How many of `count` sequences from `first` have a step t.
    int64_t active(int64_t t, int64_t first, int64_t count) const {
        while (lengths && count > 0 && lengths[first + count - 1] <= t) --count;
        return count;
    }
    // The step that is taken as the k-th, and the states before and after it.
    int64_t step(int64_t k) const { return reverse ? steps - 1 - k : k; }
    int64_t before(int64_t t) const { return reverse ? t + 1 : t; }
    int64_t after(int64_t t) const { return reverse ? t : t + 1; }
};

}  // namespace lvm
