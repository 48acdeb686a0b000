// The recurrence of one GRU layer in float32, forward and backward through time, with cost linear in length.
//
//   r, z = sigmoid(x_rz + W_rz h + b_rz)
//   n    = tanh(x_n + r * (W_n h + b_n))
//   h'   = (1 - z) * n + z * h                       (the equations and the layout of torch.nn.GRU)
//
// The inputs come projected: x = W_ih input + b_ih for all steps at once is one large product, left to the
// caller, as are the weight gradients. Arrays are contiguous; N steps, B sequences, H units.
#pragma once

#include <cstdint>

#include "recurrent/recurrent_shape.h"

namespace lvm {

struct GruForward {
    const float* inputs;  // [N][B][3H]
    const float* weight;  // [3H][H]
    const float* bias;    // [3H]
    float* states;        // [N + 1][B][H]; the initial state is given, the others are written
    float* gates;         // [N][B][3H]: r, z, n; not written beyond a length
    float* candidates;    // [N][B][H]: W_n h + b_n; the same
};

void gru_forward(const RecurrentShape& shape, const GruForward& arrays);

struct GruBackward {
    const float* grad_states;  // [N][B][H], of the states after each step
    const float* weight;       // [3H][H]
    const float* states;       // [N + 1][B][H]
    const float* gates;        // [N][B][3H]
    const float* candidates;   // [N][B][H]
    float* grad_inputs;        // [N][B][3H]
    float*
        grad_products;  // [N][B][3H], of W h + b: the weight's gradient is its product with the states before
    float* grad_initial;  // [B][H]
};

void gru_backward(const RecurrentShape& shape, const GruBackward& arrays);

}  // namespace lvm
