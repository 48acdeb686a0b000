#include "recurrent/lstm.h"

#include <algorithm>
#include <vector>

#include "gemm/gemm.h"
#include "recurrent/lstm_kernels.h"
#include "recurrent/over_sequences.h"
#include "runtime/interrupt.h"

namespace lvm {
namespace {

const LstmKernels& kernels() { return kernels_in_force<LstmKernels>(); }
const GemmKernels& gemm() { return kernels_in_force<GemmKernels>(); }

}  // namespace

void lstm_forward(const RecurrentShape& shape, const LstmForward& arrays) {
    const int64_t steps = shape.steps, batch = shape.batch, hidden = shape.hidden, wide = 4 * hidden;
    const AlignedBuffer<float> panels =
        gemm_panels(arrays.weight, hidden, wide, 1, hidden);  // the weight, transposed
    over_sequences(batch, [&](int64_t first, int64_t count) {
        std::vector<float> products(static_cast<size_t>(count * wide));
        for (int64_t k = 0; k < steps; ++k) {
            poll();
            const int64_t t = shape.step(k), active = shape.active(t, first, count);
            const int64_t before = (shape.before(t) * batch + first) * hidden;
            const int64_t after = (shape.after(t) * batch + first) * hidden;
            const float* state = arrays.states + before;
            const float* cell = arrays.cells + before;
            float* next = arrays.states + after;
            float* next_cell = arrays.cells + after;
            float* gates = arrays.gates + (t * batch + first) * wide;
            gemm().product(state, active, hidden, panels.data(), wide, products.data(), wide);
            for (int64_t b = 0; b < active; ++b) {
                kernels().step(products.data() + b * wide, cell + b * hidden, hidden, gates + b * wide,
                               next_cell + b * hidden, next + b * hidden);
            }
            std::copy(state + active * hidden, state + count * hidden, next + active * hidden);
            std::copy(cell + active * hidden, cell + count * hidden, next_cell + active * hidden);
        }
    });
}

void lstm_backward(const RecurrentShape& shape, const LstmBackward& arrays) {
    const int64_t steps = shape.steps, batch = shape.batch, hidden = shape.hidden, wide = 4 * hidden;
    const AlignedBuffer<float> panels = gemm_panels(arrays.weight, wide, hidden, hidden, 1);
    over_sequences(batch, [&](int64_t first, int64_t count) {
        const int64_t size = count * hidden;
        float* grad = arrays.grad_state + first * hidden;
        float* grad_cell = arrays.grad_cell + first * hidden;
        for (int64_t k = steps - 1; k >= 0; --k) {
            poll();
            const int64_t t = shape.step(k), active = shape.active(t, first, count);
            const float* cell = arrays.cells + (shape.before(t) * batch + first) * hidden;
            const float* next_cell = arrays.cells + (shape.after(t) * batch + first) * hidden;
            const float* gates = arrays.gates + (t * batch + first) * wide;
            float* grad_gates = arrays.grad_gates + (t * batch + first) * wide;
            if (arrays.grad_states) {
                const float* given = arrays.grad_states + (t * batch + first) * hidden;
                for (int64_t i = 0; i < size; ++i) grad[i] += given[i];
            }
            for (int64_t b = 0; b < active; ++b) {
                kernels().step_backward(grad + b * hidden, gates + b * wide, cell + b * hidden,
                                        next_cell + b * hidden, hidden, grad_gates + b * wide,
                                        grad_cell + b * hidden);
            }
            std::fill(grad_gates + active * wide, grad_gates + count * wide, 0.0f);
            // A resting sequence hands both of its gradients on as they are.
            gemm().product(grad_gates, active, wide, panels.data(), hidden, grad, hidden);
        }
    });
}

}  // namespace lvm
