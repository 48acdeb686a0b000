// The sums of bf16_tiles.h on the tile unit (AMX), which adds 16 x 16 sums of 32 products an instruction.
// Four or five registers at work, not all eight: with all of them some machines take twice as long an
// instruction.
#pragma once

#include <immintrin.h>

#include "gemm/bf16_tiles.h"
#include "simd/amx_tiles.h"

namespace lvm::amx::bf16_tiles {
namespace {

using namespace lvm::bf16;

// The unit's registers for sums of up to this many rows, while it lives. With at most 16 rows both sums are
// of the upper tile row.
class SumsOf {
  public:
    explicit SumsOf(int64_t rows)
        : shape_(rows < kTileSide ? rows : kTileSide, rows <= kTileSide ? rows : rows - kTileSide) {}

  private:
    TileShape shape_;
};

// Registers 0 and 1 += two tile rows times one tile column. kAlike: both have as many rows, and can share a
// register.
template <bool kAlike>
void sum_two_rows(const TileSums& s, const BF16* right) {
    const BF16 *upper = s.left, *lower = s.lower;
    const int64_t row_bytes = s.left_stride * 2;
    for (int64_t k = 0; k < s.tiles; ++k, upper += s.left_step, lower += s.left_step, right += kTile) {
        _tile_loadd(7, right, kTileRowBytes);
        _tile_loadd(4, upper, row_bytes);
        _tile_dpbf16ps(0, 4, 7);
        if constexpr (kAlike) {
            _tile_loadd(4, lower, row_bytes);
            _tile_dpbf16ps(1, 4, 7);
        } else {
            _tile_loadd(5, lower, row_bytes);
            _tile_dpbf16ps(1, 5, 7);
        }
    }
}

// Registers 0 and 1 += one tile row times two tile columns.
void sum_two_columns(const TileSums& s) {
    const BF16 *left = s.left, *right = s.right, *right2 = s.right2;
    for (int64_t k = 0; k < s.tiles; ++k, left += s.left_step, right += kTile, right2 += kTile) {
        _tile_loadd(4, left, s.left_stride * 2);
        _tile_loadd(7, right, kTileRowBytes);
        _tile_dpbf16ps(0, 4, 7);
        _tile_loadd(7, right2, kTileRowBytes);
        _tile_dpbf16ps(1, 4, 7);
    }
}

// Registers 0 and 1 as they begin, and where they end.
void begin_sums(const TileSums& s, const float* first, const float* second) {
    if (s.add) {
        _tile_loadd(0, first, s.out_stride * 4);
        _tile_loadd(1, second, s.out_stride * 4);
    } else {
        _tile_zero(0);
        _tile_zero(1);
    }
}

void store_sums(const TileSums& s, float* first, float* second) {
    _tile_stored(0, first, s.out_stride * 4);
    _tile_stored(1, second, s.out_stride * 4);
}

void sum_tiles(const TileSums& s) {
    if (s.rows <= kTileSide) {
        begin_sums(s, s.out, s.out2);
        sum_two_columns(s);
        return store_sums(s, s.out, s.out2);
    }
    for (int column = 0; column < 2; ++column) {
        float* out = column ? s.out2 : s.out;
        float* below = out + kTileSide * s.out_stride;
        begin_sums(s, out, below);
        if (s.rows == kLeftRows) {
            sum_two_rows<true>(s, column ? s.right2 : s.right);
        } else {
            sum_two_rows<false>(s, column ? s.right2 : s.right);
        }
        store_sums(s, out, below);
    }
}

}  // namespace
}  // namespace lvm::amx::bf16_tiles
