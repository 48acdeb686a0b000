// The packed form of vectors that screening reads: two planes of int8 codes, and bounds of what they leave
// out.
//
// row = scale * (coarse + fine / 254) + rest, with whole numbers coarse and fine from -127 to 127. A plane
// lies in tiles: 16 rows x 64 dimensions, 1,024 bytes one after another, so that every instruction set's
// product reads whole cache lines: [row / 16][dimension / 64][row % 16][dimension % 64], missing dimensions
// zero.
#pragma once

#include <cstdint>

namespace lvm {

constexpr int64_t kTileRows = 16, kTileDims = 64, kTileBytes = kTileRows * kTileDims;
constexpr float kFineSteps = 254;  // of one coarse step: fine codes reach half a coarse step either way

[[gnu::always_inline]] inline int64_t chunks_of(int64_t dim) { return (dim + kTileDims - 1) / kTileDims; }

// Upper bounds, in Euclidean norm. A row whose magnitudes the codes cannot follow (beyond 1e15, below 1e-15)
// has codes of zero and infinite bounds: every pair with it is scored exactly.
struct CodeBounds {
    float scale;
    float norm;         // ||row||
    float coarse_rest;  // ||row - scale * coarse||
    float fine_rest;    // ||row - scale * (coarse + fine / 254)||
    float coarse_sum;   // the sum of the codes, exactly: for products of unsigned with signed bytes
    float fine_sum;
};

// Where a row's codes are: its first 64 bytes; the next ones follow kTileBytes later.
[[gnu::always_inline]] inline int64_t code_offset(int64_t row, int64_t chunks) {
    return row / kTileRows * chunks * kTileBytes + row % kTileRows * kTileDims;
}

}  // namespace lvm
