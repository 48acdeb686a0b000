// How threads share out the recurrence of gru_bf16.h.
#pragma once

#include <algorithm>
#include <cstdint>

#include "recurrent/gru_bf16_kernels.h"
#include "runtime/thread_pool.h"

namespace lvm::bf16 {

// Each has some units of some sequences, and so its part of the weights in its own cache. All meet after
// every step.
class Partition {
  public:
    Partition(int64_t batch, int64_t padded) : batch_(batch), blocks_(padded / kUnits) {
        const int64_t threads = num_threads();
        members_ = std::min(threads, blocks_);
        teams_ = std::clamp(threads / members_, int64_t{1},
                            std::max(int64_t{1}, (batch + kSequences - 1) / kSequences));
    }

    int count() const { return static_cast<int>(members_ * teams_); }
    int64_t teams() const { return teams_; }

    struct Part {
        int64_t team, first_sequence, sequences, first_unit, last_unit;
    };
    Part part(int share) const {
        const int64_t team = share / members_, member = share % members_;
        const int64_t first = batch_ * team / teams_, last = batch_ * (team + 1) / teams_;
        return {team, first, last - first, blocks_ * member / members_ * kUnits,
                blocks_ * (member + 1) / members_ * kUnits};
    }

  private:
    int64_t batch_, blocks_, members_, teams_;
};

// Calls body(first, count) for the sequences of a part, as many as a step takes at once.
template <class Body>
void over_sequences(const Partition::Part& part, const Body& body) {
    for (int64_t first = 0; first < part.sequences; first += kSequences) {
        body(part.first_sequence + first, std::min(kSequences, part.sequences - first));
    }
}

}  // namespace lvm::bf16
