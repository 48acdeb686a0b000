// The inner loops of the tile unit. Four or five registers at work, not all eight: with all of them some
// machines take twice as long an instruction. For files compiled for the tile unit; inside namespace
// lvm::amx.
#pragma once

#include <immintrin.h>

#include "gemm/half_tiles.h"
#include "simd/tile_shape.h"

namespace lvm::amx {
namespace {

constexpr int kLine = 64;  // bytes of a tile row

struct Left {
    const BHalf *upper, *lower;  // two tile rows
    int64_t row_bytes, step;     // numbers from one tile to the next
};

// Registers 0 and 1 += two tile rows times one tile column. kAlike: both have as many rows, and can share a
// register.
template <bool kAlike>
void sum_two_rows(Left left, const BHalf* right, int64_t tiles) {
    for (int64_t k = 0; k < tiles; ++k, left.upper += left.step, left.lower += left.step, right += kTile) {
        _tile_loadd(7, right, kLine);
        _tile_loadd(4, left.upper, left.row_bytes);
        _tile_dpbf16ps(0, 4, 7);
        if constexpr (kAlike) {
            _tile_loadd(4, left.lower, left.row_bytes);
            _tile_dpbf16ps(1, 4, 7);
        } else {
            _tile_loadd(5, left.lower, left.row_bytes);
            _tile_dpbf16ps(1, 5, 7);
        }
    }
}

// Registers 0 and 1 += one tile row times two tile columns.
inline void sum_two_columns(Left left, const BHalf* right, const BHalf* right2, int64_t tiles) {
    for (int64_t k = 0; k < tiles; ++k, left.upper += left.step, right += kTile, right2 += kTile) {
        _tile_loadd(4, left.upper, left.row_bytes);
        _tile_loadd(7, right, kLine);
        _tile_dpbf16ps(0, 4, 7);
        _tile_loadd(7, right2, kLine);
        _tile_dpbf16ps(1, 4, 7);
    }
}

inline void load_sums(const float* first, const float* second, int64_t row_bytes) {
    _tile_loadd(0, first, row_bytes);
    _tile_loadd(1, second, row_bytes);
}

inline void zero_sums() {
    _tile_zero(0);
    _tile_zero(1);
}

inline void store_sums(float* first, float* second, int64_t row_bytes) {
    _tile_stored(0, first, row_bytes);
    _tile_stored(1, second, row_bytes);
}

}  // namespace
}  // namespace lvm::amx
