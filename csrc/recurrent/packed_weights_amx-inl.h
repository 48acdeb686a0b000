// The products of packed_weights.h on the tile unit (AMX), sixteen vectors at a time: from kMany vectors on.
// The rest is AVX-512's. Included by the file of its level.
#pragma once

#include "recurrent/packed_weights.h"
#include "simd/amx_tiles.h"
#include "simd/vec_avx512.h"

namespace lvm::amx::packed_weights {
namespace {

constexpr int64_t kOutputs = 3 * W, kRows = 16;

// Of the upper and the lower digits, of two vectors of outputs.
struct Sums {
    alignas(64) int32_t upper[2][kRows][W];
    alignas(64) int32_t lower[2][kRows][W];
};

// Sixteen vectors with the outputs of two of a block's thirds: tiles 0-1 and 2-3 hold the sums of the upper
// and the lower digits, 4 and 5 these digits, 6 and 7 the weights.
template <Format kFormat>
void multiply(const int8_t* first, const int8_t* second, int64_t chunks, const uint8_t* digits, int64_t lower,
              int64_t stride, Sums& sums) {
    constexpr int64_t kBetween = 3 * kTileRowBytes;  // from one step of the weights to the next
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t chunk = 0; chunk < chunks; ++chunk, digits += kTileRowBytes) {
        const int64_t offset = chunk * kRows * kBetween;
        _tile_loadd(4, digits, stride);
        _tile_loadd(6, first + offset, kBetween);
        _tile_loadd(7, second + offset, kBetween);
        _tile_loadd(5, digits + lower, stride);
        if constexpr (kFormat == Format::int8) {
            _tile_dpbusd(0, 4, 6);
            _tile_dpbusd(1, 4, 7);
            _tile_dpbusd(2, 5, 6);
            _tile_dpbusd(3, 5, 7);
        } else {
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, sums.upper[0], kTileRowBytes);
    _tile_stored(1, sums.upper[1], kTileRowBytes);
    _tile_stored(2, sums.lower[0], kTileRowBytes);
    _tile_stored(3, sums.lower[1], kTileRowBytes);
}

// The results for one vector of outputs, the `at`-th of all, from its sums in a Sums.
template <Format kFormat>
void write(const PackedMatrix& matrix, const Codes& codes, const int32_t (*uppers)[W],
           const int32_t (*lowers)[W], int64_t row, int64_t rows, int64_t at, float* out) {
    constexpr bool kInts = kFormat == Format::int8;
    const __m512 bias = _mm512_loadu_ps(matrix.bias + at);
    const __m512 scales = kInts ? _mm512_loadu_ps(matrix.scales + at) : bias;
    const __m512i starts = kInts ? _mm512_loadu_si512(matrix.starts + at) : __m512i{};
    for (int64_t r = 0; r < rows; ++r) {
        const __m512i upper = _mm512_load_si512(uppers[r]), lower = _mm512_load_si512(lowers[r]);
        __m512 result;
        if constexpr (kInts) {
            const __m512 upper_sum = _mm512_cvtepi32_ps(_mm512_add_epi32(upper, starts));
            const __m512 sum = _mm512_fmadd_ps(upper_sum, _mm512_set1_ps(128), _mm512_cvtepi32_ps(lower));
            const __m512 scale = _mm512_mul_ps(scales, _mm512_set1_ps(codes.scales[row + r]));
            result = _mm512_fmadd_ps(scale, sum, bias);
        } else {
            const __m512 sum = _mm512_add_ps(_mm512_castsi512_ps(upper), _mm512_castsi512_ps(lower));
            result = _mm512_add_ps(sum, bias);
        }
        _mm512_storeu_ps(out + (row + r) * matrix.outputs + at, result);
    }
}

template <Format kFormat>
void product(const PackedMatrix& matrix, const Codes& codes, int64_t rows, int64_t first, int64_t last,
             float* out) {
    constexpr int64_t kElement = kFormat == Format::int8 ? 1 : 2;
    const TileShape shape;
    Sums sums;
    const int64_t row_bytes = matrix.depth * kElement;
    const auto third = [&](int64_t i) {
        return matrix.weights + i / 3 * kOutputs * row_bytes + i % 3 * kTileRowBytes;
    };
    for (int64_t i = 3 * first; i < 3 * last; i += 2) {
        const int64_t next = i + 1 < 3 * last ? i + 1 : i;
        for (int64_t row = 0; row < rows; row += kRows) {
            const int64_t members = rows - row < kRows ? rows - row : kRows;
            multiply<kFormat>(third(i), third(next), row_bytes / kTileRowBytes,
                              codes.data + row * codes.bytes, row_bytes, codes.bytes, sums);
            write<kFormat>(matrix, codes, sums.upper[0], sums.lower[0], row, members, i * W, out);
            write<kFormat>(matrix, codes, sums.upper[1], sums.lower[1], row, members, next * W, out);
        }
    }
}

// Each number as the sum of two bfloat16 numbers: all upper ones, then all lower ones.
float split_bf16(const float* x, int64_t count, int64_t depth, uint8_t* codes) {
    BF16* upper = reinterpret_cast<BF16*>(codes);
    BF16* lower = upper + depth;
    for (int64_t i = 0; i < depth; i += W) {  // the depth is a multiple of it
        const int64_t left = count - i < 0 ? 0 : count - i < W ? count - i : W;
        const Vec number{_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << left) - 1), x + i)};
        store(upper + i, number);
        store(lower + i, sub(number, load(upper + i)));
    }
    return 1;
}

PackedKernels make_table() {
    PackedKernels kernels = PackedKernels::table<Level::avx512>();
    FormatKernels& int8 = kernels.formats[static_cast<int>(Format::int8)];
    int8.depth_multiple = kTileRowBytes;
    int8.many = product<Format::int8>;
    FormatKernels& bfloat16 = kernels.formats[static_cast<int>(Format::bfloat16)];
    bfloat16.depth_multiple = kTileRowBytes / 2;
    bfloat16.prepare_many = split_bf16;
    bfloat16.many = product<Format::bfloat16>;
    return kernels;
}

}  // namespace
}  // namespace lvm::amx::packed_weights

template <>
const lvm::PackedKernels& lvm::PackedKernels::table<lvm::Level::amx>() {
    static const PackedKernels kernels = amx::packed_weights::make_table();
    return kernels;
}
