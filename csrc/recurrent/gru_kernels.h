// What each instruction set provides to gru.cpp.
#pragma once

#include <cstdint>

namespace lvm {

struct GruKernels {
    int64_t panel_width;  // columns of a packed panel

    // out[r][c] = sum over d of a[r][d] * b[d][c], for `columns` columns packed as panels [column /
    // width][depth][width].
    void (*product)(const float* a, int64_t rows, int64_t depth, const float* panels, int64_t columns,
                    float* out, int64_t out_stride);

    // One sequence, one step. x, products, bias, gates: [3H]; state, candidate, next: [H].
    void (*step)(const float* x, const float* products, const float* bias, const float* state, int64_t hidden,
                 float* gates, float* candidate, float* next);

    // Its gradient: from grad [H] of the next state to grad_x, grad_products [3H] and, through z alone, carry
    // [H].
    void (*step_backward)(const float* grad, const float* gates, const float* candidate, const float* state,
                          int64_t hidden, float* grad_x, float* grad_products, float* carry);
};

namespace scalar {
extern const GruKernels gru_kernels;
}
namespace neon {
extern const GruKernels gru_kernels;
}
namespace avx2 {
extern const GruKernels gru_kernels;
}
namespace avx512 {
extern const GruKernels gru_kernels;
}

}  // namespace lvm
