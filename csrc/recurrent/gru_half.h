// One GRU layer in bfloat16 with float32 sums and states: the input projection, the recurrence, and all of
// its gradients, with cost linear in length. It needs an instruction set with bfloat16 products; others take
// gru.h and large products of the caller's.
//
// Equations and gate order (r, z, n) are those of gru.h. Widths inside are padded to whole tiles:
// Hp = half_padded(H), Ip = half_padded(I); padding is zero. "Live" rows are the steps that sequences have,
// packed step by step: step t of sequence b is row sum over s < t of live(s) + b.
#pragma once

#include <cstdint>

#include "recurrent/gru.h"
#include "rows.h"

namespace lvm {

// A width in whole tiles.
constexpr int64_t half_padded(int64_t width) { return (width + 31) / 32 * 32; }

// Whether the level in force has bfloat16 products.
bool has_half_gru();

// N x B vectors of a width; the numbers of one vector lie side by side.
struct StepVectors {
    const void* data;
    bool is_half;  // bfloat16, else float32
    int64_t step_stride, sequence_stride;

    const void* at(int64_t step, int64_t sequence) const {
        const int64_t bytes = is_half ? sizeof(BHalf) : sizeof(float);
        return static_cast<const char*>(data) + (step * step_stride + sequence * sequence_stride) * bytes;
    }
};

struct HalfGruWeights {
    const float* input;      // [3H][I], rows `input_stride` apart
    const float* recurrent;  // [3H][H]
    int64_t inputs, input_stride;
};

struct HalfGruForward {
    StepVectors inputs;  // I wide
    HalfGruWeights weights;
    const float* input_bias;      // [3H]
    const float* recurrent_bias;  // [3H]
    const float* initial;         // [B][H]
    BHalf* states;                // [N + 1][B][Hp], the initial ones first
    float* final;                 // [B][Hp]
    BHalf* gates;                 // [live rows][3 Hp]: r, z, n
    BHalf* candidates;            // [live rows][Hp]: W_n h + b_n
};

void gru_half_forward(const GruShape& shape, const HalfGruForward& arrays);

struct HalfGruBackward {
    StepVectors inputs;
    HalfGruWeights weights;
    const BHalf* states;
    const BHalf* gates;
    const BHalf* candidates;
    const BHalf* grad_states;    // [N + 1][B][Hp]; null for zeros
    const float* grad_final;     // [B][Hp]
    StepVectors grad_inputs;     // Ip wide, numbers as the inputs'; written, unless data is null
    float* grad_input;           // [3][Hp][Ip]
    float* grad_recurrent;       // [3][Hp][Hp]
    float* grad_input_bias;      // [3][Hp]
    float* grad_recurrent_bias;  // [3][Hp]
    float* grad_initial;         // [B][Hp]
};

void gru_half_backward(const GruShape& shape, const HalfGruBackward& arrays);

}  // namespace lvm
