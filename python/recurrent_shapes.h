// The sizes of recurrent layers, read off their arrays.
#pragma once

#include <cstdint>
#include <optional>

#include "array_view.h"
#include "recurrent/recurrent_shape.h"

namespace lvm::python {

using Lengths = std::optional<ArrayView>;

// N steps of B sequences of `array` (N, B, ...).
inline RecurrentShape shape_of(const ArrayView& array, int64_t hidden, const Lengths& lengths,
                               const char* name, bool reverse = false) {
    array.expect_dims(name, 3);
    const int64_t batch = array.size(1);
    return {array.size(0), batch, hidden, lengths ? lengths->numbers<int64_t>("lengths", {batch}) : nullptr,
            reverse};
}

inline int64_t hidden_of(const ArrayView& weight, const char* name) {
    weight.expect_dims(name, 2);
    return weight.size(1);
}

}  // namespace lvm::python
