#include "recurrent/gru_bf16_products.h"

#include <algorithm>
#include <vector>

#include "recurrent/gru_bf16_kernels.h"
#include "runtime/interrupt.h"
#include "runtime/thread_pool.h"

namespace lvm::bf16 {
namespace {

constexpr int64_t kBlockNumbers = 1 << 18;  // of a right operand: half a megabyte

// Columns of a right operand of this depth that stay in the second cache.
int64_t columns_at_once(int64_t depth) {
    return std::clamp(kBlockNumbers / depth / kPairColumns * kPairColumns, kPairColumns, kMostColumns);
}

}  // namespace

BF16* pack_gates(const float* matrix, int64_t stride, int64_t width, int64_t hidden, BF16* out,
                 const std::function<int64_t(int64_t, int64_t)>& place) {
    const int64_t tiles = padded_to_tiles(width) / kTileDepth, columns = padded_to_tiles(hidden) / kTileSide;
    parallel_for(kGates * columns, 8, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) {
            const int64_t gate = i / columns, first = i % columns * kTileSide;
            std::vector<const void*> rows;
            for (int64_t unit = first; unit < std::min(first + kTileSide, hidden); ++unit) {
                rows.push_back(matrix + (gate * hidden + unit) * stride);
            }
            bf16_packing().rows(list_of(rows, false), width, out + place(gate, i % columns) * tiles * kTile,
                                kTile);
        }
    });
    return out;
}

BF16* pack_matrix(const float* matrix, int64_t stride, int64_t width, int64_t padded, int64_t hidden,
                  int64_t first_gate, BF16* out) {
    const int64_t depth = padded_to_tiles(hidden), tiles = kGates * depth / kTileDepth;
    const std::vector<float> zeros(static_cast<size_t>(width));
    std::vector<const void*> rows;
    for (int64_t i = 0; i < kGates * depth; ++i) {
        const int64_t gate = (first_gate + i / depth) % kGates, unit = i % depth;
        rows.push_back(unit < hidden ? matrix + (gate * hidden + unit) * stride : zeros.data());
    }
    parallel_for(padded / kTileSide, 4, [&](int64_t begin, int64_t end, int) {
        for (int64_t column = begin; column < end; ++column) {
            bf16_packing().columns(list_of(rows, false), column * kTileSide, width,
                                   out + column * tiles * kTile, kTile);
        }
    });
    return out;
}

int64_t pieces_of(int64_t count) { return std::max(int64_t{1}, count / (4 * num_threads())); }

void multiply_live(const LiveRows& live, const LargeProduct& product, const LeftOf& left, const OutOf& out) {
    const int64_t blocks = (live.count() + kLeftRows - 1) / kLeftRows,
                  at_once = columns_at_once(product.depth);
    parallel_for(blocks, pieces_of(blocks), [&](int64_t begin, int64_t end, int) {
        BigBuffer scratch;
        for (int64_t column = 0; column < product.columns; column += at_once) {
            const int64_t columns = std::min(at_once, product.columns - column);
            for (int64_t block = begin; block < end; ++block) {
                poll();
                const int64_t first = block * kLeftRows, rows = std::min(kLeftRows, live.count() - first);
                char* addresses[kLeftRows];
                out(first, rows, addresses);
                for (int64_t i = 0; i < rows; ++i) addresses[i] += column * (product.out_is_bf16 ? 2 : 4);
                const LeftRows from = left(first, rows, scratch);
                bf16_kernels().multiply({from.first, from.stride, rows, product.depth,
                                         product.right + column * product.depth, columns,
                                         product.bias ? product.bias + column : nullptr, addresses,
                                         product.out_is_bf16});
            }
        }
    });
}

}  // namespace lvm::bf16
