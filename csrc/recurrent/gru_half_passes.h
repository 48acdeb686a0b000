// The two passes of gru_half.h, for instruction sets with bfloat16 products.
#pragma once

#include "recurrent/gru_half.h"
#include "recurrent/gru_half_rows.h"
#include "recurrent/gru_half_workspace.h"

namespace lvm::half {

void forward_pass(const GruShape& shape, const HalfGruForward& arrays);
void backward_pass(const GruShape& shape, const HalfGruBackward& arrays);

// The last part of the backward pass.
// grad_input <- slopes of x_r, x_z, x_n, transposed, times the inputs; grad_recurrent <- those of W h times
// the states before: sums over all live rows, a chunk of them at a time.
void sum_weight_gradients(const GruShape& shape, const HalfGruBackward& arrays, const LiveRows& live,
                          const BHalf* slopes, Workspace& workspace);

}  // namespace lvm::half
