// The number formats that vectors are stored in: float32 and float64, float16 (f16), bfloat16 (bf16), and
// int8 with a scale a row.
#pragma once

#include <cstdint>

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

struct F16 {
    uint16_t bits;
};
struct BF16 {
    uint16_t bits;
};

}  // namespace lvm
