// One GRU layer in bfloat16 with float32 sums and states: the input projection, the recurrence, and all of
// its gradients, with cost linear in length. It needs an instruction set with bfloat16 products; others take
// gru.h and large products of the caller's.
//
// Equations and gate order (r, z, n) are those of gru.h. Widths inside are padded to whole tiles:
// Hp = padded_to_tiles(H), Ip = padded_to_tiles(I); padding is zero. "Live" rows are the steps that sequences
// have, packed step by step: step t of sequence b is row sum over s < t of live(s) + b.
#pragma once

#include <cstdint>

#include "core/alignment.h"
#include "core/views.h"
#include "recurrent/gru.h"

namespace lvm {

// A width in whole tiles.
constexpr int64_t padded_to_tiles(int64_t width) { return round_up(width, 32); }

// Whether the level in force has bfloat16 products.
bool has_bf16_gru();

// N x B vectors of a width; the numbers of one vector lie side by side.
struct StepVectors {
    const void* data;
    bool is_bf16;  // bfloat16, else float32
    int64_t step_stride, sequence_stride;

    const void* at(int64_t step, int64_t sequence) const {
        const int64_t bytes = is_bf16 ? sizeof(BF16) : sizeof(float);
        return static_cast<const char*>(data) + (step * step_stride + sequence * sequence_stride) * bytes;
    }
};

struct Bf16GruWeights {
    const float* input;      // [3H][I], rows `input_stride` apart
    const float* recurrent;  // [3H][H]
    int64_t inputs, input_stride;
};

struct Bf16GruForward {
    StepVectors inputs;  // I wide
    Bf16GruWeights weights;
    const float* input_bias;      // [3H]
    const float* recurrent_bias;  // [3H]
    const float* initial;         // [B][H]
    BF16* states;                 // [N + 1][B][Hp], the initial ones first
    float* final;                 // [B][Hp]
    BF16* gates;                  // [live rows][3 Hp]: r, z, n
    BF16* candidates;             // [live rows][Hp]: W_n h + b_n
};

void gru_bf16_forward(const RecurrentShape& shape, const Bf16GruForward& arrays);

struct Bf16GruBackward {
    StepVectors inputs;
    Bf16GruWeights weights;
    const BF16* states;
    const BF16* gates;
    const BF16* candidates;
    const BF16* grad_states;     // [N + 1][B][Hp]; null for zeros
    const float* grad_final;     // [B][Hp]
    StepVectors grad_inputs;     // Ip wide, numbers as the inputs'; written, unless data is null
    float* grad_input;           // [3][Hp][Ip]
    float* grad_recurrent;       // [3][Hp][Hp]
    float* grad_input_bias;      // [3][Hp]
    float* grad_recurrent_bias;  // [3][Hp]
    float* grad_initial;         // [B][Hp]
};

void gru_bf16_backward(const RecurrentShape& shape, const Bf16GruBackward& arrays);

}  // namespace lvm
