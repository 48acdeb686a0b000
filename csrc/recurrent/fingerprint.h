// A number that says whether weights are still what they were: 64 bits over all of their bytes, read at the
// speed of memory by all threads.
#pragma once

#include <cstdint>
#include <vector>

namespace lvm {

struct Span {
    const uint8_t* data;
    int64_t bytes;
};

// The fingerprint of spans in this order. A change of a single 32-bit word always changes it; other changes
// keep it with a chance of 2^-64. It is no defence against someone who looks for such a change, and differs
// from one level to the next.
uint64_t fingerprint(const std::vector<Span>& spans);

}  // namespace lvm
