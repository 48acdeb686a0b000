// The products of bf16_tiles.h of one instruction set, blocked for the first cache. Included by the file of
// each level (LVM_LEVEL), after its sums (bf16_sums_<level>-inl.h).
#pragma once

#include <immintrin.h>

#include "gemm/bf16_tiles.h"

namespace lvm::LVM_LEVEL::bf16_tiles {
namespace {

void store_row(const float* sums, __m512 bias, void* out, bool is_bf16) {
    const __m512 row = _mm512_add_ps(_mm512_load_ps(sums), bias);
    if (is_bf16) {
        _mm256_storeu_si256(static_cast<__m256i*>(out), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(row)));
    } else {
        _mm512_storeu_ps(out, row);
    }
}

int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// Whole tiles of depth that stay in the first cache, with as little as possible in the last share.
int64_t inner_tiles(int64_t tiles) {
    constexpr int64_t kMost = 16;
    const int64_t shares = (tiles + kMost - 1) / kMost;
    return shares ? (tiles + shares - 1) / shares : 1;
}

void multiply(const WideProduct& product) {
    const SumsOf unit(kLeftRows);
    const int64_t tiles = product.depth / kTileDepth, inner = inner_tiles(tiles), column = tiles * kTile;
    const BF16* lower = product.left + kTileSide * product.left_stride;
    alignas(64) float sums[kMostColumns * kLeftRows];
    for (int64_t tile = 0; tile < tiles; tile += inner) {
        const BF16* right = product.right + tile * kTile;
        float* out = sums;
        for (int64_t c = 0; c < product.columns; c += kPairColumns, right += 2 * column) {
            sum_tiles({.rows = kLeftRows,
                       .left = product.left + tile * kTileDepth,
                       .lower = lower + tile * kTileDepth,
                       .left_stride = product.left_stride,
                       .left_step = kTileDepth,
                       .tiles = least(inner, tiles - tile),
                       .right = right,
                       .right2 = right + column,
                       .out = out,
                       .out2 = out + kLeftRows * kTileSide,
                       .out_stride = kTileSide,
                       .add = tile > 0});
            out += kLeftRows * kPairColumns;
        }
    }
    const int64_t number = product.out_is_bf16 ? 2 : 4;
    for (int64_t c = 0; c < product.columns; c += kTileSide) {
        const __m512 bias = product.bias ? _mm512_loadu_ps(product.bias + c) : _mm512_setzero_ps();
        for (int64_t row = 0; row < product.rows; ++row) {
            store_row(sums + c * kLeftRows + row * kTileSide, bias, product.out[row] + c * number,
                      product.out_is_bf16);
        }
    }
}

void multiply_tiles(const BF16* left, const BF16* right, int64_t tiles, int64_t columns, float* out,
                    int64_t stride, bool add) {
    const SumsOf unit(kLeftRows);
    const int64_t inner = inner_tiles(tiles), column = tiles * kTile;
    for (int64_t tile = 0; tile < tiles; tile += inner) {
        const BF16 *first = left + 2 * tile * kTile, *from = right + tile * kTile;
        for (int64_t c = 0; c < columns; c += kPairColumns, from += 2 * column) {
            sum_tiles({.rows = kLeftRows,
                       .left = first,
                       .lower = first + kTile,
                       .left_stride = kTileDepth,
                       .left_step = 2 * kTile,
                       .tiles = least(inner, tiles - tile),
                       .right = from,
                       .right2 = from + column,
                       .out = out + c,
                       .out2 = out + c + kTileSide,
                       .out_stride = stride,
                       .add = add || tile > 0});
        }
    }
}

}  // namespace
}  // namespace lvm::LVM_LEVEL::bf16_tiles
