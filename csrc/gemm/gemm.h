// Small float32 matrix products, for the shapes that occur here: few rows against packed columns.
#pragma once

#include <cstdint>

#include "core/aligned_buffer.h"
#include "runtime/level.h"

namespace lvm {

struct GemmKernels {
    static constexpr bool has(Level) { return false; }  // no more than every table has
    template <Level>
    static const GemmKernels& table();

    int64_t panel_width;  // columns of a packed panel

    // out[r][c] = sum over d of a[r][d] * b[d][c], for `columns` columns packed as panels [column /
    // width][depth][width]. a: [rows][depth].
    void (*product)(const float* a, int64_t rows, int64_t depth, const float* panels, int64_t columns,
                    float* out, int64_t out_stride);
};

template <>
const GemmKernels& GemmKernels::table<Level::scalar>();
template <>
const GemmKernels& GemmKernels::table<Level::neon>();
template <>
const GemmKernels& GemmKernels::table<Level::avx2>();
template <>
const GemmKernels& GemmKernels::table<Level::avx512>();

// b[d][c] = matrix[d * row_step + c * column_step], packed for GemmKernels::product of the level in force;
// missing columns are zero.
AlignedBuffer<float> gemm_panels(const float* matrix, int64_t depth, int64_t columns, int64_t row_step,
                                 int64_t column_step);

}  // namespace lvm
