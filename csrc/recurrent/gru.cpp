#include "recurrent/gru.h"

#include <algorithm>
#include <vector>

#include "gemm/gemm.h"
#include "recurrent/gru_kernels.h"
#include "runtime/interrupt.h"
#include "runtime/thread_pool.h"

namespace lvm {
namespace {

constexpr int64_t kMostSequences =
    32;  // that one thread carries along: their states and products stay in its caches

const GruKernels& kernels() { return kernels_in_force<GruKernels>(); }
const GemmKernels& gemm() { return kernels_in_force<GemmKernels>(); }

// Calls body(first, count) for groups of sequences; a group runs through all steps on one thread, with no
// waiting for others.
template <class Body>
void over_sequences(int64_t batch, const Body& body) {
    const int64_t threads = num_threads();
    const int64_t grain = std::clamp((batch + threads - 1) / threads, int64_t{1}, kMostSequences);
    parallel_for(batch, grain, [&](int64_t begin, int64_t end, int) {
        for (int64_t first = begin; first < end; first += kMostSequences) {
            body(first, std::min(kMostSequences, end - first));
        }
    });
}

}  // namespace

void gru_forward(const GruShape& shape, const GruForward& arrays) {
    const int64_t steps = shape.steps, batch = shape.batch, hidden = shape.hidden, wide = 3 * hidden;
    const AlignedBuffer<float> panels =
        gemm_panels(arrays.weight, hidden, wide, 1, hidden);  // the weight, transposed
    over_sequences(batch, [&](int64_t first, int64_t count) {
        std::vector<float> products(static_cast<size_t>(count * wide));
        for (int64_t t = 0; t < steps; ++t) {
            poll();
            const int64_t row = t * batch + first, active = shape.active(t, first, count);
            const float* before = arrays.states + row * hidden;
            float* after = arrays.states + (row + batch) * hidden;
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

void gru_backward(const GruShape& shape, const GruBackward& arrays) {
    const int64_t steps = shape.steps, batch = shape.batch, hidden = shape.hidden, wide = 3 * hidden;
    const AlignedBuffer<float> panels = gemm_panels(arrays.weight, wide, hidden, hidden, 1);
    over_sequences(batch, [&](int64_t first, int64_t count) {
        const size_t size = static_cast<size_t>(count * hidden);
        std::vector<float> grad(size), carry(size), through(size);  // carry: through z; through: through W
        for (int64_t t = steps - 1; t >= 0; --t) {
            poll();
            const int64_t row = t * batch + first, active = shape.active(t, first, count);
            const float* given = arrays.grad_states + row * hidden;
            for (size_t i = 0; i < size; ++i) grad[i] = given[i] + carry[i] + through[i];
            for (int64_t b = 0; b < active; ++b) {
                kernels().step_backward(grad.data() + b * hidden, arrays.gates + (row + b) * wide,
                                        arrays.candidates + (row + b) * hidden,
                                        arrays.states + (row + b) * hidden, hidden,
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
