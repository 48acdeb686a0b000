// Weight matrices packed for products with few vectors, in float32, or rounded to bfloat16 or int8.
//
// A block holds 3 W outputs, W the lanes of the instruction set: as three vectors of W side by side, depth by
// depth, `group` steps of depth interleaved: [block][depth / group][3][W][group]. Of a gate matrix (three or
// four gates of H units each) the vectors are, for W units after W units, those of each gate, so that what
// lies side by side makes those units' states: of three gates in each block, of four in four blocks.
#pragma once

#include <cstdint>

#include "core/views.h"
#include "runtime/level.h"

namespace lvm {

enum class Format { float32, bfloat16, int8 };

// One matrix; its numbers live in memory of the owner's.
struct PackedMatrix {
    Format format = Format::float32;
    int64_t blocks = 0, outputs = 0, depth = 0;  // outputs: 3 W a block; depth: padded with zeros
    int64_t whole = 1;  // blocks that make whole units: no part of the work begins within them
    const int8_t* weights = nullptr;
    const float* bias = nullptr;      // [outputs]
    const float* scales = nullptr;    // int8 only: [outputs]
    const int32_t* starts = nullptr;  // int8 only: [outputs], where the sums of the upper digits begin

    int64_t bytes() const;  // of all these
};

// Vectors as a format's kernels take them: one after the other, `bytes` each; int8 weights ask for an
// integer in [-2^14, 2^14) a number, once divided by its vector's scale: whole, or as two 7-bit digits.
struct Codes {
    const uint8_t* data = nullptr;
    int64_t bytes = 0;
    const float* scales = nullptr;
};

// The kernels of one format. `few` serve any number of vectors, `many` are quicker from kMany on.
struct FormatKernels {
    int64_t group = 1;           // of the weights
    int64_t depth_multiple = 1;  // depths are padded to it
    int64_t code_bytes = 4;      // of the codes of one number
    int32_t surplus = 0;         // int8 only: added to every upper digit

    // Returns the scale. depth: of the matrix; count <= depth: numbers there are.
    float (*prepare_few)(const float* x, int64_t count, int64_t depth, uint8_t* codes) = nullptr;
    float (*prepare_many)(const float* x, int64_t count, int64_t depth, uint8_t* codes) = nullptr;

    // out[row][output] = bias + product, for the outputs of the blocks from first to last. `many` reads whole
    // sixteens of vectors.
    using Product = void (*)(const PackedMatrix& matrix, const Codes& codes, int64_t rows, int64_t first,
                             int64_t last, float* out);
    Product few = nullptr, many = nullptr;
};

constexpr int64_t kMany = 8;

struct PackedKernels {
    static constexpr bool has(Level level) { return level == Level::amx; }
    template <Level>
    static const PackedKernels& table();

    static constexpr int kMostStirred = 128;

    int64_t lanes;  // W
    // Writes at most kMostStirred words that depend on every byte; see fingerprint.h.
    void (*stir)(const uint8_t* data, int64_t bytes, uint32_t* stirred);
    FormatKernels formats[3];

    const FormatKernels& of(Format format) const { return formats[static_cast<int>(format)]; }
};

template <>
const PackedKernels& PackedKernels::table<Level::scalar>();
template <>
const PackedKernels& PackedKernels::table<Level::neon>();
template <>
const PackedKernels& PackedKernels::table<Level::avx2>();
template <>
const PackedKernels& PackedKernels::table<Level::avx512>();
template <>
const PackedKernels& PackedKernels::table<Level::amx>();

// A row-major float32 matrix to be packed. gates: of how many gates its rows are, each of `rows / gates`
// units; 0 for any other matrix.
struct PlainMatrix {
    const float* weights = nullptr;  // [rows][depth]
    const float* bias = nullptr;     // [rows]
    int64_t rows = 0, depth = 0;
    int64_t gates = 0;
};

// The packed form's sizes, without its numbers; then the numbers, into matrix.bytes() of memory from a cache
// line on.
PackedMatrix packed_shape(const PlainMatrix& plain, Format format, const PackedKernels& kernels);
void pack(const PlainMatrix& plain, const PackedKernels& kernels, PackedMatrix& matrix, int8_t* memory);

}  // namespace lvm
