#include <algorithm>

#include "gemm/bf16_tiles.h"
#include "recurrent/gru_bf16_kernels.h"
#include "recurrent/gru_bf16_passes.h"
#include "recurrent/gru_bf16_products.h"
#include "runtime/interrupt.h"
#include "runtime/thread_pool.h"

namespace lvm::bf16 {
namespace {

constexpr int64_t kChunk = 2048;   // steps of sequences whose weight gradients are taken at once
constexpr int64_t kColumns = 256;  // of the right operand that stay in the second cache

class WeightGradients {
  public:
    WeightGradients(const RecurrentShape& shape, const Bf16GruBackward& arrays, const LiveRows& live,
                    const BF16* slopes, Workspace& workspace)
        : arrays_(arrays),
          live_(live),
          slopes_(slopes),
          padded_(padded_to_tiles(shape.hidden)),
          width_(padded_to_tiles(arrays.weights.inputs)),
          states_{arrays.states, true, shape.batch * padded_, padded_} {
        const int64_t most = padded_to_tiles(std::min(kChunk, live.count()));
        left_ = Workspace::bf16_numbers(workspace.left, most * kSlopes * padded_);
        right_ = Workspace::bf16_numbers(workspace.right, most * (width_ + padded_));
    }

    void run() {
        const int64_t chunks = (live_.count() + kChunk - 1) / kChunk;
        for (int64_t chunk = 0; chunk < chunks; ++chunk) {
            begin_ = live_.count() * chunk / chunks;
            end_ = live_.count() * (chunk + 1) / chunks;
            tiles_ = padded_to_tiles(end_ - begin_) / kTileDepth;
            pack();
            multiply_chunk(chunk > 0);
        }
        if (chunks == 0) {
            std::fill(arrays_.grad_input, arrays_.grad_input + kGates * padded_ * width_, 0.0f);
            std::fill(arrays_.grad_recurrent, arrays_.grad_recurrent + kGates * padded_ * padded_, 0.0f);
        }
    }

  private:
    int64_t column_stride() const { return tiles_ * kTile; }

    void pack() {
        const auto inputs = live_.addresses(arrays_.inputs, begin_, end_),
                   states = live_.addresses(states_, begin_, end_);
        const int64_t lefts = kSlopes * padded_ / kTileSide, of_inputs = width_ / kTileSide,
                      rights = of_inputs + padded_ / kTileSide;
        parallel_for(lefts + rights, 4, [&](int64_t begin, int64_t end, int) {
            for (int64_t i = begin; i < end; ++i) {
                const int64_t column = i < lefts ? i : i - lefts;
                if (i < lefts) {
                    const BF16* slopes = slopes_ + begin_ * slope_stride(padded_) + column * kTileSide;
                    BF16* out =
                        left_ + column / 2 * 2 * column_stride() + column % 2 * kTile;  // pairs of tile rows
                    bf16_packing().left_transposed(slopes, end_ - begin_, slope_stride(padded_), out,
                                                   2 * kTile);
                } else if (column < of_inputs) {
                    bf16_packing().columns(list_of(inputs, arrays_.inputs.is_bf16), column * kTileSide,
                                           arrays_.weights.inputs, right_ + column * column_stride(), kTile);
                } else {
                    bf16_packing().columns(list_of(states, true), (column - of_inputs) * kTileSide, padded_,
                                           right_ + column * column_stride(), kTile);
                }
            }
        });
    }

    void multiply_chunk(bool add) {
        for (int64_t column = 0; column < width_ + padded_;) {
            const bool of_inputs = column < width_;
            const int64_t end = of_inputs ? width_ : width_ + padded_,
                          count = std::min(kColumns, end - column);
            const int64_t first_slope = of_inputs ? 0 : 1, units = kGates * padded_ / kLeftRows;
            parallel_for(units, pieces_of(units), [&](int64_t begin, int64_t last, int) {
                for (int64_t unit = begin; unit < last; ++unit) {
                    poll();
                    block(first_slope * padded_ + unit * kLeftRows, column, count, add);
                }
            });
            column += count;
        }
    }

    // 32 slopes from `slope` times `count` columns of the right from `column`.
    void block(int64_t slope, int64_t column, int64_t count, bool add) {
        const bool of_inputs = column < width_;
        const int64_t stride = of_inputs ? width_ : padded_;
        const int64_t row = of_inputs ? (slope + 2 * padded_) % (kGates * padded_) : slope - padded_;
        float* out = (of_inputs ? arrays_.grad_input : arrays_.grad_recurrent) + row * stride + column -
                     (of_inputs ? 0 : width_);
        const BF16 *left = left_ + slope / kTileSide * column_stride(),
                   *right = right_ + column / kTileSide * column_stride();
        bf16_kernels().multiply_tiles(left, right, tiles_, count, out, stride, add);
    }

    const Bf16GruBackward& arrays_;
    const LiveRows& live_;
    const BF16* slopes_;
    int64_t padded_, width_;
    StepVectors states_;
    BF16 *left_, *right_;
    int64_t begin_ = 0, end_ = 0, tiles_ = 0;
};

}  // namespace

void sum_weight_gradients(const RecurrentShape& shape, const Bf16GruBackward& arrays, const LiveRows& live,
                          const BF16* slopes, Workspace& workspace) {
    WeightGradients(shape, arrays, live, slopes, workspace).run();
}

}  // namespace lvm::bf16
