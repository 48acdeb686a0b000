// Operands of bf16_tiles.h made of plain float32 or bfloat16 matrices: rows and columns transposed into tiles
// of pairs, by AVX-512 with bfloat16 conversions.
#pragma once

#include <immintrin.h>

#include "gemm/bf16_tiles.h"

namespace lvm::avx512bf16::bf16_pack {
namespace {

using namespace lvm::bf16;

__mmask16 first_lanes(int64_t count) {
    return count >= 16  ? __mmask16{0xffff}
           : count <= 0 ? __mmask16{0}
                        : static_cast<__mmask16>((1u << count) - 1);
}

// Numbers [first, first + 32) of a row as bfloat16, zero from `width` on.
__m512i line(const void* row, bool is_bf16, int64_t first, int64_t width) {
    const __mmask16 low = first_lanes(width - first), high = first_lanes(width - first - 16);
    if (is_bf16) {
        const __mmask32 lanes = static_cast<__mmask32>(low) | static_cast<__mmask32>(high) << 16;
        return _mm512_maskz_loadu_epi16(lanes, static_cast<const BF16*>(row) + first);
    }
    const float* numbers = static_cast<const float*>(row) + first;
    const __m512 a = _mm512_maskz_loadu_ps(low, numbers), b = _mm512_maskz_loadu_ps(high, numbers + 16);
    return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(b, a));
}

// Sixteen lines of sixteen pairs, transposed.
void transpose(__m512i* lines) {
    __m512i a[16];
    for (int i = 0; i < 16; i += 2) {
        a[i] = _mm512_unpacklo_epi32(lines[i], lines[i + 1]);
        a[i + 1] = _mm512_unpackhi_epi32(lines[i], lines[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        lines[i] = _mm512_unpacklo_epi64(a[i], a[i + 2]);
        lines[i + 1] = _mm512_unpackhi_epi64(a[i], a[i + 2]);
        lines[i + 2] = _mm512_unpacklo_epi64(a[i + 1], a[i + 3]);
        lines[i + 3] = _mm512_unpackhi_epi64(a[i + 1], a[i + 3]);
    }
    for (int i = 0; i < 16; i += 8) {
        for (int j = 0; j < 4; ++j) {
            a[i + j] = _mm512_shuffle_i32x4(lines[i + j], lines[i + j + 4], 0x88);
            a[i + j + 4] = _mm512_shuffle_i32x4(lines[i + j], lines[i + j + 4], 0xdd);
        }
    }
    for (int j = 0; j < 8; ++j) {
        lines[j] = _mm512_shuffle_i32x4(a[j], a[j + 8], 0x88);
        lines[j + 8] = _mm512_shuffle_i32x4(a[j], a[j + 8], 0xdd);
    }
}

alignas(64) constexpr int16_t kPairs[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                            8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};

// Sixteen numbers of two rows from `first`, pair by pair.
__m512i pairs(const void* upper, const void* lower, bool is_bf16, int64_t first, int64_t width) {
    const __mmask16 lanes = first_lanes(width - first), below = lower ? lanes : __mmask16{0};
    if (is_bf16) {
        const __m256i a = _mm256_maskz_loadu_epi16(lanes, static_cast<const BF16*>(upper) + first);
        const __m256i b = lower ? _mm256_maskz_loadu_epi16(below, static_cast<const BF16*>(lower) + first)
                                : _mm256_setzero_si256();
        return _mm512_permutexvar_epi16(_mm512_load_si512(kPairs),
                                        _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1));
    }
    const __m512 a = _mm512_maskz_loadu_ps(lanes, static_cast<const float*>(upper) + first);
    const __m512 b =
        lower ? _mm512_maskz_loadu_ps(below, static_cast<const float*>(lower) + first) : _mm512_setzero_ps();
    return _mm512_permutexvar_epi16(_mm512_load_si512(kPairs),
                                    reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(b, a)));
}

void pack_rows(const RowList& matrix, int64_t depth, BF16* tiles, int64_t step) {
    for (int64_t first = 0; first < depth; first += kTileDepth, tiles += step) {
        __m512i lines[16];
        for (int64_t j = 0; j < 16; ++j) {
            lines[j] = j < matrix.count ? line(matrix.rows[j], matrix.is_bf16, first, depth)
                                        : _mm512_setzero_si512();
        }
        transpose(lines);
        for (int64_t j = 0; j < 16; ++j) _mm512_storeu_si512(tiles + j * kTileDepth, lines[j]);
    }
}

void pack_columns(const RowList& matrix, int64_t first, int64_t width, BF16* tiles, int64_t step) {
    for (int64_t top = 0; top < matrix.count; top += kTileDepth, tiles += step) {
        for (int64_t pair = 0; pair < 16; ++pair) {
            const int64_t row = top + 2 * pair;
            const void* upper = row < matrix.count ? matrix.rows[row] : nullptr;
            const void* lower = row + 1 < matrix.count ? matrix.rows[row + 1] : nullptr;
            _mm512_storeu_si512(
                tiles + pair * kTileDepth,
                upper ? pairs(upper, lower, matrix.is_bf16, first, width) : _mm512_setzero_si512());
        }
    }
}

void pack_left(const RowList& matrix, int64_t width, int64_t padded, BF16* out) {
    for (int64_t row = 0; row < matrix.count; ++row, out += padded) {
        for (int64_t first = 0; first < padded; first += kTileDepth) {
            _mm512_storeu_si512(out + first, line(matrix.rows[row], matrix.is_bf16, first, width));
        }
    }
}

void pack_left_transposed(const BF16* matrix, int64_t count, int64_t stride, BF16* tiles, int64_t step) {
    for (int64_t top = 0; top < count; top += kTileDepth, tiles += step) {
        __m512i lines[16];
        for (int64_t pair = 0; pair < 16; ++pair) {
            const int64_t row = top + 2 * pair;
            const BF16* upper = matrix + row * stride;
            lines[pair] = row < count ? pairs(upper, row + 1 < count ? upper + stride : nullptr, true, 0, 16)
                                      : _mm512_setzero_si512();
        }
        transpose(lines);
        for (int64_t j = 0; j < 16; ++j) _mm512_storeu_si512(tiles + j * kTileDepth, lines[j]);
    }
}

}  // namespace
}  // namespace lvm::avx512bf16::bf16_pack

template <>
const lvm::bf16::Bf16PackKernels& lvm::bf16::Bf16PackKernels::table<lvm::Level::avx512bf16>() {
    namespace level = avx512bf16::bf16_pack;
    static constexpr Bf16PackKernels kernels{level::pack_rows, level::pack_columns, level::pack_left,
                                             level::pack_left_transposed};
    return kernels;
}
