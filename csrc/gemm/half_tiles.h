// Products of bfloat16 matrices with float32 sums on the tile unit (AMX), which adds 16 x 16 sums of 32
// products an instruction. One thread; the caller shares out the work.
//
// A left operand is a plain matrix, taken 32 rows and 32 numbers of depth at a time. A right operand is
// packed into tile columns: 16 columns each, and for every 32 of depth one tile [16 pairs of depth][16
// columns][2].
#pragma once

#include <cstdint>

#include "rows.h"

namespace lvm::amx {

constexpr int64_t kTile = 512;     // numbers of a tile
constexpr int64_t kTileSide = 16;  // rows of a left, columns of a right tile
constexpr int64_t kTileDepth = 32;
constexpr int64_t kTileRows = 32;  // of the left operand of a large product
constexpr int64_t kMostColumns = 512;

// Rows of numbers anywhere in memory, all of one type.
struct RowList {
    const void* const* rows;
    int64_t count;
    bool is_half;  // bfloat16, else float32
};

// The tile column whose column j is matrix row j: for a product with the transposed matrix. Columns beyond
// the rows, and depth beyond `depth`, are zero; `step` numbers from one tile to the next.
void pack_rows(const RowList& matrix, int64_t depth, BHalf* tiles, int64_t step);

// The tile column of the matrix columns [first, first + 16), zero from `width` on; depth is the rows.
void pack_columns(const RowList& matrix, int64_t first, int64_t width, BHalf* tiles, int64_t step);

// The rows as a left operand: [count][padded], zero from `width` on.
void pack_left(const RowList& matrix, int64_t width, int64_t padded, BHalf* out);

// The left operand whose 16 rows are the columns of [count][16] numbers, `stride` apart: tiles [16][32],
// `step` numbers from one to the next.
void pack_left_transposed(const BHalf* matrix, int64_t count, int64_t stride, BHalf* tiles, int64_t step);

// Up to 32 rows of `left` times a packed right operand, plus a bias a column (or null), into `out` rows of
// float32 or bfloat16 numbers. Of the left operand all 32 rows are read.
struct WideProduct {
    const BHalf* left;  // [32][depth], rows `left_stride` apart
    int64_t left_stride, rows, depth;
    const BHalf* right;  // [columns / 16][depth / 32] tiles
    int64_t columns;     // at most kMostColumns
    const float* bias;
    char* const* out;
    bool out_is_half;
};
void multiply(const WideProduct& product);

// The products of 32 rows of tiles (two tile rows, tile by tile in turn) with a packed right operand; `tiles`
// is the depth. out: [32][columns], rows `stride` apart; added to if `add`.
void multiply_tiles(const BHalf* left, const BHalf* right, int64_t tiles, int64_t columns, float* out,
                    int64_t stride, bool add);

}  // namespace lvm::amx
