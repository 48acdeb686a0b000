// The matrix product of one instruction set: a few rows times packed columns, float32, a tile of sums in
// registers at a time. Included by the file of each level, after its Vec.
#pragma once

#include <cstring>

#include "gemm/gemm.h"

namespace lvm::LVM_LEVEL::gemm {
namespace {

constexpr int R = kSumRows, V = kSumVectors;

template <int kRows>
void tile(const float* a, int64_t depth, const float* panel, int64_t columns, float* out,
          int64_t out_stride) {
    Vec sums[kRows][V];
    for (int r = 0; r < kRows; ++r) {
        for (int v = 0; v < V; ++v) sums[r][v] = set1(0);
    }
    for (int64_t d = 0; d < depth; ++d, panel += V * W) {
        Vec b[V];
        for (int v = 0; v < V; ++v) b[v] = load(panel + v * W);
        for (int r = 0; r < kRows; ++r) {
            const Vec x = set1(a[r * depth + d]);
            for (int v = 0; v < V; ++v) sums[r][v] = fma(x, b[v], sums[r][v]);
        }
    }
    for (int r = 0; r < kRows; ++r) {
        float row[V * W];
        for (int v = 0; v < V; ++v) store(row + v * W, sums[r][v]);
        std::memcpy(out + r * out_stride, row, static_cast<size_t>(columns) * sizeof(float));
    }
}

using Tile = void (*)(const float*, int64_t, const float*, int64_t, float*, int64_t);
constexpr Tile kTiles[] = {nullptr, tile<1>, tile<2>, tile<3>, tile<4>, tile<5>, tile<6>, tile<7>, tile<8>};

void product(const float* a, int64_t rows, int64_t depth, const float* panels, int64_t columns, float* out,
             int64_t out_stride) {
    for (int64_t c = 0; c < columns; c += V * W, panels += depth * V * W) {
        const int64_t width = columns - c < V * W ? columns - c : V * W;
        for (int64_t r = 0; r < rows; r += R) {
            const int64_t members = rows - r < R ? rows - r : R;
            kTiles[members](a + r * depth, depth, panels, width, out + r * out_stride + c, out_stride);
        }
    }
}

}  // namespace
}  // namespace lvm::LVM_LEVEL::gemm

template <>
const lvm::GemmKernels& lvm::GemmKernels::table<lvm::Level::LVM_LEVEL>() {
    static constexpr GemmKernels kernels{LVM_LEVEL::gemm::V * LVM_LEVEL::W, LVM_LEVEL::gemm::product};
    return kernels;
}
