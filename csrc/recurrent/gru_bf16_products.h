// The gate matrices as right operands (gemm/bf16_tiles.h), and large products with them.
#pragma once

#include <cstdint>
#include <functional>

#include "core/big_buffer.h"
#include "recurrent/gru_bf16_live_rows.h"

namespace lvm::bf16 {

// The tile columns of a gate matrix transposed: column (gate, unit) is its row. place(gate, tile of units)
// says where a tile column goes. Returns `out`.
BF16* pack_gates(const float* matrix, int64_t stride, int64_t width, int64_t hidden, BF16* out,
                 const std::function<int64_t(int64_t, int64_t)>& place);

// A gate matrix as a right operand: gates one below the other in the order of `first_gate`, + 1, + 2. Returns
// `out`.
BF16* pack_matrix(const float* matrix, int64_t stride, int64_t width, int64_t padded, int64_t hidden,
                  int64_t first_gate, BF16* out);

// How many of `count` pieces of work a thread takes at once: so that there are a few for every thread.
int64_t pieces_of(int64_t count);

// A product of all live rows with a packed right operand, in blocks of columns.
struct LargeProduct {
    const BF16* right;
    int64_t depth, columns;
    const float* bias;
    bool out_is_bf16;
};

// Rows of a left operand.
struct LeftRows {
    const BF16* first;
    int64_t stride;
};

// left(first, rows, scratch) gives rows of the left operand; out(first, rows, addresses) says where those of
// the product go.
using LeftOf = std::function<LeftRows(int64_t, int64_t, BigBuffer&)>;
using OutOf = std::function<void(int64_t, int64_t, char**)>;
void multiply_live(const LiveRows& live, const LargeProduct& product, const LeftOf& left, const OutOf& out);

}  // namespace lvm::bf16
