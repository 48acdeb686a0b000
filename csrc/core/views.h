// Views of rows in memory that the caller keeps alive.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/number_formats.h"

namespace lvm {

// `rows` rows of `dim` elements; row i starts `i * stride` elements after `data` (any alignment, stride may
// be negative).
struct Rows {
    const void* data = nullptr;
    DType dtype = DType::float32;
    int64_t rows = 0;
    int64_t dim = 0;
    int64_t stride = 0;
    const float* scales = nullptr;  // int8 only: the value is element * scales[row], rounded to float32

    template <class T>
    [[gnu::always_inline]] const T* row(int64_t i) const {
        return static_cast<const T*>(data) + i * stride;
    }
};

struct MutableRows {
    void* data = nullptr;  // contiguous
    int64_t rows = 0;
    int64_t dim = 0;

    template <class T>
    [[gnu::always_inline]] T* row(int64_t i) const {
        return static_cast<T*>(data) + i * dim;
    }
};

template <class T>
[[gnu::always_inline]] inline T load_unaligned(const T* p) {
    T value;
    std::memcpy(&value, p, sizeof(T));
    return value;
}

}  // namespace lvm
