#include "recurrent/gru.h"

#include <algorithm>
#include <vector>

#include "gemm/gemm.h"
#include "recurrent/gru_kernels.h"
#include "recurrent/over_sequences.h"
#include "runtime/interrupt.h"

namespace lvm {
namespace {

const GruKernels& kernels() { return kernels_in_force<GruKernels>(); }
const GemmKernels& gemm() { return kernels_in_force<GemmKernels>(); }

}  // namespace

void gru_forward(const RecurrentShape& shape, const GruForward& arrays) {
    const int64_t steps = shape.steps, batch = shape.batch, hidden = shape.hidden, wide = 3 * hidden;
    const AlignedBuffer<float> panels =
        gemm_panels(arrays.weight, hidden, wide, 1, hidden);  // the weight, transposed
    over_sequences(batch, [&](int64_t first, int64_t count) {
        std::vector<float> products(static_cast<size_t>(count * wide));
        for (int64_t k = 0; k < steps; ++k) {
            poll();
            const int64_t t = shape.step(k), row = t * batch + first, active = shape.active(t, first, count);
            const float* before = arrays.states + (shape.before(t) * batch + first) * hidden;
            float* after = arrays.states + (shape.after(t) * batch + first) * hidden;
            gemm().product(before, active, hidden, panels.data(), wide, products.data(), wide);
            for (int64_t b = 0; b < active; ++b) {
                kernels().step(arrays.inputs + (row + b) * wide, products.data() + b * wide, arrays.bias,
                               before + b * hidden, hidden, arrays.gates + (row + b) * wide,
                               arrays.candidates + (row + b) * hidden, after + b * hidden);
            }
            std::copy(before + active * hidden, before + count * hidden, after + active * hidden);
        }
    });
}

void gru_backward(const RecurrentShape& shape, const GruBackward& arrays) {
    const int64_t steps = shape.steps, batch = shape.batch, hidden = shape.hidden, wide = 3 * hidden;
    const AlignedBuffer<float> panels = gemm_panels(arrays.weight, wide, hidden, hidden, 1);
    over_sequences(batch, [&](int64_t first, int64_t count) {
        const size_t size = static_cast<size_t>(count * hidden);
        std::vector<float> grad(size), carry(size), through(size);  // carry: through z; through: through W
        for (int64_t k = steps - 1; k >= 0; --k) {
            poll();
            const int64_t t = shape.step(k), row = t * batch + first, active = shape.active(t, first, count);
            const float* given = arrays.grad_states + row * hidden;
            const float* before = arrays.states + (shape.before(t) * batch + first) * hidden;
            for (size_t i = 0; i < size; ++i) grad[i] = given[i] + carry[i] + through[i];
            for (int64_t b = 0; b < active; ++b) {
                kernels().step_backward(grad.data() + b * hidden, arrays.gates + (row + b) * wide,
                                        arrays.candidates + (row + b) * hidden, before + b * hidden, hidden,
                                        arrays.grad_inputs + (row + b) * wide,
                                        arrays.grad_products + (row + b) * wide, carry.data() + b * hidden);
            }
            gemm().product(arrays.grad_products + row * wide, active, wide, panels.data(), hidden,
                           through.data(), hidden);
            // A resting sequence hands its gradient on to the step before.
            const size_t rest = static_cast<size_t>(active * hidden);
            std::copy(grad.begin() + static_cast<int64_t>(rest), grad.end(),
                      carry.begin() + static_cast<int64_t>(rest));
            std::fill(through.begin() + static_cast<int64_t>(rest), through.end(), 0.0f);
            std::fill(arrays.grad_inputs + (row + active) * wide, arrays.grad_inputs + (row + count) * wide,
                      0.0f);
            std::fill(arrays.grad_products + (row + active) * wide,
                      arrays.grad_products + (row + count) * wide, 0.0f);
        }
        float* initial = arrays.grad_initial + first * hidden;
        for (size_t i = 0; i < size; ++i) initial[i] = carry[i] + through[i];
    });
}

}  // namespace lvm
