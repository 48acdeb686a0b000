#include "recurrent/packed_weights.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/cache_line_vector.h"
#include "core/conversions.h"
#include "runtime/thread_pool.h"

namespace lvm {
namespace {

constexpr float kMostCode = 127;

int64_t element_bytes(Format format) {
    switch (format) {
        case Format::float32:
            return 4;
        case Format::bfloat16:
            return 2;
        case Format::int8:
            return 1;
    }
    return 0;
}

// The row that lies in lane `lane` of vector `part` of a block, or -1 for padding.
int64_t row_of(const PlainMatrix& plain, int64_t lanes, int64_t block, int64_t part, int64_t lane) {
    const int64_t vector = block * 3 + part;
    if (plain.gates) {
        const int64_t units = plain.rows / plain.gates, unit = vector / plain.gates * lanes + lane;
        return unit < units ? vector % plain.gates * units + unit : -1;
    }
    const int64_t row = vector * lanes + lane;
    return row < plain.rows ? row : -1;
}

// NaN where one of the numbers is NaN or infinite: what is multiplied by such a scale is NaN as well.
float largest(const float* x, int64_t count) {
    float most = 0, zero = 0;
    for (int64_t i = 0; i < count; ++i) {
        most = std::max(most, std::fabs(x[i]));
        zero += x[i] * 0.0f;
    }
    return most + zero;
}

int64_t weight_bytes(const PackedMatrix& matrix) {
    return round_up(matrix.outputs * matrix.depth * element_bytes(matrix.format), kCacheLine);
}

int64_t line_of(const PackedMatrix& matrix) {  // a number for each output
    return round_up(matrix.outputs * static_cast<int64_t>(sizeof(float)), kCacheLine);
}

int8_t int8_code(float weight, float scale) {
    const float code = scale > 0 ? std::nearbyint(weight / scale) : 0.0f;
    return static_cast<int8_t>(std::clamp(code, -kMostCode, kMostCode));
}

}  // namespace

int64_t PackedMatrix::bytes() const {
    return weight_bytes(*this) + (format == Format::int8 ? 3 : 1) * line_of(*this);
}

PackedMatrix packed_shape(const PlainMatrix& plain, Format format, const PackedKernels& kernels) {
    PackedMatrix matrix;
    matrix.format = format;
    matrix.whole = plain.gates ? std::lcm(plain.gates, int64_t{3}) / 3 : 1;
    const int64_t at_once = 3 * kernels.lanes * matrix.whole;  // outputs
    const int64_t padded =
        plain.gates ? round_up(plain.rows / plain.gates, kernels.lanes) * plain.gates : plain.rows;
    matrix.blocks = round_up(padded, at_once) / at_once * matrix.whole;
    matrix.outputs = matrix.blocks * 3 * kernels.lanes;
    matrix.depth = round_up(plain.depth, kernels.of(format).depth_multiple);
    return matrix;
}

void pack(const PlainMatrix& plain, const PackedKernels& kernels, PackedMatrix& matrix, int8_t* memory) {
    const int64_t lanes = kernels.lanes, line = line_of(matrix);
    const FormatKernels& format = kernels.of(matrix.format);
    std::fill(memory, memory + matrix.bytes(), int8_t{0});
    int8_t* numbers = memory + weight_bytes(matrix);
    float* bias = reinterpret_cast<float*>(numbers);
    float* scales = reinterpret_cast<float*>(numbers + line);
    int32_t* starts = reinterpret_cast<int32_t*>(numbers + 2 * line);
    matrix.weights = memory;
    matrix.bias = bias;
    if (matrix.format == Format::int8) {
        matrix.scales = scales;
        matrix.starts = starts;
    }

    const auto pack_row = [&](int64_t block, int64_t part, int64_t lane, const float* row, int64_t output) {
        const auto write = [&](auto* all, const auto& convert) {
            auto* target = all + block * 3 * lanes * matrix.depth;
            for (int64_t d = 0; d < plain.depth; ++d) {
                const int64_t step = d / format.group, within = d % format.group;
                target[((step * 3 + part) * lanes + lane) * format.group + within] = convert(row[d]);
            }
        };
        if (matrix.format == Format::float32) {
            write(reinterpret_cast<float*>(memory), [](float w) { return w; });
        } else if (matrix.format == Format::bfloat16) {
            write(reinterpret_cast<BF16*>(memory), [](float w) { return narrow<BF16>(w); });
        } else {
            const float scale = largest(row, plain.depth) / kMostCode;
            int32_t sum = 0;
            write(memory, [&](float w) {
                const int8_t code = int8_code(w, scale);
                sum += code;
                return code;
            });
            scales[output] = scale;
            starts[output] = -format.surplus * sum;
        }
    };
    parallel_for(matrix.blocks, 1, [&](int64_t first, int64_t last, int) {
        for (int64_t i = first * 3 * lanes; i < last * 3 * lanes; ++i) {
            const int64_t block = i / (3 * lanes), part = i / lanes % 3, lane = i % lanes;
            const int64_t row = row_of(plain, lanes, block, part, lane);
            if (row < 0) continue;
            if (plain.bias) bias[i] = plain.bias[row];
            pack_row(block, part, lane, plain.weights + row * plain.depth, i);
        }
    });
}

}  // namespace lvm
