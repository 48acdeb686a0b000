// The two passes of gru_bf16.h, for instruction sets with bfloat16 products.
#pragma once

#include "recurrent/gru_bf16.h"
#include "recurrent/gru_bf16_live_rows.h"
#include "recurrent/gru_bf16_workspace.h"

namespace lvm::bf16 {

void forward_pass(const RecurrentShape& shape, const Bf16GruForward& arrays);
void backward_pass(const RecurrentShape& shape, const Bf16GruBackward& arrays);

// The last part of the backward pass.
// grad_input <- slopes of x_r, x_z, x_n, transposed, times the inputs; grad_recurrent <- those of W h times
// the states before: sums over all live rows, a chunk of them at a time.
void sum_weight_gradients(const RecurrentShape& shape, const Bf16GruBackward& arrays, const LiveRows& live,
                          const BF16* slopes, Workspace& workspace);

}  // namespace lvm::bf16
