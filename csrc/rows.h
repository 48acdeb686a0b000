// A read-only matrix of stored rows, and the four number formats that rows come in.
#pragma once

#include <cstdint>
#include <cstring>

namespace lvm {

enum class DType { float32, float16, bfloat16, float64, int8 };

[[gnu::always_inline]] inline int64_t bytes_of(DType dtype) {
    switch (dtype) {
        case DType::float64:
            return 8;
        case DType::float32:
            return 4;
        case DType::int8:
            return 1;
        default:
            return 2;
    }
}

struct Half {
    uint16_t bits;
};
struct BHalf {
    uint16_t bits;
};

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
