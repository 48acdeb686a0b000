// Dropout whose mask is a function of a seed, so that the backward pass draws it again and nothing is kept.
#pragma once

#include <cstdint>

#include "core/views.h"

namespace lvm {

// out[i] = x[i] / (1 - p) or 0, with probability p each, `p` rounded to a whole 65,536th. The type is
// float32 or bfloat16; out may be x. Number i is dropped or kept whatever the type, the level and the
// threads.
void dropout(const void* x, DType dtype, int64_t count, double p, uint64_t seed, void* out);

}  // namespace lvm
