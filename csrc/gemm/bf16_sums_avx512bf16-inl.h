// The sums of bf16_tiles.h by AVX-512's bfloat16 products: sixteen sums of two products an instruction. Eight
// rows of two tile columns keep sixteen sums in registers, enough to hide the instruction's latency.
#pragma once

#include <immintrin.h>

#include <cstring>

#include "gemm/bf16_tiles.h"

namespace lvm::avx512bf16::bf16_tiles {
namespace {

using namespace lvm::bf16;

// Nothing to set up.
struct SumsOf {
    explicit SumsOf(int64_t) {}
};

__m512 pair_everywhere(const BF16* p) {
    int32_t pair;
    std::memcpy(&pair, p, sizeof(pair));
    return reinterpret_cast<__m512>(_mm512_set1_epi32(pair));
}

// Not the intrinsic: GCC copies every sum to and fro around it in a loop.
__m512 add_products(__m512 sums, __m512 left, __m512 right) {
    asm("vdpbf16ps %2, %1, %0" : "+v"(sums) : "v"(left), "v"(right));
    return sums;
}

template <int kRows>
void sum_rows(const TileSums& s, const BF16* left, int64_t first_row) {
    float *out = s.out + first_row * s.out_stride, *out2 = s.out2 + first_row * s.out_stride;
    __m512 sums[kRows][2];
    for (int r = 0; r < kRows; ++r) {
        sums[r][0] = s.add ? _mm512_loadu_ps(out + r * s.out_stride) : _mm512_setzero_ps();
        sums[r][1] = s.add ? _mm512_loadu_ps(out2 + r * s.out_stride) : _mm512_setzero_ps();
    }
    const BF16 *right = s.right, *right2 = s.right2;
    for (int64_t k = 0; k < s.tiles; ++k, left += s.left_step) {
        for (int64_t pair = 0; pair < kTileDepth; pair += 2, right += kTileDepth, right2 += kTileDepth) {
            const __m512 a = _mm512_loadu_ps(right), b = _mm512_loadu_ps(right2);
            for (int r = 0; r < kRows; ++r) {
                const __m512 both = pair_everywhere(left + r * s.left_stride + pair);
                sums[r][0] = add_products(sums[r][0], both, a);
                sums[r][1] = add_products(sums[r][1], both, b);
            }
        }
    }
    for (int r = 0; r < kRows; ++r) {
        _mm512_storeu_ps(out + r * s.out_stride, sums[r][0]);
        _mm512_storeu_ps(out2 + r * s.out_stride, sums[r][1]);
    }
}

constexpr int kMostRows = 8;

void sum_tiles(const TileSums& s) {
    using Rows = void (*)(const TileSums&, const BF16*, int64_t);
    constexpr Rows kRowsOf[kMostRows + 1] = {nullptr,     sum_rows<1>, sum_rows<2>, sum_rows<3>, sum_rows<4>,
                                             sum_rows<5>, sum_rows<6>, sum_rows<7>, sum_rows<8>};
    for (int64_t row = 0; row < s.rows; row += kMostRows) {
        const int64_t rows = s.rows - row < kMostRows ? s.rows - row : kMostRows;
        const BF16* left =
            row < kTileSide ? s.left + row * s.left_stride : s.lower + (row - kTileSide) * s.left_stride;
        kRowsOf[rows](s, left, row);
    }
}

}  // namespace
}  // namespace lvm::avx512bf16::bf16_tiles
