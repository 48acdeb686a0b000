// Products of bfloat16 matrices with float32 sums. One thread; the caller shares out the work.
//
// A left operand is a plain matrix, taken 32 rows and 32 numbers of depth at a time. A right operand is
// packed into tile columns: 16 columns each, and for every 32 of depth one tile [16 pairs of depth][16
// columns][2].
#pragma once

#include <cstdint>

#include "core/views.h"
#include "runtime/level.h"

namespace lvm::bf16 {

constexpr int64_t kTile = 512;     // numbers of a tile
constexpr int64_t kTileSide = 16;  // rows of a left, columns of a right tile
constexpr int64_t kTileDepth = 32;
constexpr int64_t kLeftRows = 32;  // of the left operand of a large product
constexpr int64_t kPairColumns = 2 * kTileSide;
constexpr int64_t kMostColumns = 512;

// Rows of numbers anywhere in memory, all of one type.
struct RowList {
    const void* const* rows;
    int64_t count;
    bool is_bf16;  // bfloat16, else float32
};

// What makes operands of plain matrices; one table, of AVX-512 with bfloat16, serves every level with such
// products.
struct Bf16PackKernels {
    template <Level>
    static const Bf16PackKernels& table();

    // The tile column whose column j is matrix row j: for a product with the transposed matrix. Columns
    // beyond the rows, and depth beyond `depth`, are zero; `step` numbers from one tile to the next.
    void (*rows)(const RowList& matrix, int64_t depth, BF16* tiles, int64_t step);

    // The tile column of the matrix columns [first, first + 16), zero from `width` on; depth is the rows.
    void (*columns)(const RowList& matrix, int64_t first, int64_t width, BF16* tiles, int64_t step);

    // The rows as a left operand: [count][padded], zero from `width` on.
    void (*left)(const RowList& matrix, int64_t width, int64_t padded, BF16* out);

    // The left operand whose 16 rows are the columns of [count][16] numbers, `stride` apart: tiles [16][32],
    // `step` numbers from one to the next.
    void (*left_transposed)(const BF16* matrix, int64_t count, int64_t stride, BF16* tiles, int64_t step);
};

template <>
const Bf16PackKernels& Bf16PackKernels::table<Level::avx512bf16>();

inline const Bf16PackKernels& bf16_packing() { return Bf16PackKernels::table<Level::avx512bf16>(); }

// Up to 32 rows of a left operand times two tile columns, what every product is made of: `out` of the first,
// `out2` of the second, each [rows][16].
struct TileSums {
    int64_t rows;
    const BF16 *left, *lower;        // rows from 0 to 15, and from 16 on
    int64_t left_stride, left_step;  // numbers from one row to the next, and from one tile to the next
    int64_t tiles;                   // of depth
    const BF16 *right, *right2;
    float *out, *out2;
    int64_t out_stride;
    bool add;  // to what `out` and `out2` hold
};

// Up to 32 rows of `left` times a packed right operand, plus a bias a column (or null), into `out` rows of
// float32 or bfloat16 numbers. Of the left operand all 32 rows are read.
struct WideProduct {
    const BF16* left;  // [32][depth], rows `left_stride` apart
    int64_t left_stride, rows, depth;
    const BF16* right;  // [columns / 16][depth / 32] tiles
    int64_t columns;    // a multiple of kPairColumns, at most kMostColumns
    const float* bias;
    char* const* out;
    bool out_is_bf16;
};

}  // namespace lvm::bf16
