// Products of packed weights with a few vectors (packed_weights.h), for one instruction set. Included by
// packed_weights_<level>-inl.h, after these of its own, in the namespace packed_weights of the level:
//   widen_pairs(p, even, odd)  W pairs of bfloat16 numbers
//   kGroup                     int8 weights of one output side by side
//   Digit, kDigits, kSurplus   what holds a digit of a code; one or two of them; what is added to the upper
//   ones Ints, load_ints(p), to_floats(ints)             W sums Digits, all(p); Weights, load_weights(p);
//   multiply_add(sums, digits, weights)   W x kGroup products kRowsFloat, kRowsInt       vectors at once
#pragma once

#include <cstring>
#include <utility>

#include "recurrent/fingerprint-inl.h"
#include "recurrent/packed_weights.h"

namespace lvm::LVM_LEVEL::packed_weights {
namespace {

constexpr int kOutputs = 3 * W;  // of a block

float copy_floats(const float* x, int64_t count, int64_t depth, uint8_t* codes) {
    std::memcpy(codes, x, static_cast<size_t>(count) * sizeof(float));
    std::memset(codes + count * static_cast<int64_t>(sizeof(float)), 0,
                static_cast<size_t>(depth - count) * sizeof(float));
    return 1;
}

// NaN where one of the numbers is NaN or infinite: a maximum alone would lose it.
float largest_of(const float* x, int64_t count) {
    Vec most = set1(0), zeros = set1(0);
    int64_t i = 0;
    for (; i + W <= count; i += W) {
        const Vec here = load(x + i);
        most = max(most, abs(here));
        zeros = fma(here, set1(0), zeros);
    }
    float top = largest(most), zero = sum(zeros);
    for (; i < count; ++i) {
        top = __builtin_fabsf(x[i]) > top ? __builtin_fabsf(x[i]) : top;
        zero += x[i] * 0.0f;
    }
    return top + zero;
}

// Codes have 15 bits, but no more than leaves the sum of whole codes within 32 bits.
float most_code(int64_t depth) {
    constexpr int64_t kMost = 16383, kMostSum = 2147483647, kMostWeight = 127;
    const int64_t most = kDigits == 2 ? kMost : kMostSum / (kMostWeight * depth);
    return static_cast<float>(most < kMost ? most : kMost);
}

float split_digits(const float* x, int64_t count, int64_t depth, uint8_t* codes) {
    constexpr float kLeast = 1e-30f;
    const float kMostCode = most_code(depth);
    constexpr float kRound = 12582912;  // 1.5 * 2^23: a number added to it is rounded into the low bits
    constexpr int32_t kRoundBits = 0x4b400000;
    const float top = largest_of(x, count), inverse = top > kLeast ? kMostCode / top : 0;
    Digit* upper = reinterpret_cast<Digit*>(codes);
    Digit* lower = upper + depth;
    for (int64_t i = 0; i < count; ++i) {
        const float rounded = x[i] * inverse + kRound;
        int32_t code;
        std::memcpy(&code, &rounded, sizeof(code));
        code -= kRoundBits;
        if constexpr (kDigits == 1) {
            upper[i] = static_cast<Digit>(code);
        } else {
            upper[i] = static_cast<Digit>((code >> 7) + kSurplus);
            lower[i] = static_cast<Digit>(code & 127);
        }
    }
    for (int64_t i = count; i < depth; ++i) {
        upper[i] = static_cast<Digit>(kSurplus);
        if constexpr (kDigits == 2) lower[i] = 0;
    }
    return top / kMostCode;
}

// The sums of kRows vectors with the kBlocks blocks from `block`: V vectors of W outputs each.
template <int kRows, int kBlocks>
struct FloatSums {
    static constexpr int V = 3 * kBlocks;
    Vec sums[kRows][V];
    const float* x[kRows];

