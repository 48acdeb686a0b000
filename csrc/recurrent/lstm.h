// The recurrence of one LSTM layer in float32, forward and backward through time, with cost linear in length.
//
//   i, f, o = sigmoid(x_ifo + W_ifo h)
//   g       = tanh(x_g + W_g h)
//   c'      = f * c + i * g
//   h'      = o * tanh(c')                    (the equations and the layout of torch.nn.LSTM; gates i, f, g,
//   o)
//
// The inputs come projected: x = W_ih input + b_ih + b_hh for all steps at once is one large product, left to
// the caller, as are the weight gradients. Arrays are contiguous; N steps, B sequences, H units.
#pragma once

#include <cstdint>

#include "recurrent/recurrent_shape.h"

namespace lvm {

struct LstmForward {
    const float* weight;  // [4H][H]
    float* gates;   // [N][B][4H]: x, in whose place the gates are written; left as it is beyond a length
    float* states;  // [N + 1][B][H]: the initial state is given, the others are written
    float* cells;   // [N + 1][B][H]: the same
};

void lstm_forward(const RecurrentShape& shape, const LstmForward& arrays);

struct LstmBackward {
    const float* grad_states;  // [N][B][H], of the states after each step, or null for zeros
    const float* weight;       // [4H][H]
    const float* gates;        // [N][B][4H]
    const float* cells;        // [N + 1][B][H]
    float* grad_gates;         // [N][B][4H], of x and of W h; zeros beyond a length
    float* grad_state;  // [B][H]: of the final state when called, beside grad_states; then of the initial one
    float* grad_cell;   // [B][H]: the same of the cells
};

void lstm_backward(const RecurrentShape& shape, const LstmBackward& arrays);

}  // namespace lvm