    FloatSums(const PackedMatrix& matrix, const Codes& codes, int64_t row, int64_t block) {
        const float* bias = matrix.bias + block * kOutputs;
        for (int r = 0; r < kRows; ++r) {
            x[r] = reinterpret_cast<const float*>(codes.data + (row + r) * codes.bytes);
            for (int v = 0; v < V; ++v) sums[r][v] = load(bias + v * W);
        }
    }
    // A single vector waits for nothing but weights, which may come from memory; more would only lose loads.
    static void fetch(const void* weights) {
        constexpr int64_t kAhead = 36 * 64;
        if constexpr (kRows == 1) __builtin_prefetch(static_cast<const char*>(weights) + kAhead);
    }
    void add(const Vec (&weights)[V], int64_t d) {
        for (int r = 0; r < kRows; ++r) {
            const Vec number = set1(x[r][d]);
            for (int v = 0; v < V; ++v) sums[r][v] = fma(number, weights[v], sums[r][v]);
        }
    }
    void write(float* out, int64_t stride) const {
        for (int r = 0; r < kRows; ++r) {
            for (int v = 0; v < V; ++v) store(out + r * stride + v * W, sums[r][v]);
        }
    }
};

template <int kRows, int kBlocks>
void float_blocks(const PackedMatrix& matrix, const Codes& codes, int64_t row, int64_t block, float* out,
                  int64_t stride) {
    FloatSums<kRows, kBlocks> all(matrix, codes, row, block);
    const int64_t depth = matrix.depth, size = depth * kOutputs;
    const float* panel = reinterpret_cast<const float*>(matrix.weights) + block * size;
    for (int64_t d = 0; d < depth; ++d, panel += kOutputs) {
        Vec weights[all.V];
        for (int v = 0; v < all.V; ++v) {
            const float* w = panel + v / 3 * size + v % 3 * W;
            weights[v] = load(w);
            all.fetch(w);
        }
        all.add(weights, d);
    }
    all.write(out, stride);
}

template <int kRows, int kBlocks>
void bf16_blocks(const PackedMatrix& matrix, const Codes& codes, int64_t row, int64_t block, float* out,
                 int64_t stride) {
    FloatSums<kRows, kBlocks> all(matrix, codes, row, block);
    const int64_t depth = matrix.depth, size = depth * kOutputs;
    const BF16* panel = reinterpret_cast<const BF16*>(matrix.weights) + block * size;
    for (int64_t d = 0; d < depth; d += 2, panel += 2 * kOutputs) {
        Vec even[all.V], odd[all.V];
        for (int v = 0; v < all.V; ++v) {
            const BF16* w = panel + v / 3 * size + v % 3 * 2 * W;
            widen_pairs(w, even[v], odd[v]);
            all.fetch(w);
        }
        all.add(even, d);
        all.add(odd, d + 1);
    }
    all.write(out, stride);
}

template <int kRows, int kBlocks>
void int8_blocks(const PackedMatrix& matrix, const Codes& codes, int64_t row, int64_t block, float* out,
                 int64_t stride) {
    constexpr int V = 3 * kBlocks;
    const int64_t depth = matrix.depth, size = depth * kOutputs, first = block * kOutputs;
    const int8_t* panel = matrix.weights + block * size;
    Ints upper[kRows][V], lower[kRows][V];
    const Digit* digits[kRows];
    for (int r = 0; r < kRows; ++r) {
        digits[r] = reinterpret_cast<const Digit*>(codes.data + (row + r) * codes.bytes);
        for (int v = 0; v < V; ++v) {
            upper[r][v] = load_ints(matrix.starts + first + v * W);
            lower[r][v] = Ints{};
        }
    }
    for (int64_t d = 0; d < depth; d += kGroup, panel += kGroup * kOutputs) {
        for (int v = 0; v < V; ++v) {
            const Weights weights = load_weights(panel + v / 3 * size + v % 3 * kGroup * W);
            for (int r = 0; r < kRows; ++r) {
                upper[r][v] = multiply_add(upper[r][v], all(digits[r] + d), weights);
                if constexpr (kDigits == 2) {
                    lower[r][v] = multiply_add(lower[r][v], all(digits[r] + depth + d), weights);
                }
            }
        }
    }
    for (int r = 0; r < kRows; ++r) {
        const Vec scale = set1(codes.scales[row + r]);
        for (int v = 0; v < V; ++v) {
            const int64_t at = first + v * W;
            Vec sum = to_floats(upper[r][v]);
            if constexpr (kDigits == 2) sum = fma(sum, set1(128), to_floats(lower[r][v]));
            const Vec scaled = mul(load(matrix.scales + at), scale);
            store(out + r * stride + v * W, fma(scaled, sum, load(matrix.bias + at)));
        }
    }
}

using Blocks = void (*)(const PackedMatrix&, const Codes&, int64_t, int64_t, float*, int64_t);

struct FloatFormat {
    static constexpr int most_rows = kRowsFloat;
    template <int kRows, int kBlocks>
    static constexpr Blocks blocks = float_blocks<kRows, kBlocks>;
};
struct Bf16Format {
    static constexpr int most_rows = kRowsFloat;
    template <int kRows, int kBlocks>
    static constexpr Blocks blocks = bf16_blocks<kRows, kBlocks>;
};
struct Int8Format {
    static constexpr int most_rows = kRowsInt;
    template <int kRows, int kBlocks>
    static constexpr Blocks blocks = int8_blocks<kRows, kBlocks>;
};

template <class Of, int... r>
Blocks for_rows(int64_t rows, std::integer_sequence<int, r...>) {
    static constexpr Blocks kernels[] = {Of::template blocks<r + 1, 1>...};
    return kernels[rows - 1];
}

// A single vector takes two blocks at once: one alone has too few sums to hide how long an addition takes.
template <class Of>
void product(const PackedMatrix& matrix, const Codes& codes, int64_t rows, int64_t first, int64_t last,
             float* out) {
    constexpr int R = Of::most_rows;
    const int64_t stride = matrix.outputs;
    for (int64_t block = first, at_once = 1; block < last; block += at_once) {
        at_once = rows == 1 && block + 1 < last ? 2 : 1;
        for (int64_t row = 0; row < rows; row += R) {
            const int64_t members = rows - row < R ? rows - row : R;
            const Blocks kernel = at_once == 2 ? Of::template blocks<1, 2>
                                               : for_rows<Of>(members, std::make_integer_sequence<int, R>());
            kernel(matrix, codes, row, block, out + row * stride + block * kOutputs, stride);
        }
    }
}

}  // namespace
}  // namespace lvm::LVM_LEVEL::packed_weights

template <>
const lvm::PackedKernels& lvm::PackedKernels::table<lvm::Level::LVM_LEVEL>() {
    namespace level = LVM_LEVEL::packed_weights;
    constexpr int64_t kDigitBytes = level::kDigits * sizeof(level::Digit);
    static constexpr PackedKernels kernels{
        LVM_LEVEL::W,
        LVM_LEVEL::fingerprint::stir_piece,
        {{1, 1, 4, 0, level::copy_floats, level::copy_floats, level::product<level::FloatFormat>,
          level::product<level::FloatFormat>},
         {2, 2, 4, 0, level::copy_floats, level::copy_floats, level::product<level::Bf16Format>,
          level::product<level::Bf16Format>},
         {level::kGroup, level::kGroup, kDigitBytes, level::kSurplus, level::split_digits,
          level::split_digits, level::product<level::Int8Format>, level::product<level::Int8Format>}}};
    return kernels;
}
